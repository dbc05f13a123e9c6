"""Weight files: safetensors, or PyTorch archives read without unpickling code; always strict."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ski_data.errors import MissingFileError
from ski_data.folders import usual_permissions
from ski_skeleton.errors import CheckpointError

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Keys under which published checkpoints keep their state dict."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """State dict of a ``.safetensors`` file or a PyTorch archive, on the CPU.

    Known wrapper keys are opened and the ``module.`` prefix of parallel training removed.

    Raises:
        MissingFileError: no such file.
        CheckpointError: the file is no weight file, or would need unpickling of code.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such weight file")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path}: not a readable safetensors file ({error}); copy or convert it again"
            ) from error
    content = load_plain(path)
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds no state dict, but {type(content).__name__}")
    odd = [str(k) for k, v in content.items() if not isinstance(v, Tensor)]
    if odd:
        raise CheckpointError(f"{path}: entries that are no tensors: {shorten(odd)}")
    return {str(k).removeprefix("module."): v for k, v in content.items()}


def load_plain(path: Path) -> Any:
    """Content of a PyTorch archive of tensors and plain values; no code of the file runs.

    Raises:
        CheckpointError: damaged, of another kind, or with objects that only code can build.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader raise anything
        raise CheckpointError(
            f"{path}: damaged, or not a PyTorch archive of plain tensors; files that need full "
            "unpickling are refused: get it again, or save the state dict alone, or as safetensors"
        ) from error


def write_weights(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors; the file appears whole or not at all."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    with usual_permissions(part):
        safetensors.torch.save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}, part
        )
    os.replace(part, path)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load ``state`` into ``module``; every entry must be there, fit, and be wanted.

    Raises:
        CheckpointError: naming the missing, unknown and misshapen entries.
    """
    wanted = module.state_dict()
    problems = coverage(
        {k: tuple(v.shape) for k, v in wanted.items()},
        {k: tuple(v.shape) for k, v in state.items()},
    )
    if problems:
        raise CheckpointError(f"{source} does not fit {type(module).__name__}: {problems}")
    module.load_state_dict(dict(state))


def coverage(
    wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> str | None:
    """What keeps ``given`` entries (name to shape) from covering ``wanted`` ones, in words."""
    missing = [k for k in wanted if k not in given]
    unknown = [k for k in given if k not in wanted]
    shapes = [
        f"{k} is {given[k]}, wanted {wanted[k]}"
        for k in wanted
        if k in given and given[k] != wanted[k]
    ]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(wanted)} entries missing ({shorten(missing)})")
    if unknown:
        parts.append(f"{len(unknown)} unknown entries ({shorten(unknown)})")
    if shapes:
        parts.append(f"{len(shapes)} of another shape ({shorten(shapes)})")
    return "; ".join(parts) or None


def shorten(names: list[str], limit: int = 4) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
