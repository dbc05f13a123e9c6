"""Recognition of any class names in RGB clips, from a trained folder; no skeleton is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from ski_data.classes import read_classes
from ski_data.errors import InputError, MissingFileError, SkiDataError
from ski_data.text import read_text
from ski_data.video.decode import probe, read_frames
from ski_data.video.guarded import GuardedReader
from ski_data.video.sampling import test_indices
from ski_data.video.transforms import center_crop, resize_short_side
from ski_skeleton.device import check_device
from ski_skeleton.errors import CheckpointError
from ski_vlm.class_texts import Wording, encode_texts
from ski_vlm.reading import in_order
from ski_vlm.sources import open_student
from ski_vlm.students import Student

T = TypeVar("T")
Video = str | Path | np.ndarray
"""A file, or uint8 frames ``(T, H, W, 3)`` RGB of any length."""

LISTS = (".csv", ".txt")
"""Endings of files of class names."""
BATCH = 8
"""Clips that the model sees at once."""
KEPT = 16
"""Lists of classes whose texts a recognizer keeps."""


@dataclass(frozen=True)
class Prediction:
    """One class and its probability among the classes that were asked for."""

    label: str
    probability: float


@dataclass(frozen=True)
class Recognition:
    """What became of one of many videos: classes by falling probability, or an error."""

    video: str
    """The file, or ``clip I`` for the I-th array of frames."""
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None
    """Why it could not be read; then there are no predictions."""


class Recognizer:
    """A trained student with its input rules.

    Args:
        model: the student.
        wording: how class names are put to its text tower.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        meta: what its folder says of its training.
        name: what errors call it.
    """

    def __init__(
        self,
        model: Student,
        *,
        wording: Wording | None = None,
        device: str | torch.device = "cpu",
        meta: dict | None = None,
        name: str = "the model",
    ) -> None:
        self.device = check_device(device)
        self.model = model.eval().to(self.device)
        self.model.text.freeze()
        self.wording = wording or Wording()
        self.meta = meta or {}
        self.name = name
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @overload
    def predict(
        self, video: Video, classes: Sequence[str], *, top_k: int | None = None
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, video: Sequence[Video], classes: Sequence[str], *, top_k: int | None = None
    ) -> list[list[Prediction]]: ...

    def predict(
        self, video: Video | Sequence[Video], classes: Sequence[str], *, top_k: int | None = None
    ) -> list[Prediction] | list[list[Prediction]]:
        """Classes by falling probability; for a list of videos, a list of such lists.

        Args:
            video: a file, or uint8 frames ``(T, H, W, 3)`` RGB of any length; or several of them.
            classes: names in plain words; seen in training or not.
            top_k: how many to give back; all by default.

        Raises:
            InputError: a file that cannot be decoded, frames of another shape, no class names,
                or one twice. :meth:`predict_many` goes on after files that cannot be read.
            CheckpointError: the model's scores are not finite.
        """
        names, top_k = check_names(classes), check_top_k(top_k)
        if isinstance(video, str | Path | np.ndarray):
            return self.rank(self.frames(video)[None], names, top_k)[0]
        ranked: list[list[Prediction]] = []
        for first in range(0, len(video), BATCH):
            clips = np.stack([self.frames(each) for each in video[first : first + BATCH]])
            ranked += self.rank(clips, names, top_k)
        return ranked

    def predict_many(
        self,
        videos: Sequence[Video],
        classes: Sequence[str],
        *,
        top_k: int | None = None,
        batch_size: int = BATCH,
        workers: int = 1,
        timeout: float = 30.0,
    ) -> Iterator[Recognition]:
        """:meth:`predict` for many videos, in their order, as they are done.

        A file that cannot be read is a result with an ``error``, not an exception.

        Args:
            videos: files, or uint8 frames ``(T, H, W, 3)`` RGB of any length.
            classes: names in plain words; seen in training or not.
            top_k: how many to give back of each; all by default.
            batch_size: clips that the model sees at once.
            workers: processes that read files ahead and may hang, crash or run out of memory at
                hostile ones; 0 reads in this process, for files that are known to be sound.
            timeout: seconds that a worker may take for one file.

        Raises:
            InputError: no class names, one twice, or settings out of range.
            CheckpointError: the model's scores are not finite.
        """
        names, top_k = check_names(classes), check_top_k(top_k)
        found = self.map_clips(
            videos,
            lambda clips: self.rank(clips, names, top_k),
            batch_size=batch_size,
            workers=workers,
            timeout=timeout,
        )
        return self._recognitions(videos, found)

    def _recognitions(
        self,
        videos: Sequence[Video],
        found: Iterator[list[Prediction] | SkiDataError],
    ) -> Iterator[Recognition]:
        for number, (video, answer) in enumerate(zip(videos, found, strict=True)):
            name = f"clip {number}" if isinstance(video, np.ndarray) else str(video)
            if isinstance(answer, SkiDataError):
                yield Recognition(name, error=str(answer))
            else:
                yield Recognition(name, tuple(answer))

    def map_clips(
        self,
        videos: Sequence[Video],
        answer: Callable[[np.ndarray], Sequence[T]],
        *,
        batch_size: int = BATCH,
        workers: int = 1,
        timeout: float = 30.0,
    ) -> Iterator[T | SkiDataError]:
        """Any answers about many videos, in their order, as they are done.

        Args:
            videos: files, or uint8 frames.
            answer: batches of clips, uint8 ``(N, T, H, W, 3)`` at the model's input size, to N
                answers.
            batch_size: N at most.
            workers: see :meth:`predict_many`.
            timeout: see :meth:`predict_many`.

        Raises:
            InputError: settings out of range.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        clips = in_order(
            videos, self.frames, ahead=2 * batch_size, workers=workers, timeout=timeout
        )
        return _in_batches(clips, answer, batch_size)

    def rank(
        self, clips: np.ndarray, names: Sequence[str], top_k: int | None = None
    ) -> list[list[Prediction]]:
        """Classes by falling probability for each of ``(N, T, H, W, 3)`` prepared clips.

        Raises:
            CheckpointError: the model's scores are not finite.
        """
        ranked = []
        for row in softmax(self.scale * self.cosines(clips, names)):
            best = np.argsort(-row, kind="stable")[:top_k]
            ranked.append([Prediction(names[k], float(row[k])) for k in best])
        return ranked

    @property
    def scale(self) -> float:
        """What the model multiplies cosines by before it compares classes."""
        return float(self.model.logit_scale.detach().exp())

    def cosines(self, clips: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Similarities ``(N, K)`` of prepared clips with class names.

        Args:
            clips: uint8 ``(N, T, H, W, 3)`` at the model's input size, see :meth:`frames`.
            names: K class names.

        Raises:
            CheckpointError: they are not finite.
        """
        with torch.inference_mode():
            pixels = torch.from_numpy(clips).to(self.device)
            output = self.model.score(self.model.normalise(pixels), self.class_texts(names))
        return self.checked(output.cosines)

    def class_texts(self, names: Sequence[str]) -> Tensor:
        """The student's features ``(K, D)`` of class names; those of the last lists are kept.

        Raises:
            InputError, ConfigError: a wording that does not fit the classes or the student.
        """
        key = tuple(names)
        if key not in self._texts:
            with torch.inference_mode():
                found = encode_texts(self.model, names, self.wording)
            while len(self._texts) >= KEPT:
                self._texts.pop(next(iter(self._texts)))
            self._texts[key] = found
        return self._texts[key]

    def checked(self, values: Tensor) -> np.ndarray:
        """float32 numbers of the model, on the CPU.

        Raises:
            CheckpointError: some are not finite.
        """
        found = values.float().cpu().numpy()
        if not np.isfinite(found).all():
            raise CheckpointError(
                f"{self.name}: gives probabilities that are not finite numbers; it is damaged or "
                "its training diverged: copy it again or train it again"
            )
        return found

    def frames(self, video: Video, reader: GuardedReader | None = None) -> np.ndarray:
        """The T frames that the model sees, uint8 ``(T, H, W, 3)`` at its input size.

        Args:
            video: a file, or uint8 frames.
            reader: reads the file in its process; without it, it is read in this one.
        """
        length = self.model.config.frames
        if isinstance(video, np.ndarray):
            if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
                raise InputError(
                    f"frames must be uint8 (T, H, W, 3) with T > 0, got {video.dtype} {video.shape}"
                )
            chosen = video[test_indices(len(video), length)]
        elif reader is None:
            chosen = read_frames(video, test_indices(probe(video).frames, length))
        else:
            chosen = reader.read_frames(video, test_indices(reader.probe(video).frames, length))
        return self.fitted(chosen)

    def fitted(self, frames: np.ndarray) -> np.ndarray:
        """Frames ``(T, H, W, 3)`` of any size at the model's input size, their middle square."""
        size = self.model.image_size
        resized = resize_short_side(frames, max(self.model.config.short_side, size))
        return center_crop(resized, size)


def _in_batches(
    clips: Iterator[np.ndarray | SkiDataError],
    answer: Callable[[np.ndarray], Sequence[T]],
    batch_size: int,
) -> Iterator[T | SkiDataError]:
    """Answers and errors in the order of the clips and errors."""
    waiting: list[np.ndarray | SkiDataError] = []

    def flush() -> Iterator[T | SkiDataError]:
        batch = [clip for clip in waiting if isinstance(clip, np.ndarray)]
        answers = iter(answer(np.stack(batch)) if batch else ())
        for clip in waiting:
            yield clip if isinstance(clip, SkiDataError) else next(answers)
        waiting.clear()

    for clip in clips:
        waiting.append(clip)
        if len(waiting) == batch_size:
            yield from flush()
    yield from flush()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def load(
    model: str | Path,
    *,
    wording: Wording | None = None,
    device: str | torch.device = "cpu",
) -> Recognizer:
    """A recognizer of a trained model, or of CLIP as it comes.

    Args:
        model: a model folder, or a run folder that holds one; or the name of a plain CLIP, such as
            ``ViT-B-16/openai``, see :func:`ski_vlm.sources.open_student`.
        wording: templates and descriptions of classes; by default what the model was trained with.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        MissingFileError: no model there, or no CLIP of that name; near names are listed.
        CheckpointError: a damaged folder or one of another kind.
        ConfigError: a device that is not there; weights that cannot be fetched.
    """
    where = check_device(device)
    student, meta = open_student(model)
    return Recognizer(student, wording=wording, device=where, meta=meta, name=str(model))


def check_top_k(top_k: int | None) -> int | None:
    """How many classes to give back, None for all.

    Raises:
        InputError: fewer than one.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k must be at least 1, got {top_k}")
    return top_k


def check_names(classes: Sequence[str]) -> list[str]:
    """Class names without white space around them.

    Raises:
        InputError: none, an empty one, one twice, or one text in place of a list.
    """
    if isinstance(classes, str):
        raise InputError(f"classes are a list of names, not the text {classes!r}")
    names = [name.strip() for name in classes]
    if not names:
        raise InputError("no class names given; name at least one")
    if "" in names:
        raise InputError("an empty class name was given")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"class names given twice: {twice}")
    return names


def read_class_names(text: str) -> list[str]:
    """Class names from ``a,b,c``, or from a file with one per line or with columns ``id,name``."""
    path = Path(text)
    if not os.path.isfile(path):
        if os.path.isdir(path) or ("," not in text and (os.sep in text or path.suffix in LISTS)):
            raise MissingFileError(f"{path}: no such file of class names")
        return check_names([name for name in text.split(",") if name.strip()])
    if path.suffix == ".csv":
        return check_names(read_classes(path).names)
    if path.suffix not in LISTS:
        raise InputError(f"{path}: a file of class names ends in {' or '.join(LISTS)}")
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        name = line.strip()
        if name in lines:
            raise InputError(
                f"{path}, line {number}: class {name!r} stands already in line {lines[name]}; "
                "remove one"
            )
        if name:
            lines[name] = number
    if not lines:
        raise InputError(f"{path}: no class names in it; write one per line")
    return list(lines)
