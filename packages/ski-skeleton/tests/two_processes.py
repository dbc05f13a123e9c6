"""Small trainings, run by pytest in one process and by torchrun in two: FILE OUT."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tiny_run import TINY_CLIP

from ski_skeleton.errors import ConfigError, RunError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text.clip import ClipConfig
from ski_skeleton.train import OptimConfig, Task, TrainConfig, fit
from ski_skeleton.train.tasks import AlignSkeletons, ClassifySkeletons

CASES = ("plain", "accumulated", "batch-norm", "align", "dropout")


class Clips:
    """Skeletons drawn from epoch and index."""

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 20

    def __getitem__(self, index):
        rng = np.random.default_rng([self.epoch, index])
        clip = rng.standard_normal((3, 4, 25, 1)).astype(np.float32)
        clip[index % 3] += 1
        return {"index": index, "skeleton": clip, "label": index % 3}


class Plain(Task):
    """Two losses of unlike weight, no batch norm."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(300, 8), torch.nn.Tanh(), torch.nn.Dropout(dropout)
        )
        self.head, self.side = torch.nn.Linear(8, 3), torch.nn.Linear(8, 1)

    def losses(self, batch):
        hidden = self.net(batch["skeleton"])
        main = torch.nn.functional.cross_entropy(self.head(hidden), batch["label"])
        side = (self.side(hidden).squeeze(-1) - batch["label"]).square().mean()
        return {"loss": main + 0.3 * side, "side": side}


def build(case: str) -> tuple[Task, TrainConfig]:
    torch.manual_seed(3)
    config = TrainConfig(
        epochs=3,
        batch_size=8,
        accumulation=2 if case == "accumulated" else 1,
        log_every=1,
        checkpoint_seconds=0.0,
        optim=OptimConfig(name="sgd", lr=0.05),
    )
    if case in ("plain", "accumulated", "dropout"):
        return Plain(0.5 if case == "dropout" else 0.0), config
    sizes = HyperformerConfig(heads=1, strides=(1, 2), persons=1, output=3)
    if case == "batch-norm":
        return ClassifySkeletons(Hyperformer(sizes)), config
    clip = replace(TINY_CLIP, embed=3)
    settings = SkeletonClipConfig(
        encoder=sizes, clip=ClipConfig(architecture=None, sizes=clip), temperature=0.1
    )
    return AlignSkeletons(SkeletonClip(settings), ["sit", "wave", "bow"]), config


class Stopped(Plain):
    """Stops at its fifth batch."""

    calls = 0

    def losses(self, batch):
        self.calls += 1
        if self.calls == 5:
            raise KeyboardInterrupt
        return super().losses(batch)


def main(out: Path) -> None:
    """Every case, then one that was stopped and goes on, then folders that are not shared."""
    for case in CASES:
        task, config = build(case)
        fit(task, Clips(), config, out / case)
        rank = torch.distributed.get_rank()
        torch.save(task.state_dict(), out / f"{case}-{rank}.pt")
    torch.manual_seed(3)
    task, config = Stopped(0.5), build("dropout")[1]
    with contextlib.suppress(KeyboardInterrupt):
        fit(task, Clips(), config, out / "stopped")
    task.calls = 5
    fit(task, Clips(), config, out / "stopped")
    torch.save(task.state_dict(), out / f"stopped-{rank}.pt")
    try:
        fit(*build("plain")[:1], Clips(), config, out / ("plain" if rank == 0 else "elsewhere"))
    except RunError as error:
        (out / f"error-{rank}.txt").write_text(str(error), encoding="utf-8")
    odd = replace(build("plain")[1], batch_size=7)
    try:
        fit(Plain(), Clips(), odd, out / "odd")
    except ConfigError as error:
        (out / f"odd-{rank}.txt").write_text(str(error), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
