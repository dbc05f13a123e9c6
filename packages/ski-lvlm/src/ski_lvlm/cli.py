"""Command line of ski-lvlm."""

from __future__ import annotations

import json as json_format
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from ski_data import command
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_lvlm import __version__
from ski_lvlm.errors import FeatureError
from ski_lvlm.pooling import TEMPORAL_TOKENS, spatio_temporal_pool


def pool(features: str, out: str) -> None:
    """Turn the patch features of a clip's frames into video tokens.

    Args:
        features: .npy file of (frames, patches, channels) floats, at most 100 frames.
        out: .npy file to write, (100 + patches, channels) of the same type.
    """
    target = _new(out)
    values = _read_array(features)
    try:
        tokens = spatio_temporal_pool(values)
    except FeatureError as error:
        raise FeatureError(f"{features}: {error}") from error
    if len(values) > TEMPORAL_TOKENS:
        raise FeatureError(
            f"{features}: {len(values)} frames, at most {TEMPORAL_TOKENS} are allowed; choose "
            "them with ski_lvlm.pooling.frame_indices"
        )
    if not np.isfinite(values).all():
        raise FeatureError(f"{features}: holds values that are not finite; extract it again")
    part = target.with_name(f".{target.name}.part")
    with part.open("wb") as file:
        np.save(file, tokens, allow_pickle=False)
    os.replace(part, target)
    print(target)


def convert(
    weights: str,
    out: str,
    *,
    to: Literal["ours", "published", "model"] = "ours",
    vocabulary: int = 32003,
    base: str | None = None,
) -> None:
    """Convert projectors between the published names and ours.

    Args:
        weights: published projector file, or one of our model folders with to=published.
        out: model folder to write, or with to=published a safetensors file.
        to: what to write; "model" is a folder that caption and chat take, with its base model.
        vocabulary: tokens of the base model before the added ones, where the file also holds a
            token embedding; its rows for start and end tokens are kept.
        base: with to=model, hub id or folder of the base model.
    """
    from ski_lvlm.convert import from_published_file, to_published_state
    from ski_lvlm.lvlm_folder import save_untrained
    from ski_lvlm.projector import load_projectors, save_projectors
    from ski_skeleton.weights import read_weights, write_weights

    if (to == "model") != (base is not None):
        raise InputError("--to model needs --base, the language model; other directions take none")
    target = _new(out)
    if to == "published":
        projectors, _ = load_projectors(weights)
        write_weights(target, to_published_state(projectors))
    else:
        state = read_weights(weights)
        projectors = from_published_file(state, weights, vocabulary=vocabulary)
        notes = {"converted_from": "published projector file"}
        if base is None:
            save_projectors(target, projectors, notes)
        else:
            save_untrained(target, projectors, base, notes)
    print(target)


def _new(out: str) -> Path:
    target = Path(out)
    if target.exists():
        raise ExistingOutputError(f"{target}: already there; choose another name or remove it")
    if not target.parent.is_dir():
        raise MissingFileError(f"{target.parent}: no such folder; make it first")
    return target


def _read_array(path: str) -> np.ndarray:
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a readable .npy file of plain numbers (damaged, of another kind, or with "
            "Python objects, which are never loaded); extract the features again"
        ) from error
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path}: an archive of arrays; wanted one array in a .npy file")
    return values


def recipes(copy: str | None = None) -> None:
    """List the recipes that come with the package, or copy one to start from.

    Args:
        copy: name of a recipe to write into the current folder.
    """
    from ski_data.config import recipe_command

    recipe_command("ski_lvlm", copy)


def train(
    recipe: str, *, out: str, processes: int = 1, dry_run: bool = False, json: bool = False
) -> int:
    """Train projectors over a frozen language model; the same command goes on after a kill.

    Under torchrun or the DeepSpeed launcher, start ``-m ski_lvlm train`` there and leave
    ``processes`` alone.

    Args:
        recipe: YAML file, see ski_lvlm.recipe.LvlmRecipe.
        out: run folder; gets config.yaml, log.jsonl, checkpoints/ and in the end model/.
        processes: processes on this machine, one for each GPU.
        dry_run: print what trains, updates and memory, and train nothing.
        json: print the dry run as one JSON object, with all settings.
    """
    from ski_lvlm.launch import launch, run

    if dry_run:
        from ski_data.config import to_plain
        from ski_lvlm.plan import plan, report
        from ski_lvlm.recipe import read_recipe

        settings = read_recipe(recipe)
        found = plan(settings, processes=processes)
        if json:
            print(json_format.dumps({"recipe": to_plain(settings), "plan": to_plain(found)}))
        else:
            print(report(found))
        return 0
    return run(recipe, out) if processes == 1 else launch(recipe, out, processes)


def features(
    kind: Literal["video", "skeleton"],
    source: str,
    out: str,
    *,
    model: str | None = None,
    architecture: str = "ViT-L-14-quickgelu",
    pretrained: str | None = "openai",
    layer: int = -2,
    tokens: int = 75,
    stored: Literal["float16", "bfloat16", "float32"] = "float16",
    batch_size: int = 32,
    workers: int = 0,
) -> None:
    """Make the tokens of videos or of skeletons; the same command goes on after a kill.

    Under torchrun every process makes its share, on its own GPU.

    Args:
        kind: what tokens.
        source: manifest of videos, or skeleton store.
        out: feature store to make.
        model: for skeletons, a model folder with a skeleton encoder.
        architecture: for videos, open_clip name of the image tower.
        pretrained: its weights: an open_clip tag, or a file.
        layer: block of its image tower whose output is taken.
        tokens: for skeletons, tokens of a clip: 75 as released, 256 in the paper.
        stored: type of the stored numbers.
        batch_size: frames that the image tower sees at once.
        workers: processes that decode videos; 0 decodes in this one.
    """
    from ski_lvlm.features_command import make

    make(
        kind,
        source,
        out,
        model=model,
        clip=(architecture, pretrained),
        layer=layer,
        tokens=tokens,
        stored=stored,
        batch_size=batch_size,
        workers=workers,
    )
    print(out)


def caption(
    videos: list[str],
    *,
    model: str,
    out: str | None = None,
    base: str | None = None,
    features: str | None = None,
    question: str = "Describe the video in detail.",
    template: Literal["vicuna_v1_1", "skilvlm_v1", "chat"] | None = None,
    batch_size: int = 8,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Answer a question about videos; they need no skeletons.

    With --out the same command goes on after a kill.

    Args:
        videos: files, or with --features names of clips; or manifests of them (.csv, .jsonl,
            .parquet).
        model: model folder of a training.
        out: file of JSON lines to write, instead of standard output.
        base: where the base model is, if not where it was in training.
        features: feature store of video tokens, instead of video files.
        question: asked about each.
        template: another prompt template than in training.
        batch_size: videos that the model sees at once.
        max_new_tokens: limit of an answer.
        temperature: 0 takes the likeliest token, more draws among them.
        top_p: draw among the likeliest tokens that have this probability together.
        seed: of the draws.
        precision: of the base model.
        device: cpu, cuda or cuda:N.
        json: print one JSON object per video.
    """
    from ski_lvlm.caption import captions, load_captioner
    from ski_lvlm.caption_command import (
        AnswerFile,
        in_order,
        named_videos,
        report_cut,
        write_answers,
    )
    from ski_lvlm.feature_store import FeatureStore
    from ski_lvlm.generation import Sampling

    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    if batch_size < 1:
        raise InputError(f"--batch_size must be at least 1, got {batch_size}")
    store = None if features is None else FeatureStore(features)
    names = named_videos(videos, store)
    file = None
    if out is not None:
        settings = {
            "model": model,
            "base": base,
            "features": features,
            "question": question,
            "template": template,
            "sampling": asdict(sampling),
            "precision": precision,
        }
        file = AnswerFile(out, settings)
    captioner = load_captioner(model, base=base, precision=precision, device=device)
    made = captions(
        captioner,
        names if file is None else [name for name in names if name not in file.done],
        store=store,
        question=question,
        batch_size=batch_size,
        template=template,
        sampling=sampling,
    )
    if file is not None:
        write_answers(made, file, names, max_new_tokens)
        print(out)
        return
    answers = []
    for answer in in_order(made, names):
        answers.append(answer)
        if json:
            print(json_format.dumps(asdict(answer), ensure_ascii=False), flush=True)
        else:
            end = "" if answer.finished else " ... (cut at the limit)"
            print(f"{answer.video}: {answer.text}{end}", flush=True)
    report_cut(answers, max_new_tokens)


def chat(
    video: str,
    *,
    model: str,
    base: str | None = None,
    features: str | None = None,
    template: Literal["vicuna_v1_1", "skilvlm_v1", "chat"] | None = None,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Talk about a video: questions from standard input, answers as they are made.

    Ctrl-C stops an answer, and at a question the program; so does the end of the input.

    Args:
        video: file, or with --features name of a clip.
        model: model folder of a training.
        base: where the base model is, if not where it was in training.
        features: feature store of video tokens, instead of a video file.
        template: another prompt template than in training.
        max_new_tokens: limit of an answer.
        temperature: 0 takes the likeliest token, more draws among them.
        top_p: draw among the likeliest tokens that have this probability together.
        seed: of the draws.
        precision: of the base model.
        device: cpu, cuda or cuda:N.
        json: print one JSON object per answer.
    """
    from ski_lvlm.caption import load_captioner
    from ski_lvlm.chat import Chat, talk, typed_questions
    from ski_lvlm.feature_store import FeatureStore
    from ski_lvlm.generation import Sampling

    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    shown = video if features is None else FeatureStore(features)[video]
    if features is None and not Path(video).is_file():
        raise MissingFileError(f"{video}: no such file")
    captioner = load_captioner(model, base=base, precision=precision, device=device)
    conversation = Chat(captioner, shown, template=template, sampling=sampling)
    interactive = sys.stdin.isatty()
    talk(conversation, typed_questions(), sys.stdout, json=json, stoppable=interactive)


def export_prompts(
    videos: list[str],
    *,
    model: str,
    out: str,
    base: str | None = None,
    features: str | None = None,
    question: str = "Describe the video in detail.",
    template: Literal["vicuna_v1_1", "skilvlm_v1", "chat"] | None = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16",
    device: str = "cpu",
) -> None:
    """Write prompts as embeddings, for vLLM or another server of the base model.

    Args:
        videos: files, or with --features names of clips; or manifests of them.
        model: model folder of a training.
        out: folder to make.
        base: where the base model is, if not where it was in training.
        features: feature store of video tokens, instead of video files.
        question: asked about each.
        template: another prompt template than in training.
        max_new_tokens: limit of an answer, noted beside each prompt.
        temperature: noted beside each prompt; 0 takes the likeliest token.
        top_p: noted beside each prompt.
        seed: noted beside each prompt.
        precision: of the embeddings; that in which the server runs the base model.
        device: cpu, cuda or cuda:N.
    """
    from ski_data.progress import Progress
    from ski_lvlm.caption import load_captioner
    from ski_lvlm.caption_command import named_videos
    from ski_lvlm.export import export_prompts as export
    from ski_lvlm.feature_store import FeatureStore
    from ski_lvlm.generation import Sampling

    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    store = None if features is None else FeatureStore(features)
    names = named_videos(videos, store)
    if Path(out).exists():
        raise ExistingOutputError(f"{out}: already there; choose another name or remove it")
    captioner = load_captioner(model, base=base, precision=precision, device=device)
    with Progress("export-prompts", len(names)) as progress:
        export(
            captioner,
            names,
            out,
            store=store,
            question=question,
            template=template,
            sampling=sampling,
            report=progress.report,
        )
    print(out)


COMMANDS: dict[str, Callable[..., object] | str] = {
    "curate-crop": "ski_lvlm.curation.commands:crop",
    "curate-caption": "ski_lvlm.curation.commands:caption",
    "curate-qa": "ski_lvlm.curation.commands:qa",
    "curate-convert": "ski_lvlm.curation.commands:convert",
    "caption": caption,
    "chat": chat,
    "export-prompts": export_prompts,
    "features": features,
    "pool": pool,
    "convert": convert,
    "recipes": recipes,
    "train": train,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ski-lvlm`` script."""
    return command.run(
        COMMANDS,
        argv,
        prog="ski-lvlm",
        version=__version__,
        description="Video and skeleton tokens for language models: prepare, train, convert.",
    )
