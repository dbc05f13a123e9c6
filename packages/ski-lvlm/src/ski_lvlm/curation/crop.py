"""Person crops as the published data was cut: a box around everybody in each frame, squeezed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ski_data.manifest import Record
from ski_data.video.decode import probe, read_all
from ski_data.video.overlay import write_mp4
from ski_data.video.people import COLOUR_SIZE, ImageJoints, colour_joints
from ski_lvlm.curation.errors import CurationError

SIZE, SLACK = 224, 64
Report = Callable[[int, int, str], None]
"""Called with clips done, clips in all, and a short text."""


def frame_boxes(joints: ImageJoints, width: int, height: int, slack: int = SLACK) -> np.ndarray:
    """Box x0, y0, x1, y1 of each frame, int64 (T, 4), around the joints of all bodies.

    The box is ``slack`` pixels wider and higher than the joints, half of it on each side, and cut
    to the picture. A frame without a body in the picture takes the box of the nearest frame that
    has one (LLAVIDAL's person crops).

    Raises:
        CurationError: No body in any frame, or a negative slack.
    """
    if slack < 0:
        raise CurationError(f"slack must be 0 or more pixels, not {slack}")
    size = np.array([width, height], np.float64)
    points = joints.points.transpose(1, 0, 2, 3).reshape(joints.points.shape[1], -1, 2)
    boxes = np.zeros((len(points), 4), np.int64)
    found = np.zeros(len(points), bool)
    for frame, all_points in enumerate(points.astype(np.float64)):
        inside = np.isfinite(all_points).all(1)
        inside[inside] = ((all_points[inside] >= 0) & (all_points[inside] <= size)).all(1)
        if not inside.any():
            continue
        low = np.floor(all_points[inside].min(0) - slack / 2)
        high = np.ceil(all_points[inside].max(0) + slack / 2)
        low, high = np.clip(low, 0, size - 1), np.clip(high, 1, size)
        boxes[frame] = [*low, *np.maximum(high, low + 1)]
        found[frame] = True
    if not found.any():
        raise CurationError("no body is in the picture in any frame")
    known = found.nonzero()[0]
    nearest = known[np.abs(np.arange(len(points))[:, None] - known).argmin(1)]
    return boxes[nearest]


def crop_frames(frames: np.ndarray, boxes: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Each frame of uint8 (T, H, W, 3) cut to its box and squeezed, uint8 (T, size, size, 3)."""
    made = np.empty((len(frames), size, size, 3), np.uint8)
    for number, (frame, (x0, y0, x1, y1)) in enumerate(zip(frames, boxes, strict=True)):
        part = torch.from_numpy(np.ascontiguousarray(frame[y0:y1, x0:x1]))
        part = part.permute(2, 0, 1)[None].float()
        resized = F.interpolate(part, (size, size), mode="bilinear", antialias=True)
        made[number] = resized[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return made


def crop_videos(
    records: Sequence[Record],
    out: str | Path,
    *,
    colour_size: tuple[int, int] = COLOUR_SIZE,
    slack: int = SLACK,
    report: Report | None = None,
) -> tuple[int, list[str]]:
    """Write ``OUT/NAME.mp4`` for every clip with a skeleton; what is there is kept.

    Args:
        records: Clips; skeletons are ``.skeleton`` files with colour coordinates.
        out: Folder.
        colour_size: Width and height that these coordinates refer to.
        slack: Pixels that a box is wider and higher than the joints.
        report: Told how far it is.

    Returns:
        Number of clips that are there, and names of those skipped for want of a skeleton.

    Raises:
        InputError: A video or skeleton file that cannot be read.
        CurationError: No clip has both a video and a skeleton, or one shows no body.
    """
    usable = [r for r in records if r.video is not None and r.skeleton is not None]
    if not usable:
        raise CurationError("no clip has a video and a skeleton; crops need both")
    skipped = [r.name for r in records if r.video is None or r.skeleton is None]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(usable, 1):
        target = folder / f"{record.name}.mp4"
        if not target.exists():
            _crop(record, target, colour_size, slack)
        if report is not None:
            report(number, len(usable), record.name)
    return len(usable), skipped


def _crop(record: Record, target: Path, colour_size: tuple[int, int], slack: int) -> None:
    assert record.video is not None
    assert record.skeleton is not None
    info = probe(record.video)
    joints = colour_joints(record.skeleton, info.width, info.height, colour_size)
    try:
        boxes = frame_boxes(joints, info.width, info.height, slack)
    except CurationError as error:
        raise CurationError(f"{record.skeleton}: {error}") from None
    frames = read_all(record.video)
    # A recording may have a frame more or less than its skeletons: the last box stays.
    boxes = boxes[np.minimum(np.arange(len(frames)), len(boxes) - 1)]
    write_mp4(target, crop_frames(frames, boxes), info.fps or 25.0)  # 0: one frame only
