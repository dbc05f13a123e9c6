"""All classes of a set: trained encoders, and the linear ridge on raw joints they must pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_skeletons.settings import HERE
from ski_data.layouts import get_layout
from ski_data.store import SkeletonStore
from ski_eval import Predictions, content_hash, load_predictions, save_predictions
from ski_skeleton import supervised
from ski_skeleton.errors import RunError
from ski_skeleton.supervised import ClosedSet
from ski_skeleton.train import write_model

NAMES = {"hyperformer": "Hyperformer", "stgcn": "ST-GCN", "shift_gcn": "Shift-GCN"}
"""Encoders by kind."""
RIDGE = "linear ridge on raw joints"


def recipes(which: str) -> dict[str, Path]:
    """Recipes of a set by the kind of their encoder."""
    found = {kind: HERE / "closed" / f"{which}.{kind}.yaml" for kind in NAMES}
    return {kind: path for kind, path in found.items() if path.is_file()}


def trained(path: Path, store: SkeletonStore, folder: Path) -> Predictions:
    """Predictions of an encoder on the clips that did not train; trained where they are missing.

    Raises:
        RunError: predictions of another recipe or store.
    """
    recipe = supervised.read_recipe(path)
    recipe = replace(recipe, data=replace(recipe.data, store=str(store.folder)))
    settings = content_hash([recipe.encoder, recipe.feeder, recipe.train, store.sha256])
    kept = folder / "predictions.npz"
    if kept.exists():
        found = load_predictions(kept)
        if found.meta.get("settings") != settings:
            raise RunError(f"{kept}: of another recipe; choose another --out or remove it")
        return found
    clips = supervised.open_closed_set(store.folder, recipe.data.split)
    if not (folder / "model").is_dir():
        model = supervised.train_classifier(recipe, clips, folder / "train")
        config = replace(recipe.encoder, output=len(clips.classes))
        meta = supervised.model_meta(recipe, clips, seed=0)
        write_model(folder / "model", config.kind, config, model.state_dict(), meta)
    classifier = supervised.load_classifier(folder / "model")
    found = supervised.predict(classifier, store.folder)
    found = replace(found, meta={**found.meta, "settings": settings})
    save_predictions(found, kept)
    return found


def ridge(clips: ClosedSet, *, frames: int = 24, penalty: float = 1000.0) -> Predictions:
    """One-against-all ridge regression on standardised joints, relative to the first root."""
    x = np.stack([_flat(clips.store, row, frames) for row in range(len(clips.store))])
    train, y = x[clips.train], clips.labels[clips.train]
    mean, spread = train.mean(0), train.std(0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    a, b = (train - mean) / spread, (x[clips.test] - mean) / spread
    wanted = np.eye(len(clips.classes))[y]
    offset = wanted.mean(0)
    weights = a.T @ np.linalg.solve(a @ a.T + penalty * np.eye(len(a)), wanted - offset)
    people = clips.store.index["subject"][clips.test]
    return Predictions(
        names=tuple(clips.store.index["name"][clips.test].tolist()),
        labels=clips.labels[clips.test],
        logits=b @ weights + offset,
        classes=clips.classes,
        groups=None if (people < 0).any() else tuple(map(str, people.tolist())),
    )


def _flat(store: SkeletonStore, row: int, frames: int) -> NDArray[np.float64]:
    """Joints of the first body at ``frames`` even times, seen from the first frame's root."""
    clip = store.clip(row)[..., 0].astype(np.float64)  # (3, T, V)
    root = get_layout(store.layout.name).joints.index("spine_base")
    times = np.linspace(0, clip.shape[1] - 1, frames)
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, clip.shape[1] - 1)
    share = times - low
    found = clip[:, low] * (1 - share)[None, :, None] + clip[:, high] * share[None, :, None]
    return (found - clip[:, :1, root : root + 1]).ravel()
