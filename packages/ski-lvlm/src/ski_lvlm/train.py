"""Training the projectors over a frozen language model, on any number of processes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from ski_data.config import to_plain
from ski_data.instructions import read_instructions
from ski_lvlm import checkpoints
from ski_lvlm.base import load_language_model, load_tokenizer
from ski_lvlm.conversations import (
    Conversations,
    clip_grouped,
    length_grouped,
)
from ski_lvlm.convert import from_published_file
from ski_lvlm.engine import (
    DeepSpeedEngine,
    Engine,
    PlainEngine,
    deepspeed_config,
    processes,
    world,
)
from ski_lvlm.errors import ConfigError
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.history import History, matmul_flops
from ski_lvlm.lvlm_folder import LvlmConfig, assemble, save_lvlm
from ski_lvlm.model import Batch, SkiLvlm, check_packing
from ski_lvlm.projector import Projectors, load_projectors
from ski_lvlm.recipe import LvlmRecipe, learning_rate, model_config
from ski_skeleton.errors import CheckpointError, DivergedError, RunError
from ski_skeleton.weights import read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)

Report = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a short text."""


def train(recipe: LvlmRecipe, out: str | Path, *, report: Report | None = None) -> Path:
    """Train, and write the model folder ``OUT/model``; called again after a kill, it goes on.

    ``OUT`` gets ``config.yaml``, ``log.jsonl`` and ``checkpoints/``. The course of the training
    does not depend on the number of processes but for rounding, and they may be others when it
    goes on.

    Returns:
        The model folder, which the first process writes.

    Raises:
        RunError: The folder holds a run with other settings.
        ConfigError: Settings that do not fit the base model or the number of processes.
        PromptError, FeatureError: Data that cannot be used.
        DivergedError: A loss that is not finite; names the step and its pairs.
    """
    out = Path(out)
    with processes(recipe.zero) as device:
        rank, ranks = world()
        if recipe.batch_size % (recipe.micro_batch * ranks):
            raise ConfigError(
                f"batch_size {recipe.batch_size} cannot be dealt to {ranks} processes in "
                f"micro-batches of {recipe.micro_batch}; change micro_batch or the processes"
            )
        if (out / "model").exists():
            raise RunError(f"{out / 'model'}: already trained; choose another run folder")
        run = _Run(recipe, out, device, report)
        if rank == 0:
            checkpoints.claim(out, recipe)
        if dist.is_initialized():
            dist.barrier()
        run.go()
        return out / "model"


class _Run:
    """One process of a training run."""

    def __init__(
        self, recipe: LvlmRecipe, out: Path, device: torch.device, report: Report | None
    ) -> None:
        self.recipe, self.out, self.device, self.report = recipe, out, device, report
        self.rank, self.ranks = world()
        stores = self.stores = {
            name: None if (path := getattr(recipe.data, name)) is None else FeatureStore(path)
            for name in ("video", "skeleton")
        }
        for name, store in stores.items():
            if store is None and getattr(recipe.prompts, name) != "absent":
                raise ConfigError(
                    f"prompts.{name} is {getattr(recipe.prompts, name)}, but data.{name} names no "
                    f"features; name them, or set prompts.{name} to absent"
                )
        self.model_config, self.model, tokenizer = _model(recipe, stores, device)
        self.data = Conversations(
            read_instructions(recipe.data.pairs),
            tokenizer,
            self.model.vocabulary,
            recipe.prompts,
            video=stores["video"],
            skeleton=stores["skeleton"],
        )
        self.steps_per_epoch = len(self.data) // recipe.batch_size
        if self.steps_per_epoch == 0:
            raise ConfigError(
                f"{recipe.data.pairs}: {len(self.data)} usable pairs are less than one batch of "
                f"{recipe.batch_size}; lower batch_size"
            )
        self.total = self.steps_per_epoch * recipe.epochs

    def go(self) -> None:
        recipe = self.recipe
        saved = checkpoints.latest(self.out)
        step = 0
        state = None
        if saved is not None:
            state, step = checkpoints.read(saved)
            checkpoints.put(self.model, state, saved)
            log.info("%s: going on from update %d of %d", self.out, step, self.total)
        if recipe.checkpointing:
            self.model.language_model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        engine = self._engine()
        self.model.train()
        if recipe.checkpointing:
            self.model.language_model.train()  # transformers recomputes only in this mode
        if state is not None:
            engine.load(state, step, self._micro_batches(step)[0])
        ceiling = matmul_flops(self.device, getattr(torch, recipe.precision))
        history = History(self.out, step, self.rank == 0, self._flops(), ceiling)
        while step < self.total:
            torch.manual_seed(
                int(np.random.SeedSequence([recipe.seed, step, self.rank]).generate_state(1)[0])
            )
            tokens = int(self.data.supervised[self._indices(step)].sum())
            for batch in self._micro_batches(step):
                history.add(engine.backward(batch, tokens), batch)
            rate = learning_rate(recipe, step, self.total)
            norm = engine.step(rate)
            step += 1
            if not math.isfinite(norm) or step % recipe.log_every == 0 or step == self.total:
                line = history.flush(step, step / self.steps_per_epoch, rate, norm)
                if not math.isfinite(line["loss"]) or not math.isfinite(norm):
                    ids = [self.data.pairs[i].id for i in self._indices(step - 1)]
                    raise DivergedError(
                        f"update {step}: the loss is {line['loss']}, the gradient's norm {norm}; "
                        f"pairs {', '.join(ids)}; check their features or lower lr"
                    )
                if self.report is not None and self.rank == 0:
                    self.report(step, self.total, f"loss {line['loss']:.3f}")
            if step % recipe.checkpoint_every == 0 or step == self.total:
                state = engine.state()
                if self.rank == 0:
                    checkpoints.write(self.out, step, state)
        self._save(engine.state())

    def _engine(self) -> Engine:
        recipe = self.recipe
        if recipe.zero == "none":
            return PlainEngine(self.model, clip_norm=recipe.clip_norm)
        config = deepspeed_config(
            recipe.zero,
            micro_batch=recipe.micro_batch,
            parts=recipe.batch_size // (recipe.micro_batch * self.ranks),
            ranks=self.ranks,
            clip_norm=recipe.clip_norm,
            bfloat16=recipe.precision == "bfloat16",
        )
        return DeepSpeedEngine(self.model, config)

    def _indices(self, step: int) -> np.ndarray:
        """Pairs of an update, over all processes."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size, seed = self.recipe.batch_size, self.recipe.seed
        if self.recipe.by_clip:
            clips = [pair.video for pair in self.data.pairs]
            first = self.data.features_first
            return clip_grouped(clips, first, size, seed=seed, epoch=epoch)[place]
        return length_grouped(self.data.lengths, size, seed=seed, epoch=epoch)[place]

    def _micro_batches(self, step: int) -> list[Batch]:
        """This process's share of an update; prompts of one micro-batch are about equally long."""
        indices, size = self._indices(step), self.recipe.micro_batch
        parts = [indices[at : at + size] for at in range(0, len(indices), size)]
        epoch = step // self.steps_per_epoch
        return [
            _to(self.data.batch(part, seed=self.recipe.seed, epoch=epoch), self.device)
            for part in parts[self.rank :: self.ranks]
        ]

    def _flops(self) -> Callable[[Batch], float]:
        """Floating point operations of forward and backward: 4 per frozen weight and token."""
        decoder = self.model.language_model.get_decoder()
        weights = sum(_size(p) for p in decoder.parameters())
        weights -= _size(self.model.language_model.get_input_embeddings().weight)
        config = self.model.language_model.config
        attention = 6 * config.hidden_size * config.num_hidden_layers

        def count(batch: Batch) -> float:
            lengths = batch.mask.sum(1).double()
            return float(4 * weights * lengths.sum() + attention * (lengths**2).sum())

        return count

    def _save(self, state: dict[str, torch.Tensor]) -> None:
        if self.rank != 0:
            return
        recipe = self.recipe
        weights = {name: state[name] for name in state if not name.startswith("exp_avg")}
        meta = {
            "base": to_plain(recipe.base),
            "prompts": to_plain(recipe.prompts),
            "data": to_plain(recipe.data),
            "features": {n: None if s is None else s.meta for n, s in self.stores.items()},
            "pairs": len(self.data),
            "pairs_cut": self.data.cut,
            "pairs_dropped": self.data.dropped,
            "updates": self.total,
            "seed": recipe.seed,
        }
        save_lvlm(self.out / "model", self.model_config, weights, meta)


def _model(
    recipe: LvlmRecipe, stores: dict[str, FeatureStore | None], device: torch.device
) -> tuple[LvlmConfig, SkiLvlm, PreTrainedTokenizerFast]:
    """The model to train, its projectors as new or as ``recipe.start`` has them."""
    channels = {
        name: store.channels or store[store.names[0]].shape[1]
        for name, store in stores.items()
        if store is not None and getattr(recipe.prompts, name) != "absent"
    }
    tokenizer, vocabulary = load_tokenizer(recipe.base)
    language_model = load_language_model(
        recipe.base, precision=recipe.precision, device=device, attention=recipe.attention
    )
    if recipe.packed:
        check_packing(language_model, recipe.base.name)
    width = language_model.get_input_embeddings().weight.shape[1]
    config = model_config(recipe, width, channels)
    torch.manual_seed(recipe.seed)
    model = assemble(language_model, vocabulary, config)
    model.packed = recipe.packed
    if recipe.start is not None:
        _start(model.projectors, recipe.start, vocabulary)
    return config, model, tokenizer


def _start(projectors: Projectors, path: str, vocabulary: int) -> None:
    """Copy what the start has of the projectors; a skeleton projector it lacks stays new."""
    if Path(path).is_dir():
        given = load_projectors(path)[0]
    else:
        given = from_published_file(read_weights(path), path, vocabulary=vocabulary)
    ours, theirs = dict(projectors.named_parameters()), dict(given.named_parameters())
    parts = {name.split(".")[0] for name in theirs} & {name.split(".")[0] for name in ours}
    for name, parameter in ours.items():
        if name.split(".")[0] not in parts:
            continue
        if name not in theirs or theirs[name].shape != parameter.shape:
            found = tuple(theirs[name].shape) if name in theirs else "nothing"
            raise CheckpointError(
                f"{path}: {name} must be {tuple(parameter.shape)}, found {found}; start from "
                "projectors of this base model and these features"
            )
        with torch.no_grad():
            parameter.copy_(theirs[name])


def _size(parameter: torch.Tensor) -> int:
    """Numbers in a parameter, also where DeepSpeed has taken it apart."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _to(batch: Batch, device: torch.device) -> Batch:
    def move(values: Any) -> Any:
        if values is None:
            return None
        if isinstance(values, torch.Tensor):
            return values.to(device, non_blocking=True)
        return [move(value) for value in values]

    return Batch(*(move(getattr(batch, f.name)) for f in fields(batch)))
