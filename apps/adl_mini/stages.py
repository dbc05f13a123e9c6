"""The stages of the main job. Each leaves a folder, and does nothing when it is already there."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from apps.adl_mini.recipe import AdlMiniRecipe
from ski_data.classes import ClassSet, read_classes
from ski_data.manifest import Record, read_manifest
from ski_data.ntu.prepare import prepare_store
from ski_data.paired import PairedDataset
from ski_data.progress import Progress
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore
from ski_data.synthetic import make_adl_mini
from ski_data.synthetic.captions import phrases
from ski_data.video.cache import VideoStore, write_video_store
from ski_data.video.decode import read_frames
from ski_data.video.transforms import VideoTransformConfig, train_transform
from ski_skeleton import pipeline
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text import ClipConfig
from ski_skeleton.train import Task, TrainConfig, fit, read_model, write_model
from ski_skeleton.train.task import Batch
from ski_vlm.distill import SkeletonDistillation
from ski_vlm.students import ViFiClip, ViFiClipConfig, load_student
from ski_vlm.tasks import ContrastImagesAndTexts, FineTuneVideo

ENCODER, STUDENT = "hyperformer", "vifi-clip"
TOKEN_STD = 0.1


@dataclass(frozen=True)
class Data:
    """Everything that training and evaluation read."""

    folder: Path
    seen: ClassSet
    unseen: ClassSet
    train: list[Record]
    test_seen: list[Record]
    test_unseen: list[Record]
    skeletons: SkeletonStore
    videos: VideoStore
    meta: dict[str, Any]

    @property
    def split_name(self) -> str:
        """Name of the class split."""
        return self.meta["split"]["name"]

    @property
    def split_hash(self) -> str:
        """Hash of the class split."""
        return self.meta["split"]["hash"]


def make_data(recipe: AdlMiniRecipe, folder: Path) -> Data:
    """Stage 1: generate adl-mini, read the raw skeletons into a store, decode the clips once."""
    data = folder / "data"
    with Progress("generate clips", total=1) as progress:
        make_adl_mini(data, recipe.data, progress=progress.report)
    if not (folder / "skeletons").exists():
        prepare_store(data / "skeletons", folder / "skeletons", bodies=1)
    seen, unseen = (read_classes(data / f"classes_{part}.csv") for part in ("seen", "unseen"))
    lists = {
        name: read_manifest(data / f"{name}.csv", unseen if name == "test_unseen" else seen)
        for name in ("train_seen", "test_seen", "test_unseen")
    }
    if not (folder / "videos").exists():
        records = [record for part in lists.values() for record in part]
        write_video_store(
            folder / "videos",
            records,
            short_side=recipe.short_side,
            max_frames=recipe.stored_frames,
            workers=os.cpu_count() or 1,
        )
    return Data(
        data,
        seen,
        unseen,
        lists["train_seen"],
        lists["test_seen"],
        lists["test_unseen"],
        SkeletonStore(folder / "skeletons"),
        VideoStore(folder / "videos"),
        json.loads((data / "meta.json").read_text(encoding="utf-8")),
    )


def video_transform(recipe: AdlMiniRecipe) -> VideoTransformConfig:
    """Training and test transform; no flips, since the names tell left from right."""
    return VideoTransformConfig(
        size=recipe.clip.image,
        short_side=recipe.short_side,
        flip=0.0,
        gray=0.1,
        scales=(1.0, 0.928, 0.857),
    )


def dataset(
    recipe: AdlMiniRecipe,
    data: Data,
    records: list[Record],
    *,
    video: bool,
    skeleton: bool,
    train: bool,
    seed: int = 0,
) -> PairedDataset:
    """Clips from the two stores; the recipe's way of pairing where video and skeleton train."""
    pairs = train and video and skeleton
    return PairedDataset(
        records,
        skeletons=data.skeletons if skeleton else None,
        videos=data.videos if video else None,
        frames=recipe.train_frames if train else recipe.frames,
        video=video_transform(recipe) if video else None,
        feeder=feeder(recipe) if skeleton else None,
        train=train,
        seed=seed,
        pairing=recipe.pairing if pairs else "clip",
        pair_dropout=recipe.pair_dropout if pairs else 0.0,
    )


def feeder(recipe: AdlMiniRecipe) -> FeederConfig:
    """Hyperformer's feeder with this recipe's window; these clips are short, so crops stay long."""
    return FeederConfig(window=recipe.window, train_crop=(0.8, 1.0), min_crop=16, rotation=0.3)


class CaptionedFrames:
    """Single frames of training clips with their captions and all that is true of them."""

    def __init__(self, recipe: AdlMiniRecipe, data: Data, seed: int) -> None:
        text = (data.folder / "captions.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
        rows.sort(key=lambda row: (row["video"], row["frame"]))
        self.frames = np.concatenate(
            [
                read_frames(
                    data.folder / video,
                    np.array([row["frame"] for row in of_video]),
                    short_side=recipe.short_side,
                )
                for video, of_video in itertools.groupby(rows, key=lambda row: row["video"])
            ]
        )
        self.captions: list[list[str]] = [row["captions"] for row in rows]
        self.phrases: list[frozenset[str]] = [frozenset(row["phrases"]) for row in rows]
        self.transform, self.seed, self.epoch = video_transform(recipe), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the crops and colours of this epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return {
            "index": index,
            "video": train_transform(self.frames[index : index + 1], self.transform, rng),
            "captions": self.captions[index],
            "phrases": self.phrases[index],
        }


def true_captions(batch: Batch, captions: Sequence[str]) -> torch.Tensor:
    """Which captions hold for which frames of a batch, bool ``(frames, captions)``."""
    said = [frozenset(phrases(caption)) for caption in captions]
    return torch.tensor([[part <= true for part in said] for true in batch["phrases"]])


def student_config(recipe: AdlMiniRecipe) -> ViFiClipConfig:
    """The student's towers and input rules."""
    return ViFiClipConfig(
        clip=ClipConfig(architecture=None, sizes=recipe.clip),
        frames=recipe.frames,
        short_side=recipe.short_side,
        train=recipe.train_towers,  # type: ignore[arg-type]
    )


def pretrain_clip(recipe: AdlMiniRecipe, data: Data, folder: Path, title: str) -> Path:
    """Stage 2: a small CLIP learns single frames and captions, in the place of web data."""

    def train(run: Path) -> tuple[Any, dict[str, Any]]:
        torch.manual_seed(recipe.pretrain.seed)
        model = ViFiClip(replace(student_config(recipe), train="both"))
        # Random words through a random transformer: a text is near the sum of its words, and what
        # trains on top cannot take "wave" for "wave with the left hand" because it saw no other.
        torch.nn.init.normal_(model.text.token_embedding.weight, std=TOKEN_STD)
        model.text.transformer.requires_grad_(False)
        model.text.positional_embedding.requires_grad_(False)
        source = CaptionedFrames(recipe, data, recipe.pretrain.seed)
        task = ContrastImagesAndTexts(model, true_captions)
        _fit(task, source, recipe.pretrain, run, title)
        return model, {"trained_on": "captions of single frames of seen training clips"}

    return _model_stage(folder / "clip", STUDENT, student_config(recipe), train, data)


def finetune_vificlip(
    recipe: AdlMiniRecipe, data: Data, folder: Path, clip: Path, title: str
) -> Path:
    """Stage 3: ViFi-CLIP, fine-tuned on the seen classes from RGB."""

    def train(run: Path) -> tuple[Any, dict[str, Any]]:
        model = load_student(clip)[0]
        source = dataset(recipe, data, data.train, video=True, skeleton=False, train=True)
        task = FineTuneVideo(model, data.seen.names)
        _fit(task, source, recipe.finetune, run, title)
        return model, {"trained_on": "train_seen.csv, RGB"}

    return _model_stage(folder / "vificlip", STUDENT, student_config(recipe), train, data)


def pretrain_encoder(recipe: AdlMiniRecipe, data: Data, folder: Path, title: str) -> Path:
    """Stage 4a: Hyperformer learns the seen classes from joints."""
    config = skeleton_clip_config(recipe)

    def train(run: Path) -> tuple[Any, dict[str, Any]]:
        source = dataset(recipe, data, data.train, video=False, skeleton=True, train=True)
        with Progress(title, total=1) as progress:
            model = pipeline.pretrain_encoder(
                config, source, len(data.seen.names), recipe.classify, run, report=progress.report
            )
        return model, {"trained_on": "train_seen.csv, joints"}

    encoder = replace(config.encoder, output=len(data.seen.names))
    return _model_stage(folder / "hyperformer", ENCODER, encoder, train, data)


def align_skeletons(
    recipe: AdlMiniRecipe, data: Data, folder: Path, clip: Path, encoder: Path, title: str
) -> Path:
    """Stage 4b: SkeletonCLIP, the encoder aligned with the frozen text tower."""
    config = skeleton_clip_config(recipe)

    def train(run: Path) -> tuple[Any, dict[str, Any]]:
        torch.manual_seed(recipe.align.seed)
        model = SkeletonClip(config, text=load_student(clip)[0].text)
        _, _, body, _ = read_model(encoder / "model", ENCODER)
        source = dataset(recipe, data, data.train, video=False, skeleton=True, train=True)
        with Progress(title, total=1) as progress:
            pipeline.align(
                model,
                body,
                source,
                list(data.seen.names),
                recipe.align,
                run,
                report=progress.report,
            )
        return model, {"trained_on": "train_seen.csv, joints; encoder from " + encoder.name}

    return _model_stage(folder / "skeleton-clip", pipeline.KIND, config, train, data)


def skeleton_clip_config(recipe: AdlMiniRecipe) -> SkeletonClipConfig:
    """SkeletonCLIP as the paper has it: cosine over a temperature, frozen text."""
    return SkeletonClipConfig(
        encoder=recipe.encoder,
        clip=ClipConfig(architecture=None, sizes=recipe.clip),
        temperature=recipe.temperature,
    )


def distil(
    recipe: AdlMiniRecipe,
    data: Data,
    folder: Path,
    student: Path,
    teacher: Path,
    seed: int,
    title: str,
) -> Path:
    """Stage 5: SkeletonCLIP teaches ViFi-CLIP; only the student is kept."""
    config = replace(recipe.distil, seed=seed)

    def train(run: Path) -> tuple[Any, dict[str, Any]]:
        task = SkeletonDistillation(
            load_student(student)[0],
            pipeline.load_skeleton_clip(teacher / "model")[0],
            data.seen.names,
            recipe.scd,
        )
        source = dataset(recipe, data, data.train, video=True, skeleton=True, train=True, seed=seed)
        _fit(task, source, config, run, title)
        return task.student, {"trained_on": "train_seen.csv, RGB and joints", "seed": seed}

    where = folder / f"ski-vificlip-seed{seed}"
    return _model_stage(where, STUDENT, student_config(recipe), train, data)


def continue_vificlip(
    recipe: AdlMiniRecipe, data: Data, folder: Path, student: Path, seed: int, title: str
) -> Path:
    """The control of stage 5: the same steps on the same clips without any skeleton."""
    config = replace(recipe.distil, seed=seed)

    def train(run: Path) -> tuple[Any, dict[str, Any]]:
        model = load_student(student)[0]
        source = dataset(
            recipe, data, data.train, video=True, skeleton=False, train=True, seed=seed
        )
        _fit(FineTuneVideo(model, data.seen.names), source, config, run, title)
        return model, {"trained_on": "train_seen.csv, RGB", "seed": seed}

    where = folder / f"vificlip-longer-seed{seed}"
    return _model_stage(where, STUDENT, student_config(recipe), train, data)


def _model_stage(
    run: Path,
    kind: str,
    config: Any,
    train: Callable[[Path], tuple[Any, dict[str, Any]]],
    data: Data,
) -> Path:
    """Train and write ``run/model``, unless it is there; the checkpoints are then not needed."""
    if (run / "model").is_dir():
        return run
    model, meta = train(run)
    meta |= {
        "dataset": "adl-mini",
        "data_hash": data.meta["data_hash"],
        "split": data.split_name,
        "split_hash": data.split_hash,
        "classes_seen": list(data.seen.names),
    }
    write_model(run / "model", kind, config, model.state_dict(), meta)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return run


def _fit(task: Task, source: Any, config: TrainConfig, run: Path, title: str) -> None:
    with Progress(title, total=1) as progress:
        fit(task, source, config, run, report=progress.report)
