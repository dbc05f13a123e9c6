"""One class split: its encoder, its features, and every method's record; a record is made once."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.real_skeletons import skeleton_clip
from benchmarks.real_skeletons.settings import RealSet
from ski_data.config import to_plain
from ski_data.errors import InputError
from ski_data.store import SkeletonStore
from ski_eval import content_hash, gzsl, harmonic_mean, mean_class_accuracy
from ski_skeleton import supervised
from ski_skeleton.errors import RunError
from ski_skeleton.loading import load_encoder
from ski_skeleton.supervised import ClassifierRecipe, ClosedSetData, SplitRule
from ski_skeleton.train import write_model
from ski_skeleton.zeroshot.extract import ExtractConfig, extract_features
from ski_skeleton.zeroshot.features import save_features
from ski_skeleton.zeroshot.prepare import Prepared, prepare
from ski_skeleton.zeroshot.protocol import ProtocolConfig
from ski_skeleton.zeroshot.recipe import FeatureConfig, ZeroShotRecipe
from ski_skeleton.zeroshot.run import run_seed
from ski_skeleton.zeroshot.texts import TextConfig

METHODS = {
    "synse": "SynSE",
    "smie": "SMIE",
    "star": "STAR",
    skeleton_clip.KIND: "SkeletonCLIP",
}
"""Methods of the benchmark by the kind that recipes and files name."""
ENCODER = "encoder"


@dataclass(frozen=True)
class Record:
    """What one method reached on one split; fractions, means over classes."""

    settings: str
    """Hash of everything that the figures hang on."""
    method: str
    unseen: tuple[str, ...]
    """Names of the unseen classes."""
    zero_shot: float
    """Accuracy on test clips of unseen classes, these as candidates."""
    null: float
    """The same, trained and tested with the class names permuted."""
    seen: float
    """S: test clips of seen classes, all classes as candidates."""
    new: float
    """U."""
    harmonic: float
    """H of the two."""
    clips: tuple[int, int]
    """Test clips of seen and of unseen classes."""
    tuning: dict[str, Any]
    seconds: float


class SplitRun:
    """A split of a data set and the folder that keeps what is known of it.

    Args:
        which: settings.
        store: clips.
        texts: file of text vectors.
        unseen: labels of the unseen classes.
        folder: of this split.
        number: of the split, which seeds the permutation of the null.
    """

    def __init__(
        self,
        which: RealSet,
        store: SkeletonStore,
        texts: Path,
        unseen: Sequence[int],
        folder: Path,
        number: int,
    ) -> None:
        if store.classes is None:
            raise InputError(f"{store.folder}: names no classes")
        self.which, self.store, self.texts, self.folder = which, store, texts, folder
        self.number = number
        self.unseen = tuple(store.classes.names[k] for k in unseen)
        self.base = {
            "store": store.sha256,
            "unseen": self.unseen,
            "train": to_plain(which.train),
            "encoder": to_plain(which.encoder),
            "feeder": to_plain(which.feeder),
            "pretrain": to_plain(which.pretrain),
        }

    def hash_of(self, kind: str) -> str:
        """Of everything that the figures of a method (or the encoder) hang on."""
        own: dict[str, Any] = {}
        if kind == skeleton_clip.KIND:
            own = {"align": self.which.align, "temperature": self.which.temperature}
        elif kind != ENCODER:
            own = {"method": getattr(self.which, kind)}
        if kind != ENCODER:
            own |= {"kind": kind, "number": self.number, "texts": self.texts.read_bytes().hex()}
        return content_hash(self.base | to_plain(own))

    def missing(self) -> list[str]:
        """Methods without a record.

        Raises:
            RunError: a record of other settings.
        """
        return [kind for kind in METHODS if not self._known(kind)]

    def _known(self, kind: str) -> bool:
        path = self.folder / f"{kind}.json"
        if not path.exists():
            return False
        found = json.loads(path.read_text(encoding="utf-8"))["settings"]
        if found != self.hash_of(kind):
            raise RunError(f"{path}: made with other settings; choose another --out or remove it")
        return True

    def run(self) -> None:
        """Make the records that are not there."""
        missing = self.missing()
        if not missing and self._known(ENCODER):
            return
        self._train_encoder()
        path = self.folder / "features.safetensors"
        path.unlink(missing_ok=True)
        loaded = load_encoder(self.folder / "model")
        save_features(
            extract_features(loaded, self.store, self.which.feeder, ExtractConfig(maps=True)), path
        )
        body = loaded.module.state_dict()
        for kind in missing:
            work = self.folder / f"{kind}.work"
            shutil.rmtree(work, ignore_errors=True)
            started = time.process_time()
            if kind == skeleton_clip.KIND:
                found = self._skeleton_clip(path, body, work)
            else:
                found = self._head(kind, path, work)
            record = Record(
                settings=self.hash_of(kind),
                method=METHODS[kind],
                unseen=self.unseen,
                seconds=round(time.process_time() - started, 2),
                **found,
            )
            write_json(asdict(record), self.folder / f"{kind}.json")
            shutil.rmtree(work)
        path.unlink()

    def _train_encoder(self) -> None:
        """The encoder of the seen classes, and how it tells them apart on the test side."""
        if self._known(ENCODER):
            return
        which, place = self.which, self.folder / "model"
        started = time.process_time()
        split = SplitRule(train=which.train, unseen=self.unseen)
        recipe = ClassifierRecipe(
            ClosedSetData(str(self.store.folder), split),
            encoder=which.encoder,
            feeder=which.feeder,
            train=which.pretrain,
        )
        clips = supervised.open_closed_set(self.store.folder, split)
        if not place.is_dir():
            model = supervised.train_classifier(recipe, clips, self.folder / "pretrain")
            config = replace(which.encoder, output=len(clips.classes))
            meta = supervised.model_meta(recipe, clips, seed=0)
            write_model(place, config.kind, config, model.state_dict(), meta)
            shutil.rmtree(self.folder / "pretrain")
        seconds = round(time.process_time() - started, 2)
        found = supervised.predict(supervised.load_classifier(place), self.store.folder)
        accuracy = mean_class_accuracy(found.logits.argmax(1), found.labels, len(found.classes))
        record = {"settings": self.hash_of(ENCODER), "accuracy": accuracy, "seconds": seconds}
        write_json(record, self.folder / f"{ENCODER}.json")

    def _prepared(self, kind: Any, features: Path, protocol: ProtocolConfig) -> Prepared:
        which = self.which
        recipe = ZeroShotRecipe(
            kind=kind,
            features=FeatureConfig(file=str(features)),
            text=TextConfig(file=str(self.texts)),
            train=which.train,
            unseen=self.unseen,
            synse=which.synse,
            smie=which.smie,
            star=which.star,
            protocol=protocol,
        )
        return prepare(recipe)

    @property
    def _null(self) -> ProtocolConfig:
        return ProtocolConfig(generalised=False, permute_names=self.number)

    def _head(self, kind: str, features: Path, work: Path) -> dict[str, Any]:
        """SynSE, SMIE or STAR through the package's own zero-shot run."""
        data = self._prepared(kind, features, ProtocolConfig())
        outcome = run_seed(data, 0, work / "real")
        null = run_seed(self._prepared(kind, features, self._null), 0, work / "null").zero_shot
        assert outcome.generalised is not None
        return figures(
            (outcome.zero_shot.logits, outcome.zero_shot.labels),
            (null.logits, null.labels),
            (outcome.generalised.logits, outcome.generalised.labels),
            data.split.unseen,
            outcome.tuning,
        )

    def _skeleton_clip(self, features: Path, body: Any, work: Path) -> dict[str, Any]:
        data = self._prepared("smie", features, ProtocolConfig())
        rows, labels = data.rows, data.features.labels

        def scores(permute: int | None, name: str) -> skeleton_clip.ClipScores:
            bench = skeleton_clip.Bench(
                self.which,
                self.store,
                data.features,
                data.split,
                rows,
                body,
                data.texts.names,
                seed=0,
                permute=permute,
            )
            return skeleton_clip.run(bench, work / name, generalised=permute is None)

        real, null = scores(None, "real"), scores(self.number, "null")
        own = np.searchsorted(list(data.split.unseen), labels[rows.test_unseen])
        every = np.concatenate([rows.test_seen, rows.test_unseen])
        assert real.generalised is not None
        return figures(
            (real.zero_shot, own),
            (null.zero_shot, own),
            (real.generalised, labels[every]),
            data.split.unseen,
            real.tuning,
        )


def figures(
    zero_shot: tuple[ArrayLike, ArrayLike],
    null: tuple[ArrayLike, ArrayLike],
    generalised: tuple[ArrayLike, ArrayLike],
    unseen: Sequence[int],
    tuning: dict[str, Any],
) -> dict[str, Any]:
    """The figures of a record from scores and labels: means over classes, H of S and U."""

    def macro(pair: tuple[ArrayLike, ArrayLike]) -> float:
        scores = np.asarray(pair[0])
        return float(mean_class_accuracy(scores.argmax(1), np.asarray(pair[1]), scores.shape[1]))

    wide = gzsl(*generalised, unseen)
    return {
        "zero_shot": macro(zero_shot),
        "null": macro(null),
        "seen": float(wide.seen_mean_class),
        "new": float(wide.unseen_mean_class),
        "harmonic": harmonic_mean(wide.seen_mean_class, wide.unseen_mean_class),
        "clips": (wide.n_seen, wide.n_unseen),
        "tuning": to_plain(tuning),
    }


def write_json(value: Any, path: Path) -> None:
    """Write at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(to_plain(value), indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
