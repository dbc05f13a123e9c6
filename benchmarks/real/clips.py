"""The recorded RGB clips: what the main job's models make of real people, out of their domain.

Every model is asked which of the clips' own labels a clip shows; none of them was trained on these
labels, nor on recordings. SkeletonCLIP is shown the estimated poses, the others the video alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ski_vlm
from apps.adl_mini import evaluation, stages
from apps.adl_mini.recipe import read_recipe
from benchmarks.real.headline import Headline, Job
from benchmarks.real.sources import SOURCES
from ski_data.errors import InputError
from ski_data.importer import import_skeletons
from ski_data.manifest import Record, read_manifest
from ski_data.paired import PairedDataset
from ski_data.progress import Progress
from ski_data.store import SkeletonStore
from ski_data.text import read_text
from ski_eval import (
    Interval,
    Predictions,
    bootstrap_interval,
    content_hash,
    load_predictions,
    save_predictions,
)
from ski_skeleton import pipeline

MODELS = {
    "clip": evaluation.CLIP,
    "vificlip": evaluation.VIFICLIP,
    "vificlip-longer-seed0": evaluation.LONGER,
    "ski-vificlip-seed0": evaluation.SKI,
    "skeleton-clip": evaluation.SKELETON,
}
"""Methods by their folder in a main job's run."""
POSES = "skeleton-clip"
TITLE = "recorded RGB clips"
NO_RUN = "no models: give --run RUN, the folder of a main job, made by hatch run main --out RUN"


def jobs(data: Path, out: Path, run: Path | None) -> list[Job]:
    """A job per model of the main job.

    Args:
        data: The data folder.
        out: Folder of all results.
        run: Folder of a main job, if there is one.
    """
    return [_job(name, data, out / "clips", run) for name in MODELS]


def _job(name: str, data: Path, folder: Path, run: Path | None) -> Job:
    source, path = SOURCES["clips"], folder / f"{name}.npz"
    lacks = source.lacks(data)
    if run is None:
        lacks += (NO_RUN,)
    elif not (run / name / "model").is_dir():
        lacks += (f"{run}: no {name}/model; finish the main job: hatch run main --out {run}",)

    def done() -> int:
        """0 where what is kept is of another model or of other clips, which running it refuses."""
        if run is None or lacks or not path.is_file():
            return int(path.is_file())
        wanted = settings(run, name, source.path(data))
        return int(load_predictions(path).meta.get("settings") == wanted)

    def work() -> None:
        assert run is not None
        recognise(name, run, source.path(data), folder)

    def headlines() -> list[Headline]:
        return figures(MODELS[name], load_predictions(path)) if path.is_file() else []

    return Job(
        "clips",
        f"{TITLE}, {MODELS[name]}",
        1,
        "runs",
        "about 10 s of a core",
        lacks,
        done,
        work,
        headlines,
    )


def settings(run: Path, name: str, listing: Path) -> str:
    """Hash of a model's weights and of the list of clips."""
    weights = run / name / "model" / "weights.safetensors"
    return content_hash(
        [hashlib.sha256(weights.read_bytes()).hexdigest(), read_text(listing, "list of clips")]
    )


def recognise(name: str, run: Path, listing: Path, folder: Path) -> Predictions:
    """Cosines of every clip with every label; kept, and never computed again.

    Args:
        name: Of the model, in :data:`MODELS`.
        run: The main job's folder.
        listing: ``clips.json``, which names file and label of each clip.
        folder: Gets the predictions and the store of poses.

    Raises:
        InputError: Predictions of another model or of other clips are there.
    """
    path = folder / f"{name}.npz"
    wanted = settings(run, name, listing)
    if path.is_file():
        found = load_predictions(path)
        if found.meta.get("settings") != wanted:
            raise InputError(
                f"{path}: of another model or of other clips; choose another --out or remove it"
            )
        return found
    store = folder / "poses"
    if not store.is_dir():
        import_skeletons(str(listing), str(store), "rgb_pose_clips")
    skeletons = SkeletonStore(store)
    assert skeletons.classes is not None
    records = read_manifest(store.with_name("poses.jsonl"), skeletons.classes)
    names = list(skeletons.classes.names)
    if name == POSES:
        logits = from_poses(run, records, skeletons, names)
    else:
        logits = from_video(run / name, records, names)
    found = Predictions(
        names=tuple(record.name for record in records),
        labels=np.array([record.label for record in records]),
        logits=logits,
        classes=tuple(names),
        groups=performances(listing),
        meta={"settings": wanted, "method": MODELS[name]},
    )
    save_predictions(found, path)
    return found


def from_video(folder: Path, records: list[Record], names: list[str]) -> NDArray[np.float32]:
    """Cosines ``(N, K)`` of a student that sees the video alone."""
    recognizer = ski_vlm.load(folder)
    rows = []
    with Progress(f"{folder.name}, clips", len(records)) as progress:
        for number, record in enumerate(records):
            assert record.video is not None
            rows.append(recognizer.cosines(recognizer.frames(record.video)[None], names)[0])
            progress.update(number + 1)
    return np.stack(rows)


def from_poses(
    run: Path, records: list[Record], store: SkeletonStore, names: list[str]
) -> NDArray[np.float32]:
    """Cosines ``(N, K)`` of SkeletonCLIP, which sees the estimated poses alone."""
    recipe = read_recipe(run / "config.yaml")
    clips = PairedDataset(records, skeletons=store, feeder=stages.feeder(recipe), train=False)
    model, _ = pipeline.load_skeleton_clip(run / POSES / "model")
    return pipeline.zero_shot_scores(model, clips, names).logits


def performances(listing: Path) -> tuple[str, ...]:
    """What each clip shows a view of; views of one performance are not independent.

    Clips without a view are performances of their own. ``beam_two`` is ``beam`` with a second
    person put into the pictures, so it is the same performance.
    """
    clips = json.loads(read_text(listing, "list of clips"))
    return tuple(
        clip["group"].partition("_")[0] if "view" in clip else clip["file"] for clip in clips
    )


def figures(method: str, predictions: Predictions) -> list[Headline]:
    """Top-1, and where the true label stands among all: 100 % is first, 0 % last."""
    scores, labels = predictions.logits, predictions.labels
    own = scores[np.arange(len(labels)), labels][:, None]
    others = scores.shape[1] - 1
    place = ((scores < own).sum(1) + ((scores == own).sum(1) - 1) / 2) / others
    found = []
    for metric, values, chance in (
        ("top-1", predictions.correct.astype(float), 1 / (others + 1)),
        ("place of the true label", place, 0.5),
    ):
        found.append(
            Headline(
                TITLE,
                f"zero-shot, {others + 1} labels, out of domain; {metric}",
                method,
                float(values.mean()),
                over_performances(values, predictions),
                "performances",
                chance,
                len(labels),
                "1 seed",
            )
        )
    return found


def over_performances(values: NDArray[np.float64], predictions: Predictions) -> Interval:
    """Bootstrap interval of a mean over performances."""
    return bootstrap_interval(values, predictions.groups, rng=np.random.default_rng(0))
