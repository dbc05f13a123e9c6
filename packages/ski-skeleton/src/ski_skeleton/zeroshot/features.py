"""Features of a frozen encoder as a file: what the zero-shot baselines are trained on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.folders import missing_parents, remove_empty, usual_permissions

SCHEMA = "ski-skeleton/features/1"
_NUMBERS = ("labels", "subjects", "cameras", "setups")
_ARRAYS = (*_NUMBERS, "features", "maps", "masked")
_COLUMN = "column."


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of every clip of a data set, and whose and of what they are."""

    names: tuple[str, ...]
    """Of the clips ``(N,)``, no two alike."""
    labels: NDArray[np.int64]
    """``(N,)``, rows of ``classes``."""
    subjects: NDArray[np.int64]
    """``(N,)`` people, -1 where not known; cameras and setups likewise."""
    cameras: NDArray[np.int64]
    setups: NDArray[np.int64]
    classes: tuple[str, ...]
    """Names of all classes of the data set ``(K,)``."""
    features: NDArray[np.float32]
    """``(N, D)`` pooled."""
    maps: NDArray[np.float32] | None = None
    """``(N, D, T, V)`` per frame and joint, for STAR."""
    masked: NDArray[np.float32] | None = None
    """``(N, R, D)``: R draws of the clip without its most moving frames, for SMIE."""
    trained_on: tuple[str, ...] | None = None
    """Names of the classes that trained the encoder; None: it does not say."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Where the features come from, as plain values."""
    columns: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """Further whole numbers of the clips ``(N,)`` by the store's column, such as a style."""

    def __post_init__(self) -> None:
        for name in ("names", "classes", "trained_on"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, tuple):
                object.__setattr__(self, name, tuple(value))
        wrong = self._problems()
        if wrong:
            raise InputError("features: " + "; ".join(wrong))

    def _problems(self) -> list[str]:
        wrong, n = [], len(self.names)
        if n == 0:
            wrong.append("no clips")
        if len(set(self.names)) != n:
            wrong.append("two clips of one name")
        if len(set(self.classes)) != len(self.classes):
            wrong.append("two classes of one name")
        for name in _NUMBERS:
            value = getattr(self, name)
            if value.shape != (n,) or value.dtype.kind not in "iu":
                wrong.append(f"{name} must be {n} whole numbers, not {value.dtype} {value.shape}")
            elif name == "labels" and n and not 0 <= value.min() <= value.max() < len(self.classes):
                wrong.append(f"labels must be in 0..{len(self.classes) - 1}")
        for name, value in self.columns.items():
            if value.shape != (n,) or value.dtype.kind not in "iu":
                wrong.append(f"column {name} must be {n} whole numbers, not {value.dtype}")
        width = self.features.shape[-1] if self.features.ndim == 2 else 0
        for name, wanted in (("features", 2), ("maps", 4), ("masked", 3)):
            value = getattr(self, name)
            if value is None:
                continue
            if value.ndim != wanted or len(value) != n or value.dtype != np.float32:
                wrong.append(
                    f"{name} must be float32 with {wanted} axes for {n} clips, not "
                    f"{value.dtype} {value.shape}"
                )
            elif not np.isfinite(value).all():
                wrong.append(f"{name} hold NaN or infinity")
            elif name == "masked" and value.shape[-1] != width:
                wrong.append(f"masked features are {value.shape[-1]} wide, the others {width}")
        return wrong

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> NDArray[np.int64]:
        """Numbers of the clips ``(N,)``: ``subject``, ``camera``, ``setup`` or a further column.

        Raises:
            InputError: no such column of whole numbers.
        """
        known = {key[:-1]: getattr(self, key) for key in _NUMBERS if key != "labels"}
        known |= self.columns
        if name not in known:
            raise InputError(
                f"the features have no column {name!r} of whole numbers; they have "
                f"{', '.join(known)}"
            )
        return known[name]


def save_features(features: FeatureSet, path: str | Path) -> Path:
    """Write one ``.safetensors`` file; names and classes stand in its header.

    Raises:
        InputError: another ending.
        ExistingOutputError: the file is there already.
    """
    path = check_output(path)
    arrays = {name: getattr(features, name) for name in _ARRAYS}
    arrays |= {_COLUMN + name: value for name, value in features.columns.items()}
    header = {
        "schema": SCHEMA,
        "names": list(features.names),
        "classes": list(features.classes),
        "trained_on": None if features.trained_on is None else list(features.trained_on),
        "meta": dict(features.meta),
    }
    made = missing_parents(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with usual_permissions(part):
            safetensors.numpy.save_file(
                {k: np.ascontiguousarray(v) for k, v in arrays.items() if v is not None},
                part,
                metadata={"ski": json.dumps(header, ensure_ascii=False)},
            )
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        remove_empty(made)
        raise
    return path


def check_output(path: str | Path) -> Path:
    """The path, if a new file of features can be written there.

    Raises:
        InputError: another ending.
        ExistingOutputError: the file is there already.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: features are written as .safetensors; give such a name")
    if path.exists():
        raise ExistingOutputError(f"{path}: already there; choose another name or remove it")
    return path


def load_features(path: str | Path) -> FeatureSet:
    """Read what :func:`save_features` wrote.

    Raises:
        MissingFileError: no such file.
        InputError: another file, a damaged one, or content that does not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of features")
    try:
        with safetensors.safe_open(path, "np") as file:
            header = json.loads((file.metadata() or {})["ski"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: no file of features, or damaged ({error}); make it with ski-skeleton features"
        ) from error
    columns = {
        name.removeprefix(_COLUMN): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(_COLUMN)
    }
    unknown = sorted(set(arrays) - set(_ARRAYS))
    missing = sorted({"features", *_NUMBERS} - set(arrays))
    if not isinstance(header, dict) or header.get("schema") != SCHEMA or unknown or missing:
        raise InputError(
            f"{path}: no file of features of this version (expected {SCHEMA!r}; unknown arrays "
            f"{unknown}, missing {missing}); make it with ski-skeleton features"
        )
    texts = {name: header.get(name) for name in ("names", "classes", "trained_on", "meta")}
    for name in ("names", "classes", "trained_on"):
        value = texts[name]
        if not (value is None and name == "trained_on") and not (
            isinstance(value, list) and all(isinstance(v, str) for v in value)
        ):
            raise InputError(f"{path}: {name} must be a list of texts; make the file again")
    if not isinstance(texts["meta"], dict):
        raise InputError(f"{path}: meta must be settings by name; make the file again")
    try:
        return FeatureSet(**texts, **arrays, columns=columns)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
