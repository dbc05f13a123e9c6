"""Rows of the benchmark: recipes of ski-vlm made from a finished main job's settings and models."""

from __future__ import annotations

import functools
import json
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from apps.adl_mini import stages
from apps.adl_mini.recipe import AdlMiniRecipe
from ski_data.classes import ClassSet, read_classes
from ski_data.config import from_plain, read_yaml, to_plain
from ski_data.errors import MissingFileError
from ski_eval import content_hash
from ski_skeleton.skeleton_clip import SkeletonClipConfig
from ski_skeleton.text import ClipConfig, ClipSizes
from ski_skeleton.train import TrainConfig
from ski_vlm.align import CrossProjectConfig, LateFusionConfig, TrimodalConfig
from ski_vlm.distill import ResidualConfig, ScdConfig
from ski_vlm.distill.feature import FeatureConfig
from ski_vlm.evaluation import SKELETON, VIDEO
from ski_vlm.recipe import Method, SkeletonSide, VideoData, VideoRecipe, ZeroShotConfig
from ski_vlm.students import FrosterConfig, ViFiClipConfig, XClipConfig
from ski_vlm.tasks import FineTuneConfig

ALPHA = 100.0
"""Weight of distances that are means over entries: the main job's."""
SWEEP = (0.01, 1.0, 10.0, 1000.0)
"""Other weights of the sweep; the row ``scd`` has :data:`ALPHA`."""
VIT = "vit"
"""Folder of what belongs to the Vision Transformer, and first word of its rows."""
FUSIONS = ("late fusion of logits", "late fusion of probabilities", "late fusion, trained")
ANSWERS = {
    "tri-modal": (VIDEO, SKELETON),
    "cross-projection": (SKELETON,),
    "late-fusion": (VIDEO, SKELETON, *FUSIONS),
}
"""Which answers of a method are kept; of all others the student's from video."""


@dataclass(frozen=True)
class VitConfig:
    """A small Vision Transformer, for students that need a plain one, and how it trains."""

    width: int = 128
    layers: int = 4
    head: int = 32
    patch: int = 16
    pretrain_epochs: int = 54
    """Three times the main job's: a transformer takes long to learn anything from few images."""
    pretrain_lr: float = 1.0e-3
    pretrain_warmup: float = 1.0
    lr: float = 3.0e-4
    """Of fine-tuning and of the rows; X-CLIP's new parts learn ten times faster."""


@dataclass(frozen=True)
class BenchConfig:
    """What the benchmark sets beside the main job's settings."""

    epochs: int = 3
    """Of every row that trains."""
    vit: VitConfig = field(default_factory=VitConfig)


@dataclass(frozen=True)
class Bench:
    """A finished main job, the benchmark's own folder, and its settings."""

    run: Path
    out: Path
    config: BenchConfig = field(default_factory=BenchConfig)

    def __post_init__(self) -> None:
        needed = ("config.yaml", "data/meta.json", "data/split.json", "skeletons", "videos")
        models = ("clip/model", "vificlip/model", "skeleton-clip/model")
        for part in (*needed, *models):
            if not (self.run / part).exists():
                raise MissingFileError(
                    f"{self.run}: no finished main job (no {part}); run python -m apps.adl_mini "
                    f"--out {self.run} first"
                )

    @functools.cached_property
    def settings(self) -> AdlMiniRecipe:
        """The main job's."""
        path = self.run / "config.yaml"
        return from_plain(AdlMiniRecipe, read_yaml(path), str(path))

    @functools.cached_property
    def vit_settings(self) -> AdlMiniRecipe:
        """The main job's with the Vision Transformer in place of the convolutional tower."""
        own, vit = self.settings, self.config.vit
        sizes = replace(
            own.clip,
            timm=None,
            patch=vit.patch,
            vision_width=vit.width,
            vision_layers=vit.layers,
            vision_head=vit.head,
        )
        optim = replace(own.pretrain.optim, lr=vit.pretrain_lr, warmup_epochs=vit.pretrain_warmup)
        pretrain = replace(own.pretrain, epochs=vit.pretrain_epochs, optim=optim)
        return replace(own, clip=sizes, pretrain=pretrain)

    @property
    def classes_file(self) -> Path:
        """All class names in the order of the manifest's labels."""
        return self.out / "classes.csv"

    def clip_file(self, tower: str) -> Path:
        """Weights of the pretrained CLIP in open_clip's names; ``tower`` is conv or vit."""
        return self.out / f"{tower}-clip.safetensors"

    def start_folder(self, name: str) -> Path:
        """Run of one of :func:`starts`."""
        return self.out / VIT / name

    @functools.cached_property
    def data(self) -> VideoData:
        """The main job's clips: unseen classes, and people that do not train."""
        folder = self.run / "data"
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return VideoData(
            manifest=str(folder / "manifest.jsonl"),
            videos=str(self.run / "videos"),
            skeletons=str(self.run / "skeletons"),
            classes=str(self.classes_file),
            unseen=read_classes(folder / "classes_unseen.csv").names,
            train_subjects=tuple(meta["split"]["train_subjects"]),
        )

    def all_classes(self) -> ClassSet:
        """Seen and unseen classes in the order of their action numbers."""
        path = self.run / "data" / "split.json"
        named = json.loads(path.read_text(encoding="utf-8"))["classes"]
        names = [named[action] for action in sorted(named)]
        return ClassSet(tuple(map(str, range(len(names)))), tuple(names))

    def settings_hash(self, recipe: VideoRecipe, seed: int) -> str:
        """Of everything that the figures of a row and seed hang on, wherever the folders lie."""
        meta = json.loads((self.run / "data" / "meta.json").read_text(encoding="utf-8"))
        parts = {"recipe": said(recipe), "job": said(self.settings)}
        if recipe.student.clip.sizes == self.vit_settings.clip:
            parts |= {"vit": said(self.config.vit)}
        text = json.dumps(parts)
        places = {str(self.run): "RUN", str(self.out): "OUT"}
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(json.dumps(place)[1:-1], places[place])
        return content_hash({"settings": text, "seed": seed, "data": meta["data_hash"]})


def said(value: Any) -> Any:
    """Plain settings without those at their default.

    A setting that is new in a later version leaves everything as it was before, and so the records.
    """
    if is_dataclass(value):
        own = {f.name: getattr(value, f.name) for f in fields(value)}
        kept = {f.name: said(own[f.name]) for f in fields(value) if own[f.name] != _default(f)}
        return {type(value).__name__: kept}
    return to_plain(value)


def _default(setting: Field[Any]) -> Any:
    """The default of a setting; something that equals nothing where there is none."""
    if setting.default is not MISSING:
        return setting.default
    return object() if setting.default_factory is MISSING else setting.default_factory()


def _recipe(
    bench: Bench,
    student: ViFiClipConfig | XClipConfig | FrosterConfig,
    train: TrainConfig,
    **more: Any,
) -> VideoRecipe:
    own = bench.settings
    return VideoRecipe(
        data=bench.data,
        student=student,
        video=stages.video_transform(own),
        feeder=stages.feeder(own),
        pairing=own.pairing,
        pair_dropout=own.pair_dropout,
        train=train,
        **more,
    )


def starts(bench: Bench) -> dict[str, VideoRecipe]:
    """Students on the Vision Transformer, fine-tuned on the seen classes as the main job's."""
    own = bench.vit_settings
    optim = replace(own.finetune.optim, lr=bench.config.vit.lr)
    train = replace(own.finetune, optim=optim)
    clip = _clip(bench, own.clip, VIT)
    return {
        name: _recipe(bench, replace(student, clip=clip), train, method=_plain_method(name))
        for name, student in _vit_students(bench).items()
    }


def recipes(bench: Bench) -> dict[str, VideoRecipe]:
    """Recipe of every row, the important ones first; seeds are not part of them."""
    own, run = bench.settings, bench.run
    student = replace(stages.student_config(own), frames=own.train_frames)
    train = replace(own.distil, epochs=bench.config.epochs)
    clip = _clip(bench, own.clip, "conv")
    trained = SkeletonSide(folder=str(run / "skeleton-clip"))
    fresh = SkeletonSide(
        model=SkeletonClipConfig(encoder=own.encoder, clip=clip, temperature=own.temperature)
    )
    body = replace(fresh, encoder=str(run / "skeleton-clip"))
    scd = replace(own.scd, alpha=ALPHA)

    def row(
        method: Method, side: SkeletonSide | None = None, start: str = "vificlip"
    ) -> VideoRecipe:
        return _recipe(bench, student, train, method=method, skeleton=side, start=str(run / start))

    found = {
        "scd": row(scd, trained),
        "control": row(FineTuneConfig()),
        "clip": row(ZeroShotConfig(), start="clip"),
        "vificlip": row(ZeroShotConfig()),
        "scd-kl": row(replace(scd, distance="kl"), trained),
        "offline": row(replace(scd, mode="offline"), trained),
        "feature": row(FeatureConfig(alpha=ALPHA, projection=False), trained),
        "feature-projected": row(FeatureConfig(alpha=ALPHA), trained),
        "scd-contrastive": row(replace(scd, distance="contrastive", alpha=1.0), trained),
        "scd-released": row(replace(scd, logits="released", alpha=10.0), trained),
        "late-fusion": row(LateFusionConfig(), trained),
        "cross-projection": row(CrossProjectConfig(), body, "clip"),
        "tri-modal": row(TrimodalConfig(), fresh, "clip"),
        "scd-trained-text": row(scd, replace(trained, train_text=True)),
        "control-from-clip": row(FineTuneConfig(), start="clip"),
        "scd-no-skeleton-pretraining": row(scd, fresh),
        "scd-no-video-pretraining": row(scd, trained, "clip"),
        "scd-no-pretraining": row(scd, fresh, "clip"),
    }
    found |= {f"alpha-{alpha:g}": row(replace(scd, alpha=alpha), trained) for alpha in SWEEP}
    return found | _vit_rows(bench, train, scd, trained)


def seeds_of(row: str, recipe: VideoRecipe, seeds: int) -> tuple[int, ...]:
    """Seeds of a row: the sweep has one, and what does not train needs no more."""
    one = row.startswith("alpha-") or isinstance(recipe.method, ZeroShotConfig)
    return (0,) if one else tuple(range(seeds))


def answers_of(recipe: VideoRecipe) -> tuple[str, ...]:
    """Titles of the answers that a row keeps."""
    return ANSWERS.get(recipe.method.kind, (VIDEO,))


def _clip(bench: Bench, sizes: ClipSizes, tower: str) -> ClipConfig:
    return ClipConfig(None, pretrained=str(bench.clip_file(tower)), sizes=sizes)


def _vit_students(bench: Bench) -> dict[str, ViFiClipConfig | XClipConfig | FrosterConfig]:
    """The three students on one transformer; of its towers the images' trains."""
    plain = replace(stages.student_config(bench.vit_settings), frames=bench.settings.train_frames)
    shared = {
        "clip": plain.clip,
        "frames": plain.frames,
        "short_side": plain.short_side,
        "normalisation": plain.normalisation,
        "train": plain.train,
    }
    return {"vificlip": plain, "xclip": XClipConfig(**shared), "froster": FrosterConfig(**shared)}


def _plain_method(name: str, clip: ClipConfig | None = None) -> Method:
    return ResidualConfig(clip=clip) if name == "froster" else FineTuneConfig()


def _vit_rows(
    bench: Bench, train: TrainConfig, scd: ScdConfig, trained: SkeletonSide
) -> dict[str, VideoRecipe]:
    """The pretrained CLIP, and each student trained on without and with skeletons."""
    train = replace(train, optim=replace(train.optim, lr=bench.config.vit.lr))
    clip = _clip(bench, bench.vit_settings.clip, VIT)
    students = _vit_students(bench)
    start = str(bench.out / VIT / "clip")
    method: Method = ZeroShotConfig()
    found = {"vit-clip": _recipe(bench, students["vificlip"], train, start=start, method=method)}
    for name, student in students.items():
        start = str(bench.start_folder(name))
        taught = scd if name != "froster" else replace(scd, residual=ResidualConfig(clip=clip))
        found[f"vit-{name}"] = _recipe(
            bench, student, train, start=start, method=_plain_method(name, clip)
        )
        found[f"vit-ski-{name}"] = _recipe(
            bench, student, train, start=start, method=taught, skeleton=trained
        )
    return found
