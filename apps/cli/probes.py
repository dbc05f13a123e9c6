"""What is tried in a process of its own, since it may be slow, hang or end the process.

Run as a file with the name of a probe; prints a JSON object as its last line. Imports nothing of
this project, so that it works where that is broken.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE, FRAMES = 64, 8
"""Of the video that is made: pixels of its sides, and frames that get lighter."""


def torch_probe() -> dict[str, Any]:
    """Torch, its build, the GPUs that it can use, and bfloat16."""
    import torch

    found: dict[str, Any] = {"version": torch.__version__, "cuda_build": torch.version.cuda}
    a = torch.ones(4, 4, dtype=torch.bfloat16)
    found["cpu_bfloat16"] = bool(torch.equal(a @ a, torch.full_like(a, 4)))
    found["cuda"] = torch.cuda.is_available()
    if found["cuda"]:
        found["gpus"] = [
            {
                "name": torch.cuda.get_device_name(index),
                "memory": torch.cuda.get_device_properties(index).total_memory,
                "capability": list(torch.cuda.get_device_capability(index)),
            }
            for index in range(torch.cuda.device_count())
        ]
        found["gpu_bfloat16"] = torch.cuda.is_bf16_supported()
        b = torch.ones(64, 64, device="cuda")
        found["gpu_works"] = float((b @ b)[0, 0].cpu()) == 64.0
    elif torch.version.cuda is not None:
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            found["cuda_error"] = " ".join(str(error).split())
    return found


def torchvision_probe() -> dict[str, Any]:
    """Whether torchvision fits torch: its operators load."""
    import torch
    import torchvision

    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    kept = torchvision.ops.nms(box, torch.ones(1), 0.5)
    return {"version": torchvision.__version__, "works": kept.tolist() == [0]}


def pyav_probe() -> dict[str, Any]:
    """PyAV: makes a video and reads it again; which decoders it has."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mp4"
        make_video(path)
        with av.open(str(path)) as file:
            light = [
                float(frame.to_ndarray(format="rgb24").mean()) for frame in file.decode(video=0)
            ]
    lacking = [name for name in ("h264", "hevc", "mpeg4", "vp9") if name not in av.codecs_available]
    return {"version": av.__version__, "works": rising(light), "lacking": lacking}


def decord_probe() -> dict[str, Any]:
    """decord: reads a video made by PyAV."""
    import decord

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mp4"
        make_video(path)
        reader = decord.VideoReader(str(path))
        light = [float(reader[index].asnumpy().mean()) for index in range(len(reader))]
    return {"version": decord.__version__, "works": rising(light)}


def make_video(path: Path) -> None:
    """A file of grey frames, each lighter than the one before."""
    import av
    import numpy as np

    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for index in range(FRAMES):
            picture = np.full((SIZE, SIZE, 3), 20 + 25 * index, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def rising(light: list[float]) -> bool:
    """Whether these are the made frames, in order."""
    near = all(abs(value - 20 - 25 * index) < 8 for index, value in enumerate(light))
    return near and len(light) == FRAMES


def cv2_probe() -> dict[str, Any]:
    """OpenCV, which scales pictures."""
    import cv2
    import numpy as np

    small = cv2.resize(np.ones((8, 8, 3), np.uint8), (4, 4), interpolation=cv2.INTER_AREA)
    return {"version": cv2.__version__, "works": bool((small == 1).all())}


def deepspeed_probe() -> dict[str, Any]:
    """DeepSpeed, imported."""
    import deepspeed

    return {"version": deepspeed.__version__, "works": True}


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": torch_probe,
    "torchvision": torchvision_probe,
    "pyav": pyav_probe,
    "decord": decord_probe,
    "cv2": cv2_probe,
    "deepspeed": deepspeed_probe,
}


def main(name: str) -> None:
    """Run a probe; an error is part of what is printed."""
    try:
        found = PROBES[name]()
    except ModuleNotFoundError as error:
        found = {"missing": error.name}
    except Exception as error:  # whatever a broken library raises is what is asked for
        found = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
