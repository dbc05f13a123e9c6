"""Students as files for other programs: ONNX or torch.export, in float32 or with 8-bit weights.

A folder holds two graphs and ``export.json``. ``video``: uint8 frames ``(N, T, H, W, 3)`` at the
model's input size, normalised inside, and class texts ``(K, D)`` to logits ``(N, K)`` and video
features ``(N, D)``; N and K are free, so classes stay open. ``text``: CLIP's token ids ``(K, L)``
of prompts, zero padded, to their features ``(K, D)``. ``export.json`` says how prompts are worded
(``{name}`` is a class, ``{title}`` what stands before its first colon), whether those of several
prompts are averaged and made unit length, and the parity that was measured.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_data.config import to_plain
from ski_data.errors import InputError, MissingFileError, SkiDataError
from ski_data.text import read_text
from ski_skeleton.text import class_prompts, tokenize
from ski_vlm.errors import ConfigError, SkiVlmError
from ski_vlm.students import Froster, PromptedViFiClip, Student, XClip, student_kind
from ski_vlm.students.templates import TEMPLATES

Format = Literal["onnx", "torch"]
ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
ABOUT = "export.json"
PARITY = 1e-4
"""Largest difference of cosines and features that an export may have."""
VERSION = 1


class VideoSide(nn.Module):
    """What is exported of a student for its clips."""

    def __init__(self, model: Student) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 ``(N, T, H, W, 3)`` and ``(K, D)`` to logits ``(N, K)`` and features ``(N, D)``."""
        output = self.model.score(self.model.normalise(frames), texts)
        return output.logits, output.video


class TextSide(nn.Module):
    """What is exported of a student for its prompts: all positions, so that nothing is cut."""

    def __init__(self, model: Student) -> None:
        super().__init__()
        self.text = model.text
        self.unit = not isinstance(model, XClip)
        self.context: nn.Parameter | None = None
        self.length = len(model.text.positional_embedding)
        if isinstance(model, PromptedViFiClip):
            self.context = model.text_context
            self.length -= model.text_context.shape[1]

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids ``(K, L)``, zero padded, to features ``(K, D)``; L is :attr:`length`."""
        x, vectors = self.text.token_embedding(tokens), 0
        if self.context is not None:
            vectors = self.context.shape[1]
            x = self._with(x, 0, 1)
        x = x + self.text.positional_embedding
        for number, block in enumerate(self.text.transformer.resblocks):
            if self.context is not None and 0 < number < len(self.context):
                x = self._with(x, number, 1 + vectors)
            x = block(x, attn_mask=self.text.attn_mask)
        x = self.text.ln_final(x)
        end = (tokens.argmax(-1) + vectors)[:, None, None].expand(-1, 1, x.shape[-1])
        features = x.gather(1, end)[:, 0] @ self.text.text_projection
        return F.normalize(features, dim=-1) if self.unit else features

    def _with(self, x: Tensor, number: int, skip: int) -> Tensor:
        """Learned vectors of a block behind the start, in place of what stands before ``skip``."""
        assert self.context is not None
        vectors = self.context[number].expand(x.shape[0], -1, -1)
        return torch.cat([x[:, :1], vectors, x[:, skip:]], 1)


def export_student(
    model: Student,
    folder: Path,
    form: Format,
    *,
    classes: Sequence[str] = (),
    model_hash: str = "",
) -> dict[str, Any]:
    """Write a student's two graphs and what there is to know about them.

    Args:
        model: on the CPU.
        folder: there, and empty.
        form: ``onnx`` or ``torch``.
        classes: names whose texts are written as ``texts.npy`` too.
        model_hash: of the model's folder.

    Returns:
        The content of ``export.json``.

    Raises:
        ConfigError: a library is missing.
        SkiVlmError: the graphs do not give the model's numbers.
    """
    need(form)
    model = model.eval().requires_grad_(False)
    T, size = model.config.frames, model.image_size
    video, text = VideoSide(model).eval(), TextSide(model).eval()
    free = torch.export.Dim
    rng = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, T, size, size, 3), dtype=torch.uint8, generator=rng)
    words = ["sit down", "drink from a cup", "wave"]
    tokens = ids_of(model, words, text.length)
    with torch.inference_mode():
        texts = text(tokens).clone()
    texts = torch.empty_like(texts).copy_(texts)
    _write(
        video,
        {"frames": frames, "texts": texts},
        ({0: free("clips")}, {0: free("classes")}),
        ["logits", "features"],
        folder / f"video{ENDINGS[form]}",
    )
    _write(
        text,
        {"tokens": tokens},
        ({0: free("prompts")},),
        ["texts"],
        folder / f"text{ENDINGS[form]}",
    )
    several = isinstance(model, Froster)
    ensemble = [each.replace("{name}", "{title}") + " {name}" for each in TEMPLATES]
    about: dict[str, Any] = {
        "version": VERSION,
        "format": form,
        "kind": student_kind(model),
        "model": model_hash,
        "frames": T,
        "size": size,
        "width": int(texts.shape[1]),
        "tokens": text.length,
        "scale": float(model.logit_scale.exp()),
        "prompts": [*(ensemble if several else ()), model.config.template],
        "averaged": several,
        "rewritten": to_plain(getattr(model.config, "rewritten", {})),
        "classes": list(classes),
    }
    if classes:
        with torch.inference_mode():
            table = model.encode_classes(classes).float().numpy()
        np.save(folder / "texts.npy", table, allow_pickle=False)
    about["parity"] = parity(model, folder, about)
    _write_about(folder, about)
    worst = max(about["parity"].values())
    if not worst <= PARITY:
        raise SkiVlmError(
            f"{folder}: the exported graphs differ from the model by {worst:.1e}, more than "
            f"{PARITY}; try the other format, and report it with the versions of torch and onnx"
        )
    return about


def ids_of(model: Student, prompts: Sequence[str], length: int) -> Tensor:
    """Token ids ``(K, L)`` of texts under the student's own template."""
    return tokenize(class_prompts(prompts, model.config.template), context=length, truncate=True)


def parity(model: Student, folder: Path, about: dict[str, Any]) -> dict[str, float]:
    """Largest differences between the exported graphs and the model, on other sizes than traced."""
    exported = Exported(folder, about=about)
    rng = torch.Generator().manual_seed(1)
    worst = {"cosines": 0.0, "features": 0.0, "texts": 0.0}
    side, text, scale = VideoSide(model), TextSide(model), about["scale"]
    for N, K in ((1, 1), (3, 5)):
        shape = (N, about["frames"], about["size"], about["size"], 3)
        frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
        tokens = ids_of(model, [f"action {i}" for i in range(K)], about["tokens"])
        with torch.inference_mode():
            texts = text(tokens)
            logits, features = (part.numpy() for part in side(frames, texts))
        found = exported.text(tokens.numpy())
        ours = exported.video(frames.numpy(), texts.numpy())
        for key, left, right in (
            ("texts", found, texts.numpy()),
            ("cosines", ours[0] / scale, logits / scale),
            ("features", ours[1], features),
        ):
            worst[key] = max(worst[key], float(np.abs(left - right).max()))
    return worst


@dataclass(frozen=True)
class _Graph:
    """One exported file, ready to run on the CPU."""

    run: Callable[..., Sequence[np.ndarray]]


class Exported:
    """An exported folder, run on the CPU.

    Only folders of your own: a torch.export archive is trusted as a program is.

    Args:
        folder: what the command ``export`` wrote.
        about: content of its ``export.json``, if known.
        int8: run the 8-bit video graph.

    Raises:
        MissingFileError: no such folder, or a part of it is missing.
        InputError: a damaged part.
        ConfigError: a library is missing.
    """

    def __init__(
        self, folder: str | Path, *, about: dict[str, Any] | None = None, int8: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.about = about or _read_about(self.folder)
        form = self.about["format"]
        need(form)
        ending = ENDINGS[form]
        self._text = _open(self.folder / f"text{ending}", form)
        self._video = _open(self.folder / f"video{'.int8' if int8 else ''}{ending}", form)

    def video(self, frames: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 ``(N, T, H, W, 3)`` and ``(K, D)`` to logits ``(N, K)`` and features ``(N, D)``."""
        logits, features = self._video.run(frames=frames, texts=texts)
        return logits, features

    def text(self, tokens: np.ndarray) -> np.ndarray:
        """int64 ids ``(K, L)`` to features ``(K, D)``."""
        return self._text.run(tokens=tokens)[0]


def need(form: Format) -> None:
    """See that the libraries of a format are there.

    Raises:
        ConfigError: one is missing.
    """
    wanted = ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ()
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"exporting to ONNX needs {', '.join(missing)}: pip install 'ski-vlm[export]', or "
            "choose --format torch"
        )


def _write(
    module: nn.Module,
    inputs: dict[str, Tensor],
    free: tuple[dict[int, Any], ...],
    outputs: list[str],
    path: Path,
) -> None:
    with _quietly():
        program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=free)
        if path.suffix == ENDINGS["torch"]:
            torch.export.save(program, path)
            return
        made = torch.onnx.export(
            program, input_names=list(inputs), output_names=outputs, dynamo=True, verbose=False
        )
        made.save(str(path), external_data=False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' remarks, which are for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _open(path: Path, form: Format) -> _Graph:
    if not path.is_file():
        raise MissingFileError(f"{path}: missing; export the model again")
    try:
        if form == "torch":
            module = torch.export.load(path).module()

            def run_torch(**inputs: np.ndarray) -> list[np.ndarray]:
                with torch.inference_mode():
                    found = module(*(torch.from_numpy(value) for value in inputs.values()))
                return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

            return _Graph(run_torch)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return _Graph(lambda **inputs: session.run(None, inputs))
    except Exception as error:  # a damaged file makes the readers raise anything
        told = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not readable ({told}); export the model again") from None


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    text = json.dumps(about, indent=1, ensure_ascii=False)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def _read_about(folder: Path) -> dict[str, Any]:
    about = folder / ABOUT
    try:
        found = json.loads(read_text(about, "exported model"))
        if found["version"] != VERSION or found["format"] not in ENDINGS:
            raise InputError(f"{about}: of another version; export the model again")
    except SkiDataError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{about}: damaged ({error}); export the model again") from None
    return found
