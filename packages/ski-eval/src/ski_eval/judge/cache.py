"""Replies of a judge on disk, one JSON line each: resume, replay without the judge.

A line holds the ``key`` (SHA-256 of the conversation and the judge's identity), the ``identity``
and the ``reply``. Lines are only ever added, so a run may be killed at any time; a last line
that was cut off is replaced.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ski_eval.errors import InputError, MissingFileError
from ski_eval.judge.backends import JudgeError
from ski_eval.judge.prompts import Message
from ski_eval.results import content_hash

_log = logging.getLogger(__name__)
_START = b'{"key": "'
_FIELDS = {"key", "identity", "reply"}


def reply_key(messages: Sequence[Message], identity: dict[str, Any]) -> str:
    """Key of a conversation with a judge."""
    return content_hash({"messages": list(messages), "judge": identity})


class ReplyCache:
    """Replies by key; those added are on disk when `add` returns."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._replies: dict[str, str] = {}
        self.identities: list[dict[str, Any]] = []
        self._whole: int | None = None  # where a line that was cut off begins
        if self.path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> str | None:
        """The stored reply, or None."""
        return self._replies.get(key)

    def add(self, key: str, identity: dict[str, Any], reply: str) -> str:
        """Store a reply and give it back; one that is there already stays and is given instead.

        Whoever asks the same at the same time thus goes on with the same reply, and a replay
        gives the figures of the run.
        """
        line = json.dumps({"key": key, "identity": identity, "reply": reply}, ensure_ascii=False)
        with self._lock:
            if key in self._replies:
                return self._replies[key]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._whole is not None:
                os.truncate(self.path, self._whole)
                self._whole = None
            with self.path.open("ab") as file:
                file.write(line.encode("utf-8") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._replies[key] = reply
        return reply

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        for number, raw in enumerate(whole.splitlines(), start=1):
            try:
                line = json.loads(raw)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InputError(f"{self.path}, line {number}: not JSON: {error}") from error
            if not isinstance(line, dict) or set(line) != _FIELDS:
                raise InputError(f"{self.path}, line {number}: no stored reply of a judge")
            self._replies.setdefault(line["key"], line["reply"])
            if line["identity"] not in self.identities:
                self.identities.append(line["identity"])
        tail = content[len(whole) :]
        if tail and not (tail.startswith(_START) or _START.startswith(tail)):
            raise InputError(f"{self.path}: no file of stored replies; give another path")
        if tail:
            _log.warning("%s: the last line is cut off (a killed run); it is dropped", self.path)
            self._whole = len(whole)


class ReplayJudge:
    """A judge that answers from a cache only; what is not there is an error."""

    workers = 1

    def __init__(self, path: str | Path, model: str | None = None) -> None:
        if not Path(path).is_file():
            raise MissingFileError(f"{path}: no such file of stored replies")
        self.cache = ReplyCache(path)
        found = [i for i in self.cache.identities if model is None or i.get("model") == model]
        if len(found) != 1:
            names = sorted({str(i.get("model")) for i in self.cache.identities})
            raise InputError(
                f"{path}: {len(found)} judges to replay (models in the file: "
                f"{', '.join(names) or 'none'}); name one with --model, or keep one file per judge"
            )
        self._identity = found[0]

    @property
    def identity(self) -> dict[str, Any]:
        """That of the judge whose replies these are."""
        return self._identity

    def reply(self, messages: Sequence[Message]) -> str:
        """The stored reply.

        Raises:
            JudgeError: this was never asked.
        """
        reply = self.cache.get(reply_key(messages, self.identity))
        if reply is None:
            raise JudgeError(
                f"{self.cache.path}: no stored reply to this question; the predictions, references "
                "or prompts are others than those that were judged; ask the judge again"
            )
        return reply
