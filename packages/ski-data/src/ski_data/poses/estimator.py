"""The pose process seen from here: finding its Python, starting it, passing pictures to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from ski_data.errors import InputError, SkiDataError
from ski_data.video.decode import probe, read_frames

LANDMARKS, VALUES = 33, 6
WORKER = Path(__file__).with_name("worker.py")
VARIABLE = "SKI_POSE_PYTHON"
_CHUNK = 1 << 27
"""Bytes of pictures that are passed at once."""
_START_SECONDS, _FRAME_SECONDS = 120.0, 5.0
"""How long the process may take to start, and for a picture, before it is taken for stuck."""


class PoseError(SkiDataError):
    """The pose process is not there, failed or got stuck."""


@dataclass(frozen=True)
class Estimate:
    """What was found in one video.

    Attributes:
        image: float32 (M, T, 33, 3): x, y in pixels of the video as shown, visibility 0..1.
        world: float32 (M, T, 33, 3): metres, as MediaPipe gives them: y down, z away from the
            camera, the middle of the hips at 0 in every frame.
        found: bool (M, T). Where False, the others are 0.
        width: Of the video's pictures.
        height: See ``width``.
    """

    image: np.ndarray
    world: np.ndarray
    found: np.ndarray
    width: int
    height: int


def find_python(given: str | None = None) -> Path:
    """The interpreter of an environment with MediaPipe.

    Args:
        given: Its path. Otherwise the variable SKI_POSE_PYTHON says it, or in a checkout of the
            whole repository hatch's environment ``pose`` is taken.

    Raises:
        PoseError: No such file, or none is known.
    """
    for path, told in ((given, "python"), (os.environ.get(VARIABLE), VARIABLE)):
        if path:
            if not Path(path).is_file():
                raise PoseError(f"{told} {path}: no such file; name the interpreter of {_HOW}")
            return Path(path)
    root = next((p for p in Path(__file__).resolve().parents if _has_environment(p)), None)
    hatch = shutil.which("hatch")
    if root is not None and hatch is not None:
        answer = subprocess.run(
            [hatch, "env", "find", "pose"], cwd=root, capture_output=True, text=True, check=False
        )
        name = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
        for line in answer.stdout.splitlines():
            if (python := Path(line.strip()) / name).is_file():
                return python
    raise PoseError(
        "no environment with mediapipe is known: in a checkout run `hatch env create pose`, or "
        f"name with --python or {VARIABLE} the interpreter of {_HOW}"
    )


_HOW = "an environment made by `python -m venv E; E/bin/pip install mediapipe==0.10.21 'numpy<2'`"


def _has_environment(folder: Path) -> bool:
    file = folder / "pyproject.toml"
    return file.is_file() and "[tool.hatch.envs.pose]" in file.read_text(encoding="utf-8")


class PoseEstimator:
    """A running pose process; use it as a context.

    Args:
        python: Interpreter with MediaPipe.
        people: Most people that are looked for in a picture.

    Attributes:
        name: What estimates, with its version.

    Raises:
        PoseError: It cannot be started; later, that it failed.
    """

    def __init__(self, python: Path, people: int = 1) -> None:
        if people < 1:
            raise InputError(f"people must be at least 1, not {people}")
        self.python, self.people = python, people
        self.name = ""

    def __enter__(self) -> PoseEstimator:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PYTHON")
        }
        try:
            self._process = subprocess.Popen(
                [str(self.python), "-I", str(WORKER), json.dumps({"people": self.people})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
        except OSError as error:
            raise PoseError(f"{self.python}: cannot be run ({error.strerror or error})") from None
        self._said: deque[str] = deque(maxlen=20)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            line = self._answer(None, _START_SECONDS)
            self.name = str(json.loads(line)["estimator"])
        except (ValueError, KeyError, TypeError):
            self._stop()
            raise PoseError(f"{self.python}: did not answer as a pose process") from None
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def estimate(self, video: Path | str) -> Estimate:
        """Joints of the people in every frame of a video.

        Raises:
            MissingFileError, VideoError: The video cannot be read.
            PoseError: The process failed.
        """
        info = probe(video)
        step = max(1, _CHUNK // (info.width * info.height * 3))
        parts = []
        for start in range(0, info.frames, step):
            frames = read_frames(video, np.arange(start, min(start + step, info.frames)))
            parts.append(self._ask(frames, first=start == 0))
        values = np.concatenate(parts).transpose(1, 0, 2, 3)
        found = np.isfinite(values).all(axis=(2, 3))
        values = np.where(found[..., None, None], values, 0).astype(np.float32)
        image, world = values[..., :3].copy(), values[..., 3:].copy()
        image[..., :2] *= (info.width, info.height)
        return Estimate(image, world, found, info.width, info.height)

    def _ask(self, frames: np.ndarray, first: bool) -> np.ndarray:
        count, height, width = frames.shape[:3]
        request = {"frames": count, "height": height, "width": width, "first": first}
        shape = (count, self.people, LANDMARKS, VALUES)
        seconds = _START_SECONDS + _FRAME_SECONDS * count * self.people
        message = json.dumps(request).encode() + b"\n"
        data = self._answer(
            (message, memoryview(np.ascontiguousarray(frames)).cast("B")),
            seconds,
            int(np.prod(shape)),
        )
        return np.frombuffer(data, "<f4").reshape(shape)

    def _answer(
        self, message: tuple[bytes, memoryview] | None, seconds: float, values: int | None = None
    ) -> bytes:
        """What the process answers: a line, or so many float32 values."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        stuck = threading.Event()
        timer = threading.Timer(seconds, lambda: (stuck.set(), process.kill()))
        timer.start()
        try:
            if message is not None:
                for part in message:
                    process.stdin.write(part)
                process.stdin.flush()
            if values is None:
                answer = process.stdout.readline()
            else:
                answer = process.stdout.read(4 * values)
        except OSError:  # a broken pipe: it ended before it read everything
            answer = b""
        finally:
            timer.cancel()
        if stuck.is_set():
            raise PoseError(f"{self.python}: the pose process gave no answer in {seconds:.0f} s")
        if not answer or (values is not None and len(answer) != 4 * values):
            process.wait()
            self._listener.join(timeout=5)
            last = self._said[-1] if self._said else f"exit code {process.returncode}"
            hint = f"; it must be {_HOW}" if "ModuleNotFoundError" in last else ""
            raise PoseError(f"{self.python}: the pose process failed ({last}){hint}")
        return answer

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if text := line.decode("utf-8", "replace").strip():
                self._said.append(text)

    def _stop(self) -> None:
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # unsent pictures for a process that is gone
                    process.kill()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._listener.join(timeout=5)
        if process.stderr is not None:
            process.stderr.close()
