"""Speed of reading raw ``.skeleton`` text and of the published preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as pa_csv

from benchmarks.speed.measure import Row, best
from ski_data.ntu.align import align
from ski_data.ntu.denoise import denoise
from ski_data.ntu.prepare import prepare_rows, prepare_store
from ski_data.ntu.skeleton_file import JOINTS, parse_skeleton, read_skeleton
from ski_data.processes import keep_freed_memory

_FRAMES, _BODIES, _FILES = 100, 2, 320
_QUICK = 20, 8
"""Frames of a toy file, and files."""


def recording(rng: np.random.Generator, frames: int = _FRAMES, bodies: int = _BODIES) -> str:
    """Text of a recording with numbers as long as the Kinect recorder's."""
    lines = [str(frames)]
    sway = np.sin(np.linspace(0, 6, frames))
    poses = rng.uniform(-0.3, 0.3, (bodies, JOINTS, 3))
    poses[..., 2] += 3
    poses[..., 1] = np.linspace(-0.8, 0.8, JOINTS)
    for t in range(frames):
        lines.append(str(bodies))
        for b in range(bodies):
            lines += [
                f"{72057594037931101 + b} 0 1 1 1 1 0 {sway[t]:.7g} -0.02483617 2",
                str(JOINTS),
            ]
            xyz = poses[b] + 0.2 * sway[t] + rng.normal(0, 0.005, (JOINTS, 3))
            depth, colour = rng.uniform(100, 400, (JOINTS, 2)), rng.uniform(200, 1800, (JOINTS, 2))
            rows = np.hstack([xyz, depth, colour, rng.uniform(-1, 1, (JOINTS, 4))])
            lines += [" ".join(f"{value:.7g}" for value in row) + " 2" for row in rows.tolist()]
    return "\r\n".join(lines) + "\r\n"


def plain_read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The straightforward script: line by line, an array per joint, bodies that grow by a frame."""
    with path.open() as file:
        lines = [line.strip() for line in file]
    bodies: dict[str, dict[str, np.ndarray]] = {}
    at = 1
    for _ in range(int(lines[0])):
        count = int(lines[at])
        at += 1
        for _ in range(count):
            name = lines[at].split()[0]
            joints = np.zeros((int(lines[at + 1]), 3), np.float32)
            colours = np.zeros((len(joints), 2), np.float32)
            at += 2
            for j in range(len(joints)):
                words = lines[at].split()
                joints[j] = np.array(words[:3], np.float32)
                colours[j] = np.array(words[5:7], np.float32)
                at += 1
            body = bodies.setdefault(name, {"joints": joints[:0], "colours": colours[:0]})
            body["joints"] = np.vstack((body["joints"], joints))
            body["colours"] = np.vstack((body["colours"], colours))
    return bodies


def measure_text(folder: Path, *, quick: bool = False) -> list[Row]:
    """Rows on parsing and preprocessing; files, few and short if ``quick``, are in ``folder``."""
    frames, count = _QUICK if quick else (_FRAMES, _FILES)
    keep_freed_memory()  # as a worker of prepare does
    rng = np.random.default_rng(0)
    raw = folder / "raw"
    raw.mkdir()
    files = [
        raw / f"S001C001P{1 + i % 40:03d}R{1 + i // 40:03d}A{1 + i % 60:03d}.skeleton"
        for i in range(count)
    ]
    texts = [recording(rng, frames) for _ in range(8)]
    for i, file in enumerate(files):
        file.write_text(texts[i % len(texts)], newline="")
    data = files[0].read_bytes()
    size = len(data) / 1e6
    columns = [f"c{i}" for i in range(12)]
    joints = b"".join(
        line + b"\n" for line in data.split(b"\r\n") if len(line.split()) == len(columns)
    )
    read = pa_csv.ReadOptions(use_threads=False, column_names=columns, block_size=1 << 30)
    parse = pa_csv.ParseOptions(delimiter=" ", quote_char=False)

    def arrow(*wanted: str) -> None:
        types = {name: pa.float64() for name in wanted}
        convert = pa_csv.ConvertOptions(
            column_types=types, include_columns=list(wanted), check_utf8=False
        )
        pa_csv.read_csv(pa.py_buffer(joints), read, parse, convert)

    ours = size / best(lambda: parse_skeleton(data, "x"), 60)
    words = best(lambda: [float(word) for word in data.split()])
    floors = {
        "`np.fromstring(sep=' ')`": (best(lambda: np.fromstring(data, np.float64, sep=" ")), 0.5),
        "pyarrow CSV, joint lines only, every number": (best(lambda: arrow(*columns), 40), 0.5),
        "pyarrow CSV, joint lines only, the four columns that are used": (
            used := best(lambda: arrow("c0", "c1", "c2", "c11"), 40),
            0.5,
        ),
    }
    text = "`bytes.split` and `float` of every number"
    rows = [Row("parse raw text, one core", ours, "MB/s", text, size / words, plain=True)]
    rows += [
        Row("parse raw text, one core", ours, "MB/s", name, size / seconds, goal=goal)
        for name, (seconds, goal) in floors.items()
    ]
    plain, fast = best(lambda: plain_read(files[0])), best(lambda: read_skeleton(files[0]), 60)
    text = f"read a file of {frames} frames and {_BODIES} bodies"
    rows += [
        Row(
            text,
            fast * 1e3,
            "ms",
            "the plain script",
            plain * 1e3,
            more_is_better=False,
            goal=15,
            plain=True,
        ),
        Row(
            text,
            fast * 1e3,
            "ms",
            "pyarrow CSV, joint lines only, the four columns that are used",
            used * 1e3,
            more_is_better=False,
        ),
    ]
    parsed = read_skeleton(files[0])
    chain = best(lambda: prepare_rows(files[0]), 60)
    rest = best(lambda: align(denoise(parsed), "x"), 60)
    rows += [
        Row("read, denoise, align", 1 / chain, "clips/s", "reading alone", 1 / fast),
        Row(
            "read, denoise, align",
            1 / chain,
            "clips/s",
            "the plain script's reading",
            1 / plain,
            plain=True,
        ),
        Row("denoise and align alone", 1 / rest, "clips/s", "reading alone", 1 / fast),
    ]
    stores = iter(range(9))
    whole = best(lambda: prepare_store(raw, folder / f"prepared{next(stores)}", workers=1), 2)
    rate = len(files) / whole
    text = "`prepare` into a store, 1 worker"
    rows.append(Row(text, rate, "clips/s", "read, denoise, align", 1 / chain))
    return rows
