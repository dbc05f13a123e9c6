"""What a server may load and how much it takes in; checked before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ski_data.errors import InputError, MissingFileError
from ski_data.text import read_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LEAST_TOKEN = 16


@dataclass(frozen=True)
class Settings:
    """Models and limits of a server."""

    models: Mapping[str, str] = field(default_factory=dict)
    """Name to model folder or CLIP tag of each recognizer; the first is the default."""
    captioners: Mapping[str, str] = field(default_factory=dict)
    """Name to model folder of each captioner; the first is the default."""
    token: str | None = field(default=None, repr=False)
    """What clients must send as ``Authorization: Bearer TOKEN``; None lets everybody in."""
    device: str = "cpu"
    max_bytes: int = 64 << 20
    """Largest video file."""
    max_seconds: float = 600.0
    """Longest video."""
    max_pixels: int = 3840 * 2160
    """Largest picture of a video."""
    max_classes: int = 1000
    """Most class names or texts of one request."""
    max_windows: int = 120
    """Most windows of one request."""
    queue: int = 32
    """Requests in work at once: those that upload, wait and are computed. More are refused."""
    batch_size: int = 8
    """Clips or questions that a model sees at once."""
    batch_wait_ms: float = 5.0
    """How long the first clip of a batch waits for others."""
    timeout: float = 60.0
    """Seconds for one request, from its headers to the end of its answer."""
    workers: int = 2
    """Processes that decode videos; a file that ends one of them leaves the server alone."""

    def __post_init__(self) -> None:
        wrong = [
            f"{kind} {name!r}: a name has letters, digits and . _ -, at most 64"
            for kind, named in (("model", self.models), ("caption", self.captioners))
            for name in named
            if not _NAME.fullmatch(name)
        ]
        if not self.models and not self.captioners:
            wrong.append("no model: give --model NAME=FOLDER or --caption NAME=FOLDER")
        for name in (
            "max_bytes",
            "max_pixels",
            "max_classes",
            "max_windows",
            "queue",
            "batch_size",
        ):
            if getattr(self, name) < 1:
                wrong.append(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 1 <= self.workers <= 64:
            wrong.append(f"workers must be in 1..64, got {self.workers}")
        for name in ("max_seconds", "timeout"):
            if not 0 < getattr(self, name) < 1e6:
                wrong.append(f"{name} must be above 0 s, got {getattr(self, name)}")
        if not 0 <= self.batch_wait_ms <= 10_000:
            wrong.append(f"batch_wait_ms must be in 0..10000, got {self.batch_wait_ms}")
        if self.token is not None:
            wrong += _wrong_token(self.token)
        if wrong:
            raise InputError("; ".join(wrong))


def _wrong_token(token: str) -> list[str]:
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        return [f"a token has at least {_LEAST_TOKEN} ASCII characters and no white space"]
    return []


def read_named(given: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=SOURCE`` texts as a dictionary in their order.

    Raises:
        InputError: a text of another form, or a name twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, source = text.partition("=")
        if not equals or not name or not source:
            raise InputError(f"{option} {text!r}: write NAME={text.strip('=') or 'FOLDER'}")
        if name in found:
            raise InputError(f"{option}: the name {name!r} is given twice; names tell models apart")
        found[name] = source
    return found


def read_token(path: str | Path) -> str:
    """The token in a file, white space around it left out.

    Raises:
        MissingFileError: no such file.
        InputError: no token in it, or one that is too short.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such token file")
    token = read_text(path).strip()
    if wrong := _wrong_token(token):
        raise InputError(f"{path}: {wrong[0]}; make one with `openssl rand -hex 32`")
    return token
