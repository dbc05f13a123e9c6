"""Starting a training: in this process, or in several that torch's launcher watches."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time

from ski_data.progress import Progress
from ski_lvlm.errors import ConfigError, LaunchError
from ski_lvlm.recipe import read_recipe
from ski_lvlm.train import train

_PATIENCE = 10.0


def run(recipe: str, out: str) -> int:
    """Train in this process, or as the one of a launcher's processes that this is."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        settings = read_recipe(recipe)
        if rank:
            train(settings, out)
            return 0
        with Progress(f"train {out}", 1) as progress:
            folder = train(settings, out, report=progress.report)
    except Exception as error:
        if rank and getattr(error, "exit_code", None) is not None:
            time.sleep(_PATIENCE)  # the first process says the same, and its end ends this one
        raise
    print(folder)
    return 0


def launch(recipe: str, out: str, processes: int) -> int:
    """Train in ``processes`` processes on this machine.

    Raises:
        ConfigError: Fewer than one process, or a launcher has started this one already.
        LaunchError: A process ended by a signal.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if processes < 1:
        raise ConfigError(f"--processes must be at least 1, not {processes}")
    if "RANK" in os.environ:
        raise ConfigError("a launcher started this process: leave --processes out")
    read_recipe(recipe)
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"ski-lvlm-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    arguments = ("-m", "ski_lvlm", "train", recipe, "--out", out)
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        raise LaunchError(
            f"{out}: process {rank} of {processes} was ended by {name}, the others were stopped; "
            "run the same command again to go on from the last checkpoint"
        ) from None
    return 0
