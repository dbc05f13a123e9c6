"""SmolLM2 on adl-mini: ``python -m benchmarks.lvlm_smollm2 RUN --out FOLDER``.

RUN is a finished main job (``python -m apps.adl_mini --out RUN``). What is done is kept; the same
command goes on after a kill. ``--readme`` writes the tables into this benchmark's README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.adl_mini_vlm.tables import replace_part
from benchmarks.lvlm_smollm2 import runs, tables
from ski_data import command
from ski_data.errors import InputError

README = Path(__file__).with_name("README.md")


def lvlm_smollm2(
    run: str, *, out: str, seeds: int = 1, real: str | None = None, readme: bool = False
) -> None:
    """Train projectors over SmolLM2 with and without skeletons, and test them on held-out clips.

    Args:
        run: folder of a finished main job.
        out: folder of features, trained models and answers.
        seeds: of every row.
        real: folder of recorded clips to caption as well.
        readme: train nothing; print the tables and write them into this benchmark's README.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    bench = runs.Bench(Path(run).resolve(), Path(out).resolve())
    if not readme:
        runs.prepare(bench)
        for seed in range(seeds):
            for row in runs.ROWS:
                runs.train_row(bench, row, seed)
                runs.answer_rows(bench, row, seed)
        if real is not None:
            runs.caption_files(bench, Path(real))
    text = tables.markdown(bench, seeds)
    print(text)
    if readme:
        replace_part(README, text)


def main() -> int:
    """Entry point."""
    return command.run_one(lvlm_smollm2, prog="python -m benchmarks.lvlm_smollm2")


if __name__ == "__main__":
    sys.exit(main())
