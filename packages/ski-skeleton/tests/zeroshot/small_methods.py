"""Every method, small enough to learn the problem of ``problem.py`` in seconds."""

from __future__ import annotations

from ski_skeleton.zeroshot.pgfa import PgfaConfig
from ski_skeleton.zeroshot.sa_dvae import SaDvaeConfig
from ski_skeleton.zeroshot.smie import SmieConfig
from ski_skeleton.zeroshot.star import StarConfig
from ski_skeleton.zeroshot.synse import SynseConfig
from ski_skeleton.zeroshot.tdsm import TdsmConfig

METHODS = {
    "synse": SynseConfig(
        latent=8,
        cycles=1,
        cycle_steps=160,
        cross_start=20,
        kl_skeleton_start=20,
        lr=1.5e-2,
        samples=60,
        classifier_steps=60,
        classifier_lr=3e-2,
    ),
    "sa-dvae": SaDvaeConfig(
        semantic=16,
        instance=2,
        cycles=2,
        cycle_steps=80,
        batch_size=64,
        lr=1.5e-2,
        samples=60,
        classifier_steps=60,
        classifier_lr=3e-2,
    ),
    "smie": SmieConfig(hidden=(64, 32), epochs=40, batch_size=64, lr=2e-3, warmup_epochs=2),
    "star": StarConfig(
        part_names=("up", "down"),
        part_joints=((0, 1), (2, 3)),
        attributes=16,
        heads=2,
        hidden=32,
        epochs=30,
        lr=0.05,
        milestones=(15.0, 24.0),
    ),
    "pgfa": PgfaConfig(epochs=10, batch_size=64, lr=0.1, warmup_epochs=1),
    "tdsm": TdsmConfig(
        width=32,
        depth=2,
        heads=2,
        epochs=1,
        epoch_steps=120,
        batch_size=64,
        lr=3e-3,
        warmup_steps=10,
    ),
}
