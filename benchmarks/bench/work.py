"""What the harness's own jobs do: stages and rows of adl-mini, pictures, weights; one command each.

Jobs call it as ``bench-work COMMAND ...``; by hand it is ``python -m benchmarks.bench.work``.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from apps.adl_mini import job as main_job
from apps.adl_mini import stages
from apps.adl_mini.recipe import read_recipe
from benchmarks.adl_mini_vlm import runs as students
from benchmarks.adl_mini_vlm.rows import VIT, Bench, BenchConfig, recipes
from benchmarks.bench.jobs import write_text
from ski_data import command
from ski_data.classes import ClassSet, read_classes
from ski_data.config import from_plain, read_yaml
from ski_data.errors import InputError, SkiDataError
from ski_data.manifest import read_manifest
from ski_data.ntu.prepare import prepare_store
from ski_data.synthetic.classes import ACTIONS
from ski_vlm.attention_command import attention
from ski_vlm.data import open_clips
from ski_vlm.errors import SkiVlmError

STAGES = ("data", "clip", "vificlip", "hyperformer", "skeleton-clip", "ski-vificlip")
"""Of the main job, as the rows need them."""


def stage(name: str, *, recipe: str, run: str) -> None:
    """One stage of the main job on adl-mini; those before it must be done.

    Args:
        name: data, clip, vificlip, hyperformer, skeleton-clip or ski-vificlip.
        recipe: YAML file of the main job's settings.
        run: the main job's folder.
    """
    if name not in STAGES:
        raise InputError(f"no stage {name!r}; there are {', '.join(STAGES)}")
    own, folder = read_recipe(recipe), Path(run)
    main_job.claim(folder, own)
    data = stages.make_data(own, folder)
    if name == "clip":
        stages.pretrain_clip(own, data, folder, name)
    elif name == "vificlip":
        stages.finetune_vificlip(own, data, folder, folder / "clip", name)
    elif name == "hyperformer":
        stages.pretrain_encoder(own, data, folder, name)
    elif name == "skeleton-clip":
        clip, encoder = folder / "clip", folder / "hyperformer"
        stages.align_skeletons(own, data, folder, clip, encoder, name)
    elif name == "ski-vificlip":
        student, teacher = folder / "vificlip", folder / "skeleton-clip"
        stages.distil(own, data, folder, student, teacher, 0, name)


def bench_of(run: str, out: str, settings: str) -> Bench:
    """The benchmark of video students over a finished main job."""
    config = from_plain(BenchConfig, read_yaml(settings), settings)
    return Bench(Path(run), Path(out), config)


def starts(*, run: str, out: str, settings: str, transformer: bool = False) -> None:
    """What the rows of video students start from.

    Args:
        run: the main job's folder.
        out: the rows' folder.
        settings: YAML file of the benchmark's settings.
        transformer: the students on the small transformer, too.
    """
    students.prepare(bench_of(run, out, settings), [f"{VIT}-clip"] if transformer else [])


def row(name: str, *, run: str, out: str, settings: str, seed: int = 0) -> None:
    """Train and test one row of video students with one seed.

    Args:
        name: of the row.
        run: the main job's folder.
        out: the rows' folder.
        settings: YAML file of the benchmark's settings.
        seed: of the row.
    """
    bench = bench_of(run, out, settings)
    found = recipes(bench)
    if name not in found:
        raise InputError(f"no row {name!r}; there are {', '.join(found)}")
    students.run_row(bench, open_clips(bench.data), name, found[name], seed)


def store(*, run: str, out: str) -> None:
    """A skeleton store of adl-mini that names its classes.

    Args:
        run: the main job's folder.
        out: store to make.
    """
    classes = ClassSet(tuple(map(str, range(len(ACTIONS)))), tuple(a.name for a in ACTIONS))
    prepare_store(Path(run) / "data" / "skeletons", Path(out), classes=classes, bodies=1)


def pictures(
    manifest: str,
    *,
    model: str,
    classes: str,
    out: str,
    labels: tuple[int, ...],
    first: int = 0,
    clips: int = 3,
    device: str = "cpu",
) -> None:
    """Relevance maps of one clip of each of the first classes, in folders of their numbers.

    Args:
        manifest: clips.
        model: a student.
        classes: CSV id,name of the candidates.
        out: folder of the pictures.
        labels: of the classes to show, as in the manifest.
        first: clips of a class that are passed over.
        clips: how many to show.
        device: where the model runs.
    """
    records = [record for record in read_manifest(manifest) if record.video is not None]
    for label in labels[:clips]:
        of_label = [record for record in records if record.label == label]
        if not of_label:
            raise InputError(f"{manifest}: no clip with a video of label {label}")
        front = [record for record in of_label if record.camera == 2] or of_label
        record = front[min(first, len(front) - 1)]
        folder = Path(out) / record.name
        if not folder.exists():
            names = read_classes(Path(classes)).names
            listed = Path(out).parent / "classes.txt"
            write_text(listed, "\n".join(names) + "\n")
            attention(
                str(record.video), model=model, classes=str(listed), out=str(folder), device=device
            )


def fetch(kind: str, name: str, *, out: str) -> None:
    """Load weights from a hub once, so that what is missing is known before anything trains.

    Args:
        kind: clip (ARCHITECTURE/TAG of open_clip), sentence or llm (ids of transformers).
        name: of the weights.
        out: text file to write.
    """
    if kind == "clip":
        from ski_vlm.sources import open_student

        try:
            open_student(name)
        except (SkiDataError, SkiVlmError) as error:
            stem = name.partition("/")[0].lower()
            raise InputError(
                f"{error}; here: {stem}.safetensors in --weights_folder FOLDER"
            ) from error
    elif kind == "sentence":
        from ski_skeleton.text.sentence import SentenceConfig, SentenceTextTower

        SentenceTextTower(SentenceConfig(name))
    elif kind == "llm":
        from ski_lvlm.base import BaseConfig, load_tokenizer, meta_language_model

        load_tokenizer(BaseConfig(name))
        meta_language_model(BaseConfig(name), precision="bfloat16")
    else:
        raise InputError(f"no kind of weights {kind!r}; there are clip, sentence, llm")
    version = importlib.metadata.version("open_clip_torch")
    write_text(Path(out), json.dumps({"kind": kind, "name": name, "open_clip": version}) + "\n")


COMMANDS = {
    "stage": stage,
    "starts": starts,
    "row": row,
    "store": store,
    "pictures": pictures,
    "fetch": fetch,
    "lvlm-base": "benchmarks.bench.lvlm_work:random_base",
    "lvlm-features": "benchmarks.bench.lvlm_work:features",
    "lvlm-answers": "benchmarks.bench.lvlm_work:answers",
    "judge-input": "benchmarks.bench.lvlm_work:judge_input",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    return command.run(
        COMMANDS,
        argv,
        prog="bench-work",
        version="0",
        description="Single jobs of the benchmark harness.",
    )


if __name__ == "__main__":
    sys.exit(main())
