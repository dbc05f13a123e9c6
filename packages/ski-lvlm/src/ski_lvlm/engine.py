"""One optimiser step, in plain PyTorch or by DeepSpeed: the same losses, the same checkpoints.

Weights of what trains are kept in float32 whatever the model computes in. A checkpoint holds these
and the moments of AdamW under the names of the parameters, whole, so that a run goes on with any
engine and any number of processes.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ski_lvlm.errors import ConfigError
from ski_lvlm.model import Batch, Loss

Zero = Literal["none", "0", "2", "3", "3_offload"]
"""``none`` is plain PyTorch; the others are DeepSpeed's stages."""

MOMENTS = ("exp_avg", "exp_avg_sq")
State = dict[str, Tensor]
"""``NAME`` float32 weights, ``exp_avg.NAME`` and ``exp_avg_sq.NAME``, on the CPU."""


class Engine(Protocol):
    """What the training loop needs."""

    def backward(self, batch: Batch, tokens: int) -> Loss:
        """Forward and backward of one micro-batch; the gradient is of its loss sum / ``tokens``.

        ``tokens`` are those of the whole step, over all micro-batches and processes.
        """

    def step(self, rate: float) -> float:
        """Sum gradients over processes, clip, update, and forget them; the norm before clipping."""

    def state(self) -> State:
        """Weights and moments, whole, on every process."""

    def load(self, state: Mapping[str, Tensor], step: int, sample: Batch) -> None:
        """Go on from :meth:`state` after ``step`` updates; ``sample`` is any micro-batch."""


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that train, by name."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise ConfigError("nothing to train: no parameter requires a gradient")
    return found


def world() -> tuple[int, int]:
    """Number of this process and of all; (0, 1) without a process group."""
    if not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


class PlainEngine:
    """AdamW on float32 copies of what trains; gradients are summed over the process group."""

    def __init__(self, model: nn.Module, *, clip_norm: float) -> None:
        self.model, self.clip_norm = model, clip_norm
        self.parameters = trainable(model)
        self.masters = {
            name: p.detach().float().clone().requires_grad_() for name, p in self.parameters.items()
        }
        self.optimizer = adamw(self.masters.values())

    def backward(self, batch: Batch, tokens: int) -> Loss:
        """See :class:`Engine`."""
        loss = self.model(batch)
        (loss.sum / tokens).backward()
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            if parameter.grad is not None:
                grad = parameter.grad.float()
                master.grad = grad if master.grad is None else master.grad + grad
                parameter.grad = None
        return loss

    def step(self, rate: float) -> float:
        """See :class:`Engine`."""
        for master in self.masters.values():
            if master.grad is None:
                master.grad = torch.zeros_like(master)
            if dist.is_initialized():
                dist.all_reduce(master.grad)
        norm = nn.utils.clip_grad_norm_(list(self.masters.values()), self.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._publish()
        return float(norm)

    def state(self) -> State:
        """See :class:`Engine`."""
        found = {name: master.detach() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for moment in MOMENTS:
                value = self.optimizer.state[master].get(moment, torch.zeros_like(master))
                found[f"{moment}.{name}"] = value
        return {name: value.cpu().clone() for name, value in found.items()}

    def load(self, state: Mapping[str, Tensor], step: int, sample: Batch) -> None:
        """See :class:`Engine`."""
        del sample  # only DeepSpeed needs one
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(state[name])
                self.optimizer.state[master] = {
                    "step": torch.tensor(float(step)),
                    **{key: state[f"{key}.{name}"].to(master.device).clone() for key in MOMENTS},
                }
        self._publish()

    def _publish(self) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.masters[name])


class DeepSpeedEngine:
    """The same by DeepSpeed, which may share weights, gradients and moments among processes.

    Args:
        model: Holds its first weights, or those of the checkpoint that :meth:`load` will be given.
        config: See :func:`deepspeed_config`.
    """

    def __init__(self, model: nn.Module, config: Mapping[str, Any]) -> None:
        import deepspeed

        parameters = trainable(model)
        optimizer = adamw(parameters.values())
        self.stage = int(config["zero_optimization"]["stage"])
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=model,
            model_parameters=list(parameters.values()),
            optimizer=optimizer,
            config=dict(config),
        )
        self.parameters = trainable(self.engine.module)
        self._parts = int(config["gradient_accumulation_steps"])
        self._done_parts = 0
        self._fix_step_count(0)

    def backward(self, batch: Batch, tokens: int) -> Loss:
        """See :class:`Engine`."""
        loss = self.engine(batch)
        # DeepSpeed takes the mean over processes and micro-batches where a sum is due.
        self.engine.backward(loss.sum * (world()[1] * self._parts / tokens))
        self._done_parts += 1
        if self._done_parts < self._parts:
            self.engine.step()  # counts the micro-batch; the update is made in step()
        return loss

    def step(self, rate: float) -> float:
        """See :class:`Engine`."""
        self._done_parts = 0
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return 0.0 if norm is None else float(norm)

    def state(self) -> State:
        """See :class:`Engine`."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        found: dict[str, Tensor | None] = {}
        for name, parameter in self.parameters.items():
            if self.stage == 0:
                master = self._masters()[name]
                moments = self._inner().state[master]
                found[name] = master.detach()
                found |= {f"{key}.{name}": moments.get(key) for key in MOMENTS}
            else:
                found[name] = safe_get_full_fp32_param(parameter)
                for key in MOMENTS:
                    found[f"{key}.{name}"] = safe_get_full_optimizer_state(parameter, key)
        return {name: value.detach().float().cpu().clone() for name, value in found.items()}  # type: ignore[union-attr]

    def load(self, state: Mapping[str, Tensor], step: int, sample: Batch) -> None:
        """See :class:`Engine`."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        # The optimiser makes its moments in its first update, here one of rate 0; only then can
        # DeepSpeed be given others.
        for _ in range(self._parts):
            self.backward(sample, 1)
        self.step(0.0)
        for name, parameter in self.parameters.items():
            if self.stage == 0:
                master = self._masters()[name]
                with torch.no_grad():
                    master.copy_(state[name])
                    parameter.copy_(state[name])
                self._inner().state[master] |= {
                    key: state[f"{key}.{name}"].to(master.device).clone() for key in MOMENTS
                }
            else:
                safe_set_full_fp32_param(parameter, state[name].to(self.engine.device))
                for key in MOMENTS:
                    value = state[f"{key}.{name}"].to(self.engine.device)
                    safe_set_full_optimizer_state(parameter, value, key)
        self._fix_step_count(step)

    def _inner(self) -> torch.optim.Optimizer:
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _masters(self) -> dict[str, Tensor]:
        """Stage 0: DeepSpeed's float32 copies, or in float32 the parameters themselves."""
        groups = getattr(self.optimizer, "fp32_groups", None)
        if groups is None:
            return dict(self.parameters)
        copies = [copy for group in groups for copy in group]
        return dict(zip(self.parameters, copies, strict=True))

    def _fix_step_count(self, step: int) -> None:
        """Updates so far; DeepSpeed makes one of zeros on its own in some stages."""
        for entry in self._inner().state.values():
            if "step" in entry:
                entry["step"] = torch.tensor(float(step))


def deepspeed_config(
    zero: Zero, *, micro_batch: int, parts: int, ranks: int, clip_norm: float, bfloat16: bool
) -> dict[str, Any]:
    """Settings of a stage for a run: the shipped file with the run's sizes.

    The files in ``deepspeed_configs`` are whole, with optimiser and schedule, for DeepSpeed's own
    launcher and any script; here these two come from the run, so they are left out.

    Args:
        zero: Stage.
        micro_batch: Prompts per process and micro-batch.
        parts: Micro-batches per process and step.
        ranks: Processes.
        clip_norm: Largest norm of the gradient.
        bfloat16: Compute in bfloat16.

    Raises:
        ConfigError: No such stage.
    """
    settings = shipped_config(zero)
    del settings["optimizer"], settings["scheduler"]
    settings |= {
        "train_batch_size": micro_batch * parts * ranks,  # DeepSpeed checks the product too
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": parts,
        "gradient_clipping": clip_norm,
        "bf16": {"enabled": bfloat16},
    }
    if not torch.cuda.is_available():
        stage = settings["zero_optimization"]
        if "overlap_comm" in stage:
            stage["overlap_comm"] = False
        if "offload_param" in stage:
            stage["offload_param"]["pin_memory"] = False
    return settings


def shipped_config(zero: Zero) -> dict[str, Any]:
    """DeepSpeed's settings of a stage as the file that comes with this package has them.

    Raises:
        ConfigError: No such stage.
    """
    folder = files("ski_lvlm") / "deepspeed_configs"
    file = folder / f"zero{zero}.json"
    if not file.is_file():
        known = sorted(f.name[4:-5] for f in folder.iterdir() if f.name.endswith(".json"))
        raise ConfigError(f"no DeepSpeed settings for {zero!r}; known: {', '.join(known)}")
    return json.loads(file.read_text(encoding="utf-8"))


def adamw(parameters: Iterable[Tensor]) -> torch.optim.AdamW:
    """The optimiser of both engines; every step sets the learning rate."""
    return torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


@contextmanager
def processes(zero: Zero) -> Iterator[torch.device]:
    """The process group of a launcher, if there is one, and this process's device."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    own = zero == "none" and ranks > 1 and not dist.is_initialized()
    before = set(os.environ)
    if zero != "none":
        _start_deepspeed(backend)  # stays until the process ends: it cannot be started twice
    elif own:
        dist.init_process_group(backend)
    try:
        yield device
    finally:
        if own:
            dist.destroy_process_group()
        for name in set(os.environ) - before:
            del os.environ[name]


def _start_deepspeed(backend: str) -> None:
    import deepspeed

    if "RANK" not in os.environ:  # one process without a launcher
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        os.environ |= dict.fromkeys(("RANK", "LOCAL_RANK"), "0")
        os.environ |= {"WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    # Its shared-memory collectives on CPUs would be compiled at the first run, for a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not dist.is_initialized():
        deepspeed.init_distributed(backend, verbose=False)
