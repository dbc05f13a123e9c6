"""The one training loop of the workspace, its schedules, checkpoints and model folders."""

from ski_skeleton.train.loop import TrainConfig, fit
from ski_skeleton.train.model_folder import read_model, write_model
from ski_skeleton.train.optim import OptimConfig, learning_rate
from ski_skeleton.train.task import Task

__all__ = [
    "OptimConfig",
    "Task",
    "TrainConfig",
    "fit",
    "learning_rate",
    "read_model",
    "write_model",
]
