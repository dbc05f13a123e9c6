"""What ``ski-lvlm features`` does: a share in every process, the index by the first."""

from __future__ import annotations

from typing import Literal

import torch.distributed as dist

from ski_data.errors import InputError
from ski_data.manifest import read_manifest
from ski_data.progress import Progress
from ski_data.store import SkeletonStore
from ski_lvlm.engine import processes, world
from ski_lvlm.feature_store import finish
from ski_lvlm.features import (
    SkeletonTokens,
    Stored,
    VideoTokens,
    skeleton_features,
    video_features,
)
from ski_skeleton.text.clip import ClipConfig


def make(
    kind: Literal["video", "skeleton"],
    source: str,
    out: str,
    *,
    model: str | None,
    clip: tuple[str, str | None],
    layer: int,
    tokens: int,
    stored: Stored,
    batch_size: int,
    workers: int,
) -> None:
    """Make a feature store, alone or as one of a launcher's processes.

    Raises:
        InputError: A skeleton extraction without a model, or a batch size below 1.
    """
    if kind == "skeleton" and model is None:
        raise InputError("skeleton tokens need --model, a folder with a skeleton encoder")
    if batch_size < 1 or workers < 0:
        raise InputError(
            f"--batch_size must be at least 1 and --workers 0, got {batch_size} and {workers}"
        )
    with processes("none") as device, Progress(f"features {out}", 1) as progress:
        rank, ranks = world()
        shared = {"device": device, "rank": rank, "ranks": ranks, "report": progress.report}
        if kind == "video":
            records = read_manifest(source)
            settings = VideoTokens(ClipConfig(*clip), layer=layer, stored=stored)
            names = [record.name for record in records]
            video_features(records, out, settings, batch_size=batch_size, workers=workers, **shared)
        else:
            store = SkeletonStore(source)
            names = store.names
            skeleton_features(
                store, out, str(model), SkeletonTokens(tokens, stored=stored), **shared
            )
        if dist.is_initialized():
            dist.barrier()
        if rank == 0:
            finish(out, names)
