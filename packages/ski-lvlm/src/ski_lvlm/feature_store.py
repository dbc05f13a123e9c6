"""Tokens of many clips on disk: shards of safetensors, with an index.

A store is a folder: ``*.safetensors``, some hundred clips each under their names;
``index.parquet``, one row per clip; ``meta.json``, what made the tokens. Folders of the published
kind, one pickle per clip, are read as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.folders import usual_permissions
from ski_data.plain_pickle import read_plain_pickle
from ski_lvlm.errors import FeatureError

INDEX, META = "index.parquet", "meta.json"
FORMAT = 1
SHARD_BYTES = 1 << 28


class FeatureStore:
    """Tokens by clip name, read when asked for.

    Args:
        folder: What :class:`FeatureWriter` wrote, or a folder of published ``NAME.pkl`` files.

    Attributes:
        folder: The same.
        meta: What made the tokens; empty for published files.
        rows: Tokens (L) of each clip by name; empty for published files, which do not tell.
        channels: Width (C) of every token, None for published files until one is read.

    Raises:
        MissingFileError: No such folder, or a part is missing.
        FeatureError: A part cannot be read or does not fit the others.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise MissingFileError(f"{self.folder}: no such feature store")
        self.meta: dict[str, Any] = {}
        self.rows: dict[str, int] = {}
        self.channels: int | None = None
        self._shards: dict[str, str] = {}
        self._open: dict[str, Any] = {}
        if not (self.folder / META).is_file():
            self._published()
            return
        self.meta = _read_meta(self.folder / META)
        self.channels = self.meta["channels"]
        try:
            table = pq.read_table(self.folder / INDEX).to_pydict()
            self._shards = dict(zip(table["name"], table["shard"], strict=True))
            self.rows = dict(zip(table["name"], table["rows"], strict=True))
        except FileNotFoundError:
            raise MissingFileError(
                f"{self.folder}: {INDEX} is missing: the extraction did not end; run the same "
                "command again"
            ) from None
        except (pa.ArrowException, OSError, KeyError) as error:
            raise FeatureError(f"{self.folder / INDEX}: not readable ({error})") from None
        absent = [s for s in sorted(set(self._shards.values())) if not (self.folder / s).is_file()]
        if absent:
            raise MissingFileError(
                f"{self.folder}: shards are missing: {', '.join(absent)}; extract the features "
                "again, what is there is kept"
            )

    def _published(self) -> None:
        files = sorted(path.name for path in self.folder.glob("*.pkl"))
        if not files:
            raise MissingFileError(
                f"{self.folder}: neither a feature store ({META}) nor published files (NAME.pkl)"
            )
        self._shards = {name.removesuffix(".pkl"): name for name in files}

    def __len__(self) -> int:
        return len(self._shards)

    def __contains__(self, name: str) -> bool:
        return name in self._shards

    @property
    def names(self) -> list[str]:
        """Clips in the order of the index."""
        return list(self._shards)

    def check(self, name: str) -> None:
        """Refuse a clip that is not there.

        Raises:
            FeatureError: No such clip.
        """
        if name not in self._shards:
            raise FeatureError(f"{self.folder}: no features of clip {name}")

    def __getitem__(self, name: str) -> Tensor:
        """Tokens (L, C) of a clip, as stored.

        Raises:
            FeatureError: No such clip, a damaged shard, or tokens of another shape.
        """
        self.check(name)
        shard = self._shards[name]
        path = self.folder / shard
        try:
            if path.suffix == ".pkl":
                tokens = _published_tokens(path)
            else:
                if shard not in self._open:
                    self._open[shard] = safe_open(path, "pt")
                tokens = self._open[shard].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise FeatureError(
                f"{path}: damaged or cut off ({error}); remove it and extract the features again"
            ) from None
        self.channels = self.channels or tokens.shape[-1]
        expected = (self.rows.get(name, len(tokens)), self.channels)
        if tuple(tokens.shape) != expected:
            raise FeatureError(
                f"{path}: tokens of clip {name} are {tuple(tokens.shape)}, not {expected}"
            )
        return tokens

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]


class FeatureWriter:
    """Writes a feature store, alone or as one of several processes; goes on after a kill.

    Every shard appears whole or not at all; :meth:`done` tells which clips need no more work.
    One process, after all have ended, calls :meth:`finish`.

    Args:
        folder: The store; it may hold shards of an interrupted run with the same ``meta``.
        meta: What makes the tokens: everything that they depend on, as plain values.
        rank: Number of this process, in the names of its shards.
        shard_bytes: Size at which a shard is written.

    Raises:
        ExistingOutputError: The folder holds a finished store, or one of other settings.
    """

    def __init__(
        self,
        folder: Path | str,
        meta: Mapping[str, Any],
        *,
        rank: int = 0,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.folder = Path(folder)
        self._rank, self._shard_bytes = rank, shard_bytes
        self._meta = {"format": FORMAT, **meta}
        if (self.folder / INDEX).exists():
            raise ExistingOutputError(f"{self.folder}: is there already; name another folder")
        claim = self.folder / f".{META}"
        text = json.dumps(self._meta, indent=1, sort_keys=True) + "\n"
        if claim.is_file():
            if claim.read_text(encoding="utf-8") != text:
                raise ExistingOutputError(
                    f"{self.folder}: holds part of an extraction with other settings; name another "
                    "folder or remove it"
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise ExistingOutputError(f"{self.folder}: is there already and no feature store")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(claim, text.encode("utf-8"))
        self._waiting: dict[str, Tensor] = {}
        self._bytes = 0
        self._number = 0

    def done(self) -> set[str]:
        """Clips that finished shards hold, of all processes."""
        return {name for _, name, _, _ in _clips(self.folder)}

    def add(self, name: str, tokens: Tensor) -> None:
        """Tokens (L, C) of a clip.

        Raises:
            FeatureError: Not a matrix, or values that are not finite numbers.
        """
        if tokens.ndim != 2 or 0 in tokens.shape or not tokens.is_floating_point():
            raise FeatureError(
                f"clip {name}: tokens {tuple(tokens.shape)} {tokens.dtype}; wanted floats (L, C)"
            )
        if not tokens.isfinite().all():
            raise FeatureError(f"clip {name}: tokens that are not finite numbers")
        if name in self._waiting:
            raise FeatureError(f"clip {name}: added twice")
        self._waiting[name] = tokens.contiguous().cpu()
        self._bytes += tokens.numel() * tokens.element_size()
        if self._bytes >= self._shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the shard that is being filled."""
        if not self._waiting:
            return
        while True:
            path = self.folder / f"shard-{self._rank:03d}-{self._number:05d}.safetensors"
            self._number += 1
            if not path.exists():
                break
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with usual_permissions(part):
                save_file(self._waiting, part)
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise InputError(
                f"{path}: cannot be written ({error}); free space, then run the same command again"
            ) from None
        self._waiting, self._bytes = {}, 0

    def finish(self, names: Sequence[str]) -> FeatureStore:
        """Write the index, when all processes have flushed.

        Args:
            names: Clips that must be there, in the order of the index.

        Raises:
            FeatureError: Clips that are missing, or of different widths.
        """
        found = {name: (shard, rows, width) for shard, name, rows, width in _clips(self.folder)}
        absent = [name for name in names if name not in found]
        if absent:
            raise FeatureError(
                f"{self.folder}: {len(absent)} clips have no features, first "
                f"{absent[0]}; run the same command again"
            )
        widths = {found[name][2] for name in names}
        if len(widths) != 1:
            raise FeatureError(f"{self.folder}: tokens of widths {sorted(widths)}; one is allowed")
        table = pa.table(
            {
                "name": pa.array(names, pa.string()),
                "shard": pa.array([found[name][0] for name in names], pa.string()),
                "rows": pa.array([found[name][1] for name in names], pa.int64()),
            }
        )
        meta = {**self._meta, "channels": widths.pop(), "clips": len(names)}
        _write(self.folder / META, (json.dumps(meta, indent=1) + "\n").encode("utf-8"))
        part = self.folder / f".{INDEX}.part"
        pq.write_table(table, part)
        os.replace(part, self.folder / INDEX)
        (self.folder / f".{META}").unlink()
        return FeatureStore(self.folder)


def finish(folder: Path | str, names: Sequence[str]) -> FeatureStore:
    """Complete the store that other writers, perhaps in other processes, have filled.

    Raises:
        MissingFileError: No extraction is under way there.
        FeatureError: Clips that are missing, or of different widths.
    """
    claim = Path(folder) / f".{META}"
    if not claim.is_file():
        raise MissingFileError(f"{folder}: no extraction is under way there")
    meta = json.loads(claim.read_text(encoding="utf-8"))
    return FeatureWriter(folder, {k: v for k, v in meta.items() if k != "format"}).finish(names)


def _clips(folder: Path) -> list[tuple[str, str, int, int]]:
    """Shard, name, rows and channels of every clip in the finished shards."""
    found = []
    for path in sorted(folder.glob("shard-*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a dictionary
                    rows, width = file.get_slice(name).get_shape()
                    found.append((path.name, name, rows, width))
        except (SafetensorError, ValueError, OSError) as error:
            raise FeatureError(f"{path}: damaged ({error}); remove it and run again") from None
    return found


def _published_tokens(path: Path) -> Tensor:
    import numpy as np

    content = read_plain_pickle(path)
    if not isinstance(content, np.ndarray) or not np.issubdtype(content.dtype, np.floating):
        raise FeatureError(f"{path}: not one array of floats, as published feature files are")
    if content.ndim != 2:
        raise FeatureError(f"{path}: tokens are {content.shape}; wanted (L, C)")
    return torch.from_numpy(content.copy())


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        if meta["format"] != FORMAT or not isinstance(meta["channels"], int):
            raise FeatureError(f"{path}: of another version; extract the features again")
    except (ValueError, KeyError, TypeError) as error:
        raise FeatureError(
            f"{path}: not readable ({error!r}); extract the features again"
        ) from None
    return meta


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)
