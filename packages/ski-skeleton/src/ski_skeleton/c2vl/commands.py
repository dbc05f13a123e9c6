"""Commands of C2VL: concept files, and label-free pretraining."""

from __future__ import annotations

import shutil
from pathlib import Path

from ski_data.errors import ExistingOutputError, InputError
from ski_data.manifest import read_manifest
from ski_data.progress import Progress
from ski_skeleton import pipeline
from ski_skeleton.c2vl.concepts import (
    Concepts,
    encode_captions,
    encode_videos,
    read_captions,
    save_concepts,
)
from ski_skeleton.c2vl.recipe import KIND, model_meta, open_source, pretrain, read_recipe
from ski_skeleton.device import check_device
from ski_skeleton.errors import ConfigError
from ski_skeleton.text.clip import ClipConfig, ClipTextTower, build_clip
from ski_skeleton.text.sentence import SentenceConfig, SentenceTextTower
from ski_skeleton.train import write_model
from ski_skeleton.train.processes import is_main_process, stage


def concepts(
    *,
    out: str,
    captions: str | None = None,
    videos: str | None = None,
    frames: int = 16,
    sentence: str | None = None,
    clip: ClipConfig = ClipConfig("ViT-L-14-quickgelu", "openai"),  # noqa: B008 (frozen)
    device: str = "cpu",
) -> None:
    """Concept vectors of clips from captions, videos or both, for C2VL's pretraining.

    Args:
        out: concept file to write, .npz.
        captions: JSON lines {"name": clip, "captions": [texts]}; never made from class names.
        videos: manifest of the clips' videos, cut to the person.
        frames: uniform frames of each video.
        sentence: a sentence encoder (transformers id or local folder) for the captions instead of
            CLIP's text tower.
        clip: which CLIP gives text and image vectors.
        device: cpu, cuda or cuda:N.
    """
    if captions is None and videos is None:
        raise InputError("give --captions, --videos or both")
    if frames < 1:
        raise InputError(f"--frames must be at least 1, got {frames}")
    check_device(device)
    target = Path(out)
    if target.suffix != ".npz":
        raise InputError(f"{target}: concepts are written as .npz; give such a name")
    if target.exists():
        raise ExistingOutputError(f"{target}: already there; choose another name or remove it")
    told = None if captions is None else read_captions(captions)
    records = [] if videos is None else read_manifest(videos)
    names = tuple(told) if told is not None else tuple(record.name for record in records)
    if told is not None and videos is not None:
        by_name = {record.name: record for record in records}
        missing = [name for name in names if name not in by_name]
        if missing:
            raise InputError(
                f"{videos}: {len(missing)} clips with captions are not in it ({missing[0]} ...)"
            )
        records = [by_name[name] for name in names]
    text = vision = None
    built = build_clip(clip) if videos is not None or sentence is None else None
    if told is not None:
        tower: ClipTextTower | SentenceTextTower
        if sentence is not None:
            tower = SentenceTextTower(SentenceConfig(sentence))
        else:
            assert built is not None  # made above
            tower = ClipTextTower(built).freeze()
        tower.to(device)
        with Progress("captions", total=1) as progress:
            text = encode_captions(told, tower.encode_text, report=progress.report)
    if records:
        assert built is not None  # made above
        with Progress("videos", total=len(records)) as progress:
            vision = encode_videos(
                records, built, frames=frames, device=device, report=progress.report
            )
    save_concepts(Concepts(names, text, vision), target)
    print(target)


def pretrain_command(recipe: str, *, out: str, seed: int = 0) -> None:
    """Pretrain a skeleton encoder by C2VL, without labels; the same command goes on after a kill.

    Args:
        recipe: YAML file of a C2VL recipe; see the command recipes.
        out: run folder; gets logs, checkpoints while training, and the model.
        seed: of weights and data order.
    """
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    settings = read_recipe(recipe)
    run = Path(out)
    if (run / "model").is_dir():
        raise ExistingOutputError(f"{run / 'model'}: already trained; choose another run folder")
    source = open_source(settings, seed=seed)
    pipeline.claim_run(run, settings)  # type: ignore[arg-type]  # any recipe
    try:
        with stage("pretrain") as report:
            model = pretrain(settings, source, run / "pretrain", seed=seed, report=report)
    except ConfigError as error:
        raise ConfigError(f"{recipe}: {error}") from error
    if not is_main_process():
        return
    meta = model_meta(settings, seed=seed)
    write_model(run / "model", KIND, settings.model, model.state_dict(), meta)
    shutil.rmtree(run / "pretrain" / "checkpoints", ignore_errors=True)
    print(run / "model")
