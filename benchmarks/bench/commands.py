"""Jobs of the packages' commands, as the rows on all kinds of data use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from benchmarks.bench.jobs import DEVICE, OUT, Job
from benchmarks.bench.recipes import Plain, yaml_text

PROTOCOL_OPTIONS = {
    "linear": (),
    "knn": ("--k", "[1]"),
    "semi": ("--shares", "[0.1]"),
    "finetune": (),
}
"""Of ``ski-skeleton probe`` by its protocol."""


def by_recipe(
    name: str,
    command: tuple[str, str],
    plain: Plain,
    *,
    kind: str,
    needs: Sequence[Job] = (),
    seed: int | None = None,
    done: str | None = "run/model",
    units: int | None = 1,
    steps: int | None = None,
    size: int = 0,
    distributed: bool = False,
) -> Job:
    """A command that takes a recipe and fills the job's folder ``run``.

    Args:
        name: what it does, in words.
        command: program and subcommand.
        plain: the recipe.
        kind: which rate its time is estimated by.
        needs: jobs before it.
        seed: of commands whose recipe says none.
        done: what in the job's folder says that it is finished; None: it may run again.
        units: amount of work.
        steps: of the optimiser, where they are known.
        size: bytes that it fills.
        distributed: whether several processes may share it.
    """
    seeded = () if seed is None else ("--seed", str(seed))
    return Job(
        name=name,
        argv=(*command, f"{OUT}/recipe.yaml", "--out", f"{OUT}/run", *seeded),
        files={"recipe.yaml": yaml_text(plain)},
        needs=tuple(needs),
        done=None if done is None else f"{OUT}/{done}",
        kind=kind,
        units=units,
        steps=steps,
        bytes=size,
        distributed=distributed,
    )


def skeleton_features(
    name: str,
    encoder: Job,
    store: str,
    *,
    maps: bool,
    kind: str,
    size: int,
    dataset: str | None = None,
) -> Job:
    """Features of every clip of a store by the classifier of another job.

    Args:
        name: what it does, in words.
        encoder: that trains the classifier.
        store: of skeletons.
        maps: features of every joint and time step in the place of a vector.
        kind: which rate its time is estimated by.
        size: bytes that it fills.
        dataset: whose classes and people clips have that say nothing of them.
    """
    target = f"{OUT}/features.safetensors"
    known = () if dataset is None else ("--dataset", dataset)
    extra = ("--extract.maps", "true") if maps else ()
    return Job(
        name=name,
        argv=(
            *("ski-skeleton", "features", f"{encoder.out}/run/model", store),
            *(target, "--device", DEVICE, *known, *extra),
        ),
        needs=(encoder,),
        done=target,
        kind=kind,
        units=1,
        bytes=size,
    )


def flow(plain: Any) -> str:
    """Settings as one word of a command line."""
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).strip()
