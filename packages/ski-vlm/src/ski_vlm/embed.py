"""Video embeddings of many clips on disk: shards of safetensors and an index, resumable.

The folder holds ``meta.json``, what made it; ``videos-00000.safetensors`` and so on, each with
``features`` ``(n, D)`` and its rows' names in its header; ``texts.safetensors`` where classes were
named; and at last ``index.parquet`` with the columns name, shard, row, label. Shards appear whole
or not at all, so that the same command goes on after a kill.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ski_data.config import to_plain
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.folders import missing_parents, remove_empty, usual_permissions
from ski_data.manifest import Record
from ski_data.progress import Progress
from ski_data.text import read_text
from ski_vlm.calibration import hash_model
from ski_vlm.class_texts import read_wording
from ski_vlm.predict import Recognizer, load, read_class_names
from ski_vlm.reading import find_records

INDEX, META, TEXTS = "index.parquet", "meta.json", "texts.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Embeddings:
    """What the command ``embed`` made."""

    names: tuple[str, ...]
    features: np.ndarray
    """float32 ``(N, D)``, as the student's head takes them: unit length but for FROSTER."""
    labels: tuple[int | None, ...]
    classes: tuple[str, ...]
    """Class names; empty if none were given."""
    texts: np.ndarray
    """float32 ``(K, D)`` of the classes; for X-CLIP before the video changes them."""
    meta: dict[str, Any]
    """Hash and settings of the model."""


def embed(
    source: str,
    model: str,
    out: str,
    *,
    classes: str | None = None,
    templates: str | None = None,
    descriptions: str | None = None,
    shard_size: int = 4096,
    workers: int = 1,
    batch_size: int = 8,
    timeout: float = 30.0,
    device: str = "cpu",
) -> int:
    """Write the video embeddings of a manifest or folder; the same command goes on after a kill.

    A video that cannot be read is told on standard error and left out; exit code 1 then, 2 if none
    could be read.

    Args:
        source: a manifest, or a folder with videos.
        model: a model or run folder; or a CLIP as it comes, such as ViT-B-16/openai,
            ViT-B-16/FILE or hf-hub:OWNER/NAME.
        out: folder to write.
        classes: names separated by commas, or a file, whose texts are written too.
        templates: ways to name a class whose texts are averaged: name, photo, froster, or a file
            with one per line ({name} is the class); by default what the model was trained with.
        descriptions: CSV id,name,description that says more of each class, averaged in by half.
        shard_size: clips per file.
        workers: processes that read videos; 0 reads without them.
        batch_size: clips that the model sees at once.
        timeout: seconds that a process may take for one video.
        device: cpu, cuda or cuda:N.
    """
    if shard_size < 1:
        raise InputError(f"--shard_size must be at least 1, got {shard_size}")
    folder = Path(out)
    if (folder / INDEX).exists():
        raise ExistingOutputError(f"{out}: already complete; name another folder or remove it")
    names = None if classes is None else read_class_names(classes)
    wording = read_wording(templates, descriptions)
    if names is None and not wording.own:
        raise InputError("--templates and --descriptions word classes: give --classes too")
    wording.check(names or ())
    records = find_records(source)
    recognizer = load(model, wording=wording, device=device)
    meta = {
        "format": FORMAT,
        "model": hash_model(recognizer.model),
        "kind": type(recognizer.model).__name__,
        "frames": recognizer.model.config.frames,
        "classes": names or [],
        "wording": to_plain(wording),
        "shard_size": shard_size,
        "clips": [record.name for record in records],
    }
    made = missing_parents(folder / META)
    try:
        _begin(folder, meta)
        if names is not None and not (folder / TEXTS).exists():
            texts = recognizer.class_texts(names).float().cpu().numpy()
            _save(folder / TEXTS, {"texts": texts}, {"names": json.dumps(names)})
        failed = _write_shards(
            recognizer, records, folder, shard_size, workers, batch_size, timeout
        )
        if failed == len(records):
            (folder / META).unlink()
            (folder / TEXTS).unlink(missing_ok=True)
            print(f"{source}: none of its videos could be read", file=sys.stderr)
            return 2
        _write_index(folder)
    finally:
        remove_empty(made)
    print(folder)
    return 1 if failed else 0


def read_embeddings(folder: str | Path) -> Embeddings:
    """All of a folder that the command ``embed`` wrote, in the order of its source.

    Raises:
        MissingFileError: no such folder, or it is not complete.
        InputError: a part is damaged or does not fit.
    """
    folder = Path(folder)
    meta = _read_meta(folder)
    if not (folder / INDEX).is_file():
        raise MissingFileError(f"{folder}: no {INDEX}: not complete; run the same command again")
    try:
        table = pq.read_table(folder / INDEX).to_pydict()
        shards = {name: _open(folder / name)[1] for name in dict.fromkeys(table["shard"])}
        features = np.stack(
            [shards[s][r] for s, r in zip(table["shard"], table["row"], strict=True)]
        )
        names, labels = tuple(table["name"]), tuple(table["label"])
    except (pa.ArrowException, KeyError, IndexError) as error:
        raise InputError(f"{folder / INDEX}: damaged ({error}); embed again") from None
    texts = np.zeros((0, features.shape[1]), np.float32)
    if meta["classes"]:
        texts = _open(folder / TEXTS, "texts")[1]
    return Embeddings(names, features, labels, tuple(meta["classes"]), texts, meta)


def _begin(folder: Path, meta: dict[str, Any]) -> None:
    """Make the folder, or see that what is in it was begun by the same command."""
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{META}.part"
        part.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        os.replace(part, folder / META)
        return
    found = _read_meta(folder)
    other = sorted(key for key in meta if found.get(key) != meta[key])
    if other:
        raise ExistingOutputError(
            f"{folder}: begun with other settings ({', '.join(other)}); name another folder or "
            "remove it"
        )


def _read_meta(folder: Path) -> dict[str, Any]:
    if not (folder / META).is_file():
        raise MissingFileError(f"{folder}: holds no embeddings (no {META} in it)")
    try:
        meta = json.loads(read_text(folder / META))
        if meta["format"] != FORMAT:
            raise InputError(f"{folder}: version {meta['format']}, only {FORMAT} is known")
        _ = meta["classes"], meta["shard_size"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{folder / META}: damaged ({error}); embed again") from None
    return meta


def _write_shards(
    recognizer: Recognizer,
    records: Sequence[Record],
    folder: Path,
    shard_size: int,
    workers: int,
    batch_size: int,
    timeout: float,
) -> int:
    """Compute what is not there yet; gives how many videos could not be read."""
    failed = 0

    def features(clips: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            pixels = torch.from_numpy(clips).to(recognizer.device)
            video = recognizer.model.encode_video(recognizer.model.normalise(pixels))
        return list(recognizer.checked(video))

    with Progress("embed", len(records)) as progress:
        for number, first in enumerate(range(0, len(records), shard_size)):
            part = records[first : first + shard_size]
            path = folder / f"videos-{number:05d}.safetensors"
            if path.exists():
                failed += len(part) - len(_open(path)[0])
                progress.update(first + len(part))
                continue
            found = recognizer.map_clips(
                [record.video for record in part],
                features,
                batch_size=batch_size,
                workers=workers,
                timeout=timeout,
            )
            rows, kept = [], []
            for done, (record, answer) in enumerate(zip(part, found, strict=True), 1):
                if isinstance(answer, np.ndarray):
                    rows.append(answer)
                    kept.append({"name": record.name, "label": record.label})
                else:
                    failed += 1
                    print(answer, file=sys.stderr)
                progress.update(first + done)
            if rows:
                _save(path, {"features": np.stack(rows)}, {"rows": json.dumps(kept)})
    return failed


def _save(path: Path, arrays: dict[str, np.ndarray], header: dict[str, str]) -> None:
    part = path.with_name(f".{path.name}.part")
    with usual_permissions(part):
        save_file(arrays, part, header)
    os.replace(part, path)


def _open(path: Path, key: str = "features") -> tuple[list[dict[str, Any]], np.ndarray]:
    """Rows in the header, and the array, of a shard."""
    try:
        with safe_open(path, "numpy") as file:
            rows = json.loads((file.metadata() or {}).get("rows", "[]"))
            return rows, file.get_tensor(key)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: missing; copy it again, or embed again") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); remove it and embed again") from None


def _write_index(folder: Path) -> None:
    columns: dict[str, list[Any]] = {"name": [], "shard": [], "row": [], "label": []}
    for path in sorted(folder.glob("videos-*.safetensors")):
        for number, row in enumerate(_open(path)[0]):
            for key, value in (*row.items(), ("shard", path.name), ("row", number)):
                columns[key].append(value)
    kinds = {"name": pa.string(), "shard": pa.string(), "row": pa.int32(), "label": pa.int32()}
    table = pa.table({key: pa.array(values, kinds[key]) for key, values in columns.items()})
    part = folder / f".{INDEX}.part"
    pq.write_table(table, part)
    os.replace(part, folder / INDEX)
