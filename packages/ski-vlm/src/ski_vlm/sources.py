"""Where a recognizer's model comes from: a folder of ours, or any plain CLIP of open_clip."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import open_clip
from open_clip.model import CLIP
from open_clip.pretrained import get_pretrained_cfg

from ski_data.errors import MissingFileError
from ski_data.video.transforms import CLIP_MEAN, IMAGENET_MEAN
from ski_skeleton.text import ClipConfig, build_clip
from ski_vlm.errors import ConfigError
from ski_vlm.students import Student, ViFiClip, ViFiClipConfig, load_student

log = logging.getLogger(__name__)

SCHEMES = ("hf-hub:", "local-dir:")
"""Kinds of names that open_clip resolves itself: a repository of the hub, a copy of one."""
QUICK = "-quickgelu"


def open_student(source: str | Path) -> tuple[Student, dict[str, Any]]:
    """The student that a user named, and what its folder says of it.

    Args:
        source: a model folder or a run folder; or, for CLIP as it comes, ``ARCHITECTURE/TAG`` of
            open_clip (``ViT-B-16/openai``), ``ARCHITECTURE/FILE`` with a file of weights,
            ``hf-hub:OWNER/NAME``, or ``local-dir:FOLDER``, a copy of such a repository.

    Raises:
        MissingFileError: no such folder, file, architecture or tag; near names are listed.
        CheckpointError: a damaged folder or file, or one of another kind.
        ConfigError: weights that cannot be fetched, or no plain CLIP.
    """
    if os.path.exists(source):
        return load_student(source)
    name = str(source)
    if name.startswith(SCHEMES):
        return zero_shot(_from_hub(name), ClipConfig(name)), {}
    architecture, _, weights = name.partition("/")
    if architecture not in open_clip.list_models():
        raise MissingFileError(_unknown(name, architecture))
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not weights:
        raise MissingFileError(
            f"{name} is an architecture without weights; name them too: {name}/FILE or {name}/TAG "
            f"with one of {', '.join(tags) or 'no tags'}"
        )
    if weights not in tags and not os.path.isfile(weights):
        near = _near(weights, tags) or tags
        raise MissingFileError(
            f"{weights!r} is neither a file nor a tag of {architecture}; tags: {', '.join(near)}"
        )
    if weights in tags and (get_pretrained_cfg(architecture, weights) or {}).get("quick_gelu"):
        quick = architecture + QUICK
        if quick in open_clip.list_models():  # what these weights were trained with
            architecture = quick
    config = ClipConfig(architecture, weights)
    with _fetching(name):
        clip = build_clip(config)
    return zero_shot(clip, config), {}


def zero_shot(clip: CLIP, config: ClipConfig) -> Student:
    """CLIP as it comes, on the frames of a video; pixels as it was trained on.

    Raises:
        ConfigError: a CLIP with a normalisation of its own.
    """
    size = clip.visual.image_size
    side = int(min(size) if isinstance(size, tuple) else size)
    settings = ViFiClipConfig(clip=config, normalisation=_normalisation(clip), short_side=side)
    return ViFiClip(settings, clip).eval()


def _normalisation(clip: CLIP) -> Literal["clip", "imagenet"]:
    """By which mean its pixels were normalised; a file of weights does not say: CLIP's."""
    mean = (getattr(clip.visual, "preprocess_cfg", None) or {}).get("mean")
    if mean is None or _same(mean, CLIP_MEAN):
        return "clip"
    if _same(mean, IMAGENET_MEAN):
        return "imagenet"
    raise ConfigError(
        f"this CLIP was trained on pixels of mean {tuple(mean)}, neither CLIP's nor ImageNet's; "
        "choose another one"
    )


def _same(mean: Sequence[float], known: Sequence[float]) -> bool:
    return all(abs(255 * a - b) < 0.5 for a, b in zip(mean, known, strict=True))


def _from_hub(name: str) -> CLIP:
    with _fetching(name):
        model = open_clip.create_model(name, require_pretrained=True, weights_only=True)
    if not isinstance(model, CLIP):
        raise ConfigError(
            f"{name} is a {type(model).__name__}; the students need a plain CLIP, such as those of "
            "ViT-B-16"
        )
    return model


@contextmanager
def _fetching(name: str) -> Iterator[None]:
    """What open_clip raises as one error; its remarks and those of the hub are left out."""
    log.info("%s: weights of open_clip, fetched if they are not here yet", name)
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{name}: cannot be loaded ({reason}); check the name and the network, or copy the "
            "weights here and name ARCHITECTURE/FILE or local-dir:FOLDER"
        ) from error
    finally:
        logging.disable(before)


def _unknown(name: str, architecture: str) -> str:
    told = f"{name}: no such model folder, and {architecture!r} is no architecture of open_clip"
    near = _near(architecture, open_clip.list_models())
    return f"{told}; near ones: {', '.join(near)}" if near else f"{told}, as ViT-B-16 is one"


def _near(name: str, known: Sequence[str]) -> list[str]:
    folded = {each.lower(): each for each in known}
    return [folded[n] for n in difflib.get_close_matches(name.lower(), folded, 5, 0.6)]
