"""Arrays with a JSON header in one ``.npz`` file: no pickle, nothing half written."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ski_eval import files
from ski_eval.errors import InputError

_DAMAGED = (
    ValueError,
    OSError,
    EOFError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
    RecursionError,
)


def save_archive(
    path: str | Path,
    header: Mapping[str, Any],
    arrays: Mapping[str, NDArray],
    what: str,
    *,
    overwrite: bool = False,
) -> Path:
    """Write ``arrays`` and the JSON text of ``header`` (as UTF-8 in the uint8 array ``header``).

    Raises:
        ExistingOutputError: the file holds something else and ``overwrite`` is not set.
        InputError: ``path`` does not end in ``.npz``.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: {what} are stored as .npz; give such a name")
    text = json.dumps(header, ensure_ascii=False).encode("utf-8")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, header=np.frombuffer(text, np.uint8))
    return files.write_bytes(path, buffer.getvalue(), overwrite=overwrite)


def load_archive(
    path: str | Path, schema: str, arrays: Sequence[str], fields: Sequence[str], what: str
) -> tuple[list[NDArray], dict[str, Any]]:
    """The arrays of these names and the header, which has these fields beside ``schema``.

    Raises:
        MissingFileError: no such file.
        InputError: another or damaged file.
    """
    content = files.read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            *found, raw = (archive[name] for name in (*arrays, "header"))
        header = json.loads(raw.tobytes().decode("utf-8"))
    except KeyError as error:
        raise InputError(
            f"{path}: no {what} file of ski-eval ({error.args[0]}); give what an evaluation saved"
        ) from error
    except _DAMAGED as error:
        raise InputError(
            f"{path}: no {what} file of ski-eval, or damaged ({type(error).__name__}); give what "
            "an evaluation saved, or make it again"
        ) from error
    if not isinstance(header, dict) or header.get("schema") != schema:
        raise InputError(f"{path}: no {what} file of ski-eval; expected schema {schema!r}")
    expected = {"schema", *fields}
    if set(header) != expected:
        raise InputError(f"{path}: header has {sorted(header)}; expected {sorted(expected)}")
    return found, header


def header_schema(path: str | Path) -> str | None:
    """What the header of an ``.npz`` file says it is; None for files that are not ours."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes().decode("utf-8"))
    except (KeyError, *_DAMAGED):
        return None
    schema = header.get("schema") if isinstance(header, dict) else None
    return schema if isinstance(schema, str) else None
