"""Concepts of clips: what a frozen vision-language model says of each, computed once.

A concept file (``.npz``) holds, by clip name, the mean of the unit text vectors of its captions and
of the unit image vectors of its frames. Captions describe what is seen (posture, objects, intent);
the captioner must never be told the class, nor a file name that holds it.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.manifest import Record
from ski_data.text import json_lines
from ski_data.video.decode import probe, read_frames
from ski_data.video.sampling import test_indices
from ski_data.video.transforms import CLIP_MEAN, CLIP_STD, VideoTransformConfig, test_transform

if TYPE_CHECKING:  # importing it takes seconds
    from open_clip.model import CLIP

Report = Callable[[int, int], None]
"""Called with units done and units in all."""


@dataclass(frozen=True, eq=False)
class Concepts:
    """Concept vectors of clips by name; at least one of the two kinds."""

    names: tuple[str, ...]
    """Clip names ``(N,)``, no two alike."""
    text: np.ndarray | None = None
    """float32 ``(N, D)``, means of unit vectors, themselves not of unit length."""
    vision: np.ndarray | None = None
    """The same of the clip's frames; its width may differ."""

    def __post_init__(self) -> None:
        given = {k: v for k, v in (("text", self.text), ("vision", self.vision)) if v is not None}
        wrong = []
        if not given:
            wrong.append("neither text nor vision")
        if not self.names or len(set(self.names)) != len(self.names):
            wrong.append("names must be there, no two alike")
        for what, rows in given.items():
            if rows.ndim != 2 or len(rows) != len(self.names) or rows.dtype != np.float32:
                wrong.append(
                    f"{what} must be float32 ({len(self.names)}, D), not {rows.dtype} {rows.shape}"
                )
            elif not np.isfinite(rows).all() or (np.abs(rows).max(1) == 0).any():
                wrong.append(f"{what} has rows that are zero or not finite")
        if wrong:
            raise InputError("concepts: " + "; ".join(wrong))

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Positions of clips, int64 ``(K,)``.

        Raises:
            InputError: a clip without concepts.
        """
        place = {name: i for i, name in enumerate(self.names)}
        missing = [name for name in names if name not in place]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(names)} clips have no concepts (first: {missing[0]!r}); "
                "make the concept file from captions of all clips that train"
            )
        return np.array([place[name] for name in names], np.int64)


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Captions by clip name, from JSON lines ``{"name": ..., "captions": [...]}``.

    Raises:
        MissingFileError, InputError: no such file, another form, a clip named twice, a clip without
            captions; the text names file and line.
    """
    found: dict[str, list[str]] = {}
    for number, row in json_lines(path, "caption file"):
        where = f"{path}, line {number}"
        if not isinstance(row, dict) or set(row) != {"name", "captions"}:
            raise InputError(f"{where}: an object with the keys name and captions is expected")
        name, captions = row["name"], row["captions"]
        if not isinstance(name, str) or not name:
            raise InputError(f"{where}: name must be text, not {name!r}")
        if (
            not isinstance(captions, list)
            or not captions
            or not all(isinstance(text, str) and text.strip() for text in captions)
        ):
            raise InputError(f"{where}: captions must be a list of texts, at least one, none empty")
        if name in found:
            raise InputError(f"{where}: clip {name!r} stands already above; remove one")
        found[name] = captions
    if not found:
        raise InputError(f"{path}: no captions in it")
    return found


def encode_captions(
    captions: Mapping[str, Sequence[str]],
    encode: Callable[[list[str]], Tensor],
    *,
    batch_size: int = 256,
    report: Report | None = None,
) -> np.ndarray:
    """Mean of the unit vectors of each clip's captions, float32 ``(N, D)`` in the order of clips.

    Args:
        captions: by clip; a caption that stands several times counts several times.
        encode: texts to vectors ``(K, D)``, for example ``ClipTextTower.encode_text``; every
            distinct text is given once.
        batch_size: texts at once.
        report: told of the texts done.
    """
    texts = sorted({text for many in captions.values() for text in many})
    place = {text: i for i, text in enumerate(texts)}
    parts = []
    with torch.inference_mode():
        for start in range(0, len(texts), batch_size):
            vectors = encode(texts[start : start + batch_size]).float()
            parts.append(F.normalize(vectors, dim=-1).cpu().numpy())
            if report is not None:
                report(min(start + batch_size, len(texts)), len(texts))
    units = np.concatenate(parts)
    return np.stack([units[[place[text] for text in many]].mean(0) for many in captions.values()])


def encode_videos(
    records: Sequence[Record],
    clip: CLIP,
    *,
    frames: int = 16,
    device: str | torch.device = "cpu",
    report: Report | None = None,
) -> np.ndarray:
    """Mean of the unit image vectors of ``frames`` uniform frames, float32 ``(N, D)``.

    The middle square of each frame is used, so give videos cut to the person.

    Raises:
        InputError: a record without video.
    """
    side = clip.visual.image_size
    size = side[0] if isinstance(side, tuple) else side
    config = VideoTransformConfig(size=size, short_side=size)
    mean = torch.tensor(CLIP_MEAN, device=device)[:, None, None]
    std = torch.tensor(CLIP_STD, device=device)[:, None, None]
    clip = clip.to(device).eval()
    rows = []
    with torch.inference_mode():
        for number, record in enumerate(records, 1):
            if record.video is None:
                raise InputError(f"clip {record.name}: the record names no video file")
            chosen = test_indices(probe(record.video).frames, frames)
            pixels = test_transform(read_frames(record.video, chosen, short_side=size), config)
            images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()
            vectors = F.normalize(clip.encode_image((images - mean) / std), dim=-1)
            rows.append(vectors.mean(0).cpu().numpy())
            if report is not None:
                report(number, len(records))
    return np.stack(rows)


def save_concepts(concepts: Concepts, path: str | Path) -> Path:
    """Write to one ``.npz`` file, whole or not at all.

    Raises:
        ExistingOutputError: the file is already there.
        InputError: another ending, or a name that no text file can hold.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: concepts are written as .npz; give such a name")
    if path.exists():
        raise ExistingOutputError(f"{path}: already there; choose another name or remove it")
    odd = [name for name in concepts.names if re.search("[\0\ud800-\udfff]", name)]
    if odd:
        raise InputError(f"clip name {odd[0]!r} holds a character that no text may have")
    listing = np.frombuffer(json.dumps(concepts.names).encode("utf-8"), np.uint8)
    arrays = {"names": listing}
    for kind in ("text", "vision"):
        rows = getattr(concepts, kind)
        if rows is not None:
            arrays[kind] = rows
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(buffer.getvalue())
    os.replace(part, path)
    return path


def load_concepts(path: str | Path) -> Concepts:
    """What :func:`save_concepts` wrote.

    Raises:
        MissingFileError: no such file.
        InputError: no concept file, or a damaged one.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such concept file; make one by `c2vl-concepts`")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not {"names"} <= set(file.files) <= {"names", "text", "vision"}:
                raise InputError(f"{path}: holds {sorted(file.files)}, not names, text and vision")
            arrays = {key: file[key] for key in file.files}
        names = json.loads(arrays.pop("names").tobytes().decode("utf-8"))
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a readable concept file ({error}); make it again") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: names are no list of texts; make it again")
    try:
        return Concepts(tuple(names), arrays.get("text"), arrays.get("vision"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
