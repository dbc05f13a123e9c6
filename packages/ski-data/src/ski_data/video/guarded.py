"""Video files from strangers, read in a child process that may hang, crash or run out of memory.

Decoders are large C programs: some file will end or block the process that reads it. Training data
that was looked through once is read in place (:mod:`ski_data.video.decode`); what came from outside
is read here, in one child that serves many files and is started anew after an accident::

    with GuardedReader(timeout=30) as reader:
        info = reader.probe("upload.mp4")
        frames = reader.read_frames("upload.mp4", [0, 10, 20], short_side=224)
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ski_data.errors import InputError, MissingFileError
from ski_data.video.probe import MAX_FRAMES, VideoError, VideoInfo

_ERRORS = {kind.__name__: kind for kind in (VideoError, InputError, MissingFileError)}
_CHILD = (
    "import json, sys; setup = json.loads(sys.argv[1]); sys.path[:] = setup['path']; "
    "from ski_data.video.guarded_child import serve; serve(setup['memory'], setup['watch'])"
)
_MAX_HEAD = 1 << 16
_PIPE_BYTES = 1 << 20
_START_SECONDS = 60.0  # importing the libraries from a slow disk


class GuardedReader:
    """Reads video files in a child process; one call at a time, from any thread.

    A file that takes too long, too much memory or ends the child gives :class:`VideoError`, and the
    next call starts a new child. Results and other errors are those of
    :func:`ski_data.video.decode.read_frames` with PyAV.

    Args:
        timeout: Seconds that one call may take.
        memory: Bytes that the child may take beyond its libraries, and that one answer may have.
            The system enforces it on Linux; elsewhere only the answer is bounded, and the size of
            pictures.
    """

    def __init__(self, *, timeout: float = 30.0, memory: int = 2 << 30) -> None:
        if not timeout > 0 or memory < 1:
            raise InputError(f"timeout and memory must be above 0, not {timeout} and {memory}")
        self.timeout, self.memory = timeout, memory
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def __enter__(self) -> GuardedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.timeout, self.memory)

    def close(self) -> None:
        """End the child; a later call starts another."""
        with self._lock:
            self._stop()

    def probe(self, path: Path | str) -> VideoInfo:
        """What the file holds, as :func:`ski_data.video.decode.probe`."""
        head, _ = self._ask({"do": "probe", "path": _text(path)})
        try:
            info = VideoInfo(**head["info"])
        except (KeyError, TypeError):
            info = None
        if info is None or any(
            not isinstance(getattr(info, field.name), _KINDS[str(field.type)])
            for field in fields(info)
        ):
            raise self._nonsense(path)
        return info

    def read_frames(
        self,
        path: Path | str,
        indices: Sequence[int] | np.ndarray,
        *,
        short_side: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Chosen frames, uint8 (T, H, W, 3), as :func:`ski_data.video.decode.read_frames`."""
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or not np.issubdtype(wanted.dtype, np.integer):
            raise InputError(f"{path}: frames are chosen by a list of whole numbers")
        request = {"do": "read_frames", "path": _text(path), "indices": wanted.tolist()}
        return self._frames(request, len(wanted), short_side, size)

    def read_all(
        self,
        path: Path | str,
        max_frames: int | None = None,
        *,
        short_side: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Every frame or ``max_frames`` of them, as :func:`ski_data.video.decode.read_all`."""
        request = {"do": "read_all", "path": _text(path), "max_frames": max_frames}
        return self._frames(request, None, short_side, size)

    def _frames(
        self,
        request: dict[str, Any],
        count: int | None,
        short_side: int | None,
        size: tuple[int, int] | None,
    ) -> np.ndarray:
        request |= {"short_side": short_side, "size": None if size is None else list(size)}
        _, frames = self._ask(request)
        if (
            frames is None
            or (count is not None and len(frames) != count)
            or (size is not None and frames.shape[1:3] != tuple(size))
        ):
            raise self._nonsense(request["path"])
        return frames

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
        path = request["path"]
        with self._lock:
            if self._child is None or self._child.poll() is not None or self._owner != os.getpid():
                self._start()
            child = self._child
            assert child is not None
            timer = threading.Timer(self.timeout, child.kill)
            timer.daemon = True
            timer.start()
            try:
                answer = self._exchange(child, json.dumps(request).encode())
            except BaseException:  # an interrupt leaves half an answer in the pipe
                self._stop()
                raise
            finally:
                late = not timer.is_alive()
                timer.cancel()
            if answer is None or late:
                code = self._stop()
            if answer is None:
                if late:
                    raise VideoError(
                        f"{path}: not read within {self.timeout:g} s; damaged, hostile or very "
                        "long: cut or re-encode it, or allow a longer timeout"
                    )
                raise VideoError(
                    f"{path}: ended the process that read it ({_ending(code)}); damaged or "
                    "hostile: get it again, or re-encode it"
                )
        head, frames = answer
        if "error" in head:
            raise _ERRORS.get(str(head["error"]), VideoError)(str(head.get("text")))
        return head, frames

    def _exchange(
        self, child: subprocess.Popen[bytes], request: bytes
    ) -> tuple[dict[str, Any], np.ndarray | None] | None:
        """Answer of the child; None if it died or does not speak as it should."""
        assert child.stdin is not None
        try:
            child.stdin.write(struct.pack("<I", len(request)) + request)
            child.stdin.flush()
        except OSError:
            return None
        prefix = _receive(child, 4)
        length = struct.unpack("<I", prefix)[0] if prefix is not None else 0
        text = _receive(child, length) if 0 < length <= _MAX_HEAD else None
        try:
            head = json.loads(text) if text is not None else None
        except ValueError:
            head = None
        if not isinstance(head, dict):
            return None
        shape = head.get("shape")
        if shape is None:
            return head, None
        if not self._plausible(shape):
            return None
        frames = np.empty(shape, np.uint8)
        return (head, frames) if _receive_into(child, memoryview(frames).cast("B")) else None

    def _plausible(self, shape: Any) -> bool:
        return (
            isinstance(shape, list)
            and len(shape) == 4
            and all(type(side) is int and side > 0 for side in shape)
            and shape[0] <= MAX_FRAMES
            and shape[3] == 3
            and shape[0] * shape[1] * shape[2] * 3 <= self.memory
        )

    def _start(self) -> None:
        if self._owner == os.getpid():
            self._stop()
        setup = {"path": sys.path, "memory": self.memory, "watch": 2 * self.timeout + 5}
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD, json.dumps(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._owner = os.getpid()
        _widen(self._child.stdout)
        timer = threading.Timer(_START_SECONDS, self._child.kill)
        timer.daemon = True
        timer.start()
        ready = self._exchange(self._child, b'{"do": "hello"}')
        timer.cancel()
        if ready is None:
            code = self._stop()
            raise VideoError(
                f"the process that reads videos does not start ({_ending(code)}); memory of "
                f"{self.memory} bytes may be too little"
            )

    def _stop(self) -> int | None:
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return None
        code = child.poll()
        child.kill()
        code = child.wait() if code is None else code
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                continue  # what was left to send has no reader any more
        return code

    def _nonsense(self, path: Path | str) -> VideoError:
        self.close()
        return VideoError(f"{path}: the process that read it gave a wrong answer; get it again")


def _widen(pipe: Any) -> None:
    """Let a pipe hold more, which makes pictures pass several times faster."""
    if sys.platform != "linux":
        return
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (OSError, AttributeError):
        return  # the user's share is spent, or Python 3.10 on an old system: slower, not wrong


_KINDS: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool}


def _again(timeout: float, memory: int) -> GuardedReader:
    return GuardedReader(timeout=timeout, memory=memory)


def _text(path: Path | str) -> str:
    return os.fspath(Path(path).absolute()) if "\0" not in str(path) else str(path)


def _ending(code: int | None) -> str:
    if code is None:
        return "no answer"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _receive(child: subprocess.Popen[bytes], length: int) -> bytes | None:
    data = bytearray(length)
    return bytes(data) if _receive_into(child, memoryview(data)) else None


def _receive_into(child: subprocess.Popen[bytes], target: memoryview) -> bool:
    assert child.stdout is not None
    while len(target):
        got = child.stdout.readinto(target)  # type: ignore[attr-defined]
        if not got:
            return False
        target = target[got:]
    return True
