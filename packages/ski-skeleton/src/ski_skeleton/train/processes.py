"""Several processes, started by torchrun or accelerate: the first one writes, norms see all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ski_data.progress import Progress
from ski_skeleton.errors import ConfigError


def is_main_process() -> bool:
    """Whether this process writes results: the only one, or rank 0 of those of all nodes."""
    return int(os.environ.get("RANK", "0")) == 0


def process_count() -> int:
    """How many processes of all nodes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def need_one_process(what: str) -> None:
    """Refuse ``what``, which is not shared out, under torchrun.

    Raises:
        ConfigError: there are several processes.
    """
    if process_count() > 1:
        raise ConfigError(f"{what} runs in one process; start it without torchrun")


@contextlib.contextmanager
def stage(title: str) -> Iterator[Callable[[int, int, str], None] | None]:
    """Progress of one piece of training on standard error; None in all but the main process."""
    if not is_main_process():
        yield None
        return
    with Progress(title, total=1) as progress:
        yield progress.report


def all_rows(rows: Tensor) -> Tensor:
    """Rows ``(N, ...)`` of all processes, those of rank 0 first; gradients find their way back.

    A loss that compares the samples of a batch takes them through this; it is then the same on
    every process, and its gradient, averaged over processes, is that of one with the whole batch.
    Every process must hold equally many rows.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    if rows.dtype == torch.bool:  # which not every backend sends
        return all_rows(rows.to(torch.uint8)).bool()
    gathered: Tensor = _Gather.apply(rows)
    return gathered


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward, the sum over processes of the gradient of one's own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad[dist.get_rank() * ctx.count :][: ctx.count]


class WholeBatchNorm(TorchFunctionMode):
    """While it is entered, batch norms in training take mean and variance over all processes.

    Every process must hold equally many samples. The gradient goes through the statistics, so a
    step equals that of one process with the whole batch; running statistics are equal everywhere.
    Unlike ``torch.nn.SyncBatchNorm`` it works on the CPU and changes no module.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace ``batch_norm`` in training, leave everything else."""
        given = dict(kwargs or {})
        if func is F.batch_norm:
            names = ("input", "running_mean", "running_var", "weight", "bias", "training")
            names += ("momentum", "eps")
            found = {**dict(zip(names, args, strict=False)), **given}
            if found.pop("training", False):
                x = found.pop("input")
                return whole_batch_norm(x, **found)
        return func(*args, **given)


def whole_batch_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm of ``(N, C, ...)`` with the statistics of all processes, in float32.

    Each process holds an equal share; running statistics change in place, the variance unbiased.
    """
    ranks, axes = dist.get_world_size(), [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    with torch.autocast(x.device.type, enabled=False):
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        var, mean = torch.var_mean(wide, axes, correction=0)
        own = torch.stack([mean, var])
        parts = torch.stack(
            [own if rank == dist.get_rank() else torch.zeros_like(own) for rank in range(ranks)]
        )
        parts = _SumOverProcesses.apply(parts)
        mean = parts[:, 0].mean(0)
        var = (parts[:, 1] + (parts[:, 0] - mean).square()).mean(0)
        if running_mean is not None and running_var is not None:
            count = ranks * x.numel() // x.shape[1]
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                unbiased = var * (count / max(1, count - 1))
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        scale = torch.rsqrt(var + eps)
        if weight is not None:
            scale = scale * weight
        out = (wide - mean.view(shape)) * scale.view(shape)
        if bias is not None:
            out = out + bias.view(shape)
        return out.to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        total = grads[0].clone()
        dist.all_reduce(total)
        return total
