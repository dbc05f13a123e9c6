"""All skeleton-language models on real joints: ``python -m benchmarks.real_skeletons COMMAND``.

``zero-shot`` measures every class split of a data set, ``closed-set`` encoders on all its classes,
``tables`` prints what is there. What is done is kept and never done again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.real_skeletons.closed_set import NAMES, RIDGE, recipes, ridge, trained
from benchmarks.real_skeletons.settings import read_set, read_splits
from benchmarks.real_skeletons.split_run import SplitRun
from benchmarks.real_skeletons.summary import Results, methods_table, pairs_table
from benchmarks.real_skeletons.vectors import class_vectors
from ski_data import command
from ski_data.errors import InputError
from ski_data.importer import import_skeletons
from ski_data.progress import Progress
from ski_data.store import SkeletonStore
from ski_eval import format_interval, markdown_table, score
from ski_skeleton import supervised

OUT = "runs/real-skeletons"


def zero_shot(
    which: str, data: str, *, sentence: str, out: str = OUT, limit: int | None = None
) -> None:
    """Measure every method on every class split of a data set; go on where it stopped.

    Args:
        which: ui_prmd, hdm05 or bandai_namco_2.
        data: its .npz file.
        sentence: sentence encoder, a transformers id or a local folder; read once.
        out: folder for stores, runs and records.
        limit: number of splits; by default all.
    """
    settings, splits = read_set(which), read_splits(which)
    if limit is not None and not 1 <= limit <= len(splits):
        raise InputError(f"--limit {limit}: {which} has {len(splits)} splits")
    folder = Path(out) / which
    store = open_store(data, settings.mapping, folder / "store")
    if store.classes is None:
        raise InputError(f"{data}: names no classes")
    texts = folder / "texts.safetensors"
    class_vectors(store.classes.names, sentence, texts)
    chosen = splits[:limit]
    with Progress(f"{which}, splits", len(chosen)) as progress:
        for number, split in enumerate(chosen):
            place = folder / "splits" / "-".join(map(str, split))
            SplitRun(settings, store, texts, split, place, number).run()
            progress.update(number + 1)
    tables(which, out=out)


def tables(which: str, *, out: str = OUT) -> None:
    """Print the tables of a data set from the splits that are done.

    Args:
        which: ui_prmd, hdm05 or bandai_namco_2.
        out: folder of the records.
    """
    settings = read_set(which)
    results = Results(Path(out) / which, read_splits(which))
    print(f"{settings.title}, {settings.testing} test\n")
    print(methods_table(results).markdown())
    for figure in ("zero_shot", "harmonic"):
        print(pairs_table(results, figure).markdown() + "\n")


def closed_set(which: str, data: str, *, out: str = OUT) -> None:
    """Train encoders on all classes of a data set and print them beside a linear ridge.

    Args:
        which: hdm05 or bandai_namco_2; for UI-PRMD see docs/encoders.md and docs/closed-set.md.
        data: its .npz file.
        out: folder for stores, runs and predictions.
    """
    found = recipes(which)
    if not found:
        raise InputError(f"no closed-set recipes of {which!r}")
    folder = Path(out) / which
    store = open_store(data, read_set(which).mapping, folder / "store")
    first = supervised.read_recipe(next(iter(found.values())))
    clips = supervised.open_closed_set(store.folder, first.data.split)
    rows = [(RIDGE, ridge(clips))]
    for kind, path in found.items():
        rows.append((NAMES[kind], trained(path, store, folder / "closed" / kind)))
    cells = []
    for name, predictions in rows:
        top = score(predictions, rng=np.random.default_rng(0))[0]
        cells.append((name, format_interval(top.value, top.interval)))
    unit = "clips" if rows[0][1].groups is None else "people"
    print(markdown_table(("", f"top-1, interval over {unit}"), cells))


def open_store(data: str, mapping: str, folder: Path) -> SkeletonStore:
    """The store of a data file, made where it is not there yet."""
    if not folder.is_dir():
        import_skeletons(data, str(folder), mapping)
    return SkeletonStore(folder)


COMMANDS = {"zero-shot": zero_shot, "closed-set": closed_set, "tables": tables}


if __name__ == "__main__":
    sys.exit(
        command.run(
            COMMANDS,
            prog="python -m benchmarks.real_skeletons",
            version="1",
            description="Skeleton-language models on UI-PRMD, HDM05 and Bandai-Namco set 2.",
        )
    )
