"""The child process of :mod:`ski_data.video.guarded`: answers requests until its input ends."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import struct
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np

from ski_data.errors import SkiDataError
from ski_data.video import decode

_MAX_REQUEST = 1 << 28


def serve(memory: int, watch: float) -> None:
    """Answer requests on standard input.

    Args:
        memory: Bytes that may be taken beyond what the libraries have; Linux only.
        watch: Seconds after which one request ends this process, should nobody else do it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    _bound(memory)
    while (request := _next(requests)) is not None:
        faulthandler.dump_traceback_later(watch, exit=True)
        head, frames = _answer(request, memory)
        text = json.dumps(head).encode()
        _send(answers, struct.pack("<I", len(text)) + text)
        if frames is not None:
            _send(answers, memoryview(np.ascontiguousarray(frames)).cast("B"))
        faulthandler.cancel_dump_traceback_later()
        del frames


def _bound(memory: int) -> None:
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (taken + memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it has nothing to write


def _next(requests: BinaryIO) -> dict[str, Any] | None:
    prefix = requests.read(4)
    if len(prefix) < 4:
        return None
    length = struct.unpack("<I", prefix)[0]
    text = requests.read(length) if length <= _MAX_REQUEST else b""
    return json.loads(text) if len(text) == length else None


def _answer(request: dict[str, Any], memory: int) -> tuple[dict[str, Any], np.ndarray | None]:
    path, frames = request.get("path"), None
    head: dict[str, Any] = {}
    try:
        if request["do"] == "probe":
            head["info"] = asdict(decode.probe(path))
        elif request["do"] in ("read_frames", "read_all"):
            size = request["size"]
            scale = {"short_side": request["short_side"], "size": size and tuple(size)}
            if request["do"] == "read_frames":
                frames = decode.read_frames(path, request["indices"], **scale, backend="pyav")
            else:
                frames = decode.read_all(path, request["max_frames"], **scale)
            if frames.nbytes > memory:
                raise MemoryError
            head["shape"] = list(frames.shape)
    except SkiDataError as error:
        head, frames = {"error": type(error).__name__, "text": str(error)}, None
    except MemoryError:
        text = (
            f"{path}: needs more than {memory / 1e6:.0f} MB; choose fewer or smaller frames, or "
            "allow more memory"
        )
        head, frames = {"error": "VideoError", "text": text}, None
    except Exception as error:  # whatever else the libraries raise, the parent must hear of it
        text = f"{path}: cannot be read ({type(error).__name__}: {error}); get it again"
        head, frames = {"error": "VideoError", "text": text}, None
    return head, frames


def _send(answers: Any, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while len(view):
        view = view[answers.write(view) :]
