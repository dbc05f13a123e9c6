"""Training a whole pretrained encoder on labels, through the one trainer."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ski_skeleton.encoder import SkeletonEncoder
from ski_skeleton.errors import ConfigError
from ski_skeleton.evaluate import collect_scores
from ski_skeleton.store_clips import StoreClips
from ski_skeleton.train import OptimConfig, TrainConfig, fit
from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.train.task import Batch, Losses, Task

FINETUNE = TrainConfig(
    epochs=30,
    batch_size=64,
    clip_norm=1.0,
    optim=OptimConfig(lr=5e-4, weight_decay=0.05, betas=(0.9, 0.999), warmup_epochs=2),
)
"""Settings that are used unless others are given; the last epoch counts."""


class FineTune(Task):
    """Cross entropy of a linear layer on an encoder's features; both train."""

    def __init__(self, encoder: SkeletonEncoder, classes: int) -> None:
        super().__init__()
        if not isinstance(encoder, nn.Module):
            raise ConfigError("only an encoder that is a torch module can be trained further")
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, classes)

    def losses(self, batch: Batch) -> Losses:
        """``skeleton`` ``(N, 3, T, V, M)`` and ``label`` ``(N,)`` to ``loss`` and ``accuracy``."""
        logits = self.logits(batch)
        return {
            "loss": F.cross_entropy(logits, batch["label"]),
            "accuracy": (logits.argmax(-1) == batch["label"]).float().mean(),
        }

    def logits(self, batch: Batch) -> torch.Tensor:
        """Class scores ``(N, K)``."""
        scores: torch.Tensor = self.head(self.encoder.encode(batch["skeleton"]).features)
        return scores


def _head_parameters(encoder: SkeletonEncoder) -> list[nn.Parameter]:
    head = getattr(encoder, "head", None)
    return list(head.parameters()) if isinstance(head, nn.Module) else []


def finetune(
    encoder: SkeletonEncoder,
    train: StoreClips,
    test: StoreClips,
    classes: int,
    config: TrainConfig,
    folder: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    report: ProgressReport | None = None,
) -> torch.Tensor:
    """Train a copy of ``encoder`` with a fresh linear layer; scores of the test clips ``(N, K)``.

    Test clips are looked at once, after the last epoch. A killed run goes on in ``folder``; its
    checkpoints are removed at the end.
    """
    encoder = copy.deepcopy(encoder)
    for parameter in _head_parameters(encoder):
        parameter.requires_grad_(False)
    torch.manual_seed(seed)
    task = FineTune(encoder, classes)
    fit(task, train, replace(config, seed=seed), folder, report=report)
    scores = collect_scores(task.to(device).logits, test, device=device)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return torch.from_numpy(scores.logits)
