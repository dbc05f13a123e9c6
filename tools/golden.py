"""Compare SKI with published implementations: ``python tools/golden.py STEM [STEM...]``.

A case is a pair of files with one stem. ``STEM.json`` says which public class was run
(``reference``), every entry of its state dict (``state``: name, shape, dtype, kind), its settings
(``config``) and ``notes``; ``STEM.npz`` holds inputs ``in_*`` and answers ``out_*``. The weights
are not stored: they follow from names and shapes (:func:`make_tensor`). The state dict carries the
reference's own names and goes through this project's checkpoint converters, so a passed case also
says that published checkpoints of that implementation load.

One line is printed per answer. Exit code: 0 all passed, 1 a mismatch, 2 a case that cannot be run.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from golden_kinds import KINDS as ENCODER_KINDS
from golden_kinds import Answer, Case
from golden_kinds_lvlm import LVLM_KINDS
from golden_kinds_vlm import VLM_KINDS
from golden_kinds_zeroshot import ZEROSHOT_KINDS

KINDS = ENCODER_KINDS | LVLM_KINDS | VLM_KINDS | ZEROSHOT_KINDS
RTOL, ATOL = 1e-4, 2e-5


class CaseError(ValueError):
    """A case that is absent, damaged or of no known kind."""


class Row(NamedTuple):
    """How one answer compares."""

    name: str
    absolute: float
    relative: float
    passed: bool
    remark: str


def make_tensor(name: str, shape: Sequence[int], dtype: str, kind: str, salt: str) -> np.ndarray:
    """One deterministic weight, drawn from a generator seeded by salt and name.

    Kinds: ``normal``; ``fan_in`` divides by the root of the product of all but the first size;
    ``near_one`` is 1 + 0.1 n; ``positive`` 1 + 0.1 |n|; ``small`` 0.05 n; ``zero``.
    """
    if kind == "zero":
        return np.zeros(shape, dtype)
    draw = np.random.default_rng(zlib.crc32((salt + name).encode())).standard_normal(tuple(shape))
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else max(1, *shape, 1)
    scaled = {
        "normal": lambda: draw,
        "fan_in": lambda: draw / np.sqrt(fan_in),
        "near_one": lambda: 1.0 + 0.1 * draw,
        "positive": lambda: 1.0 + 0.1 * np.abs(draw),
        "small": lambda: 0.05 * draw,
    }
    if kind not in scaled:
        raise CaseError(f"{name}: unknown kind {kind!r}; known: {['given', 'zero', *scaled]}")
    return np.asarray(scaled[kind]()).astype(dtype)


def read_case(stem: str | Path) -> Case:
    """The case at ``stem``, with its generated state dict.

    Raises:
        CaseError: no such case, or one that cannot be read.
    """
    stem = Path(stem)
    if stem.suffix in (".json", ".npz"):
        stem = stem.with_suffix("")
    description = stem.with_name(stem.name + ".json")
    if not description.is_file():
        raise CaseError(f"{description}: no such case; give the path without its ending")
    try:
        plain: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
        if not isinstance(plain, dict):
            raise TypeError("not a description of a case")
        arrays: dict[str, np.ndarray] = {}
        file = stem.with_name(stem.name + ".npz")
        if file.is_file():
            with np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
        state = {
            entry["name"]: arrays["state_" + entry["name"]]
            if entry["kind"] == "given"
            else make_tensor(
                entry["name"], entry["shape"], entry["dtype"], entry["kind"], plain.get("salt", "")
            )
            for entry in plain.get("state", [])
        }
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise CaseError(f"{stem}: damaged case ({error!r}); make it again") from error
    return Case(stem, plain, arrays, state)


def tolerances(case: Case) -> tuple[float, float]:
    """Relative and absolute tolerance: those that the notes ask for, or the defaults."""
    rtol, atol = RTOL, ATOL
    for note in case.plain.get("notes", []):
        if re.search(r"[Cc]ompar|ask an implementation", note):
            found = re.search(r"rtol ([0-9.]+(?:e-?\d+)?)", note)
            rtol = float(found[1]) if found else rtol
            found = re.search(r"atol ([0-9.]+(?:e-?\d+)?)|to ([0-9.]+(?:e-?\d+)?) absolute", note)
            atol = float(found[1] or found[2]) if found else atol
    return rtol, atol


def compare(name: str, ours: Answer, theirs: Answer, rtol: float, atol: float) -> Row:
    """One row: shapes must agree, integers and strings exactly, floats within tolerance."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return Row(name, np.inf, np.inf, False, f"shape {ours.shape}, wanted {theirs.shape}")
    if not np.issubdtype(theirs.dtype, np.floating):
        wrong = int((ours != theirs).sum())
        return Row(
            name, float(wrong), float(wrong > 0), wrong == 0, f"{wrong} differ" * (wrong > 0)
        )
    if theirs.size == 0:
        return Row(name, 0.0, 0.0, True, "empty")
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    scale = np.maximum(np.abs(theirs.astype(np.float64)), atol)
    passed = bool(np.allclose(ours, theirs, rtol=rtol, atol=atol, equal_nan=False))
    return Row(name, float(difference.max()), float((difference / scale).max()), passed, "")


def run_case(case: Case) -> list[Row]:
    """All answers of a case against ours.

    Raises:
        CaseError: a kind that no function runs.
    """
    kind = case.stem.name.split("-")[0]
    if kind not in KINDS:
        raise CaseError(f"{case.stem}: unknown kind {kind!r}; known: {sorted(KINDS)}")
    try:
        wanted, ours = KINDS[kind](case)
    except KeyError as error:
        raise CaseError(f"{case.stem}: no {error} in the case; make it again") from error
    if not wanted:
        raise CaseError(f"{case.stem}: holds no answers to compare with")
    rtol, atol = tolerances(case)
    rows = []
    for name, theirs in wanted.items():
        if name in ours:
            rows.append(compare(name, ours[name], theirs, rtol, atol))
        else:
            rows.append(Row(name, np.inf, np.inf, False, "not computed by the runner"))
    return rows


def main(stems: Sequence[str]) -> int:
    """Run every case and print its rows."""
    if not stems:
        print("golden.py: name the STEM of at least one case; see --help", file=sys.stderr)
        return 2
    if stems[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    code = 0
    for stem in stems:
        try:
            rows = run_case(read_case(stem))
        except Exception as error:
            if not isinstance(error, CaseError) and getattr(error, "exit_code", None) is None:
                raise
            print(f"{stem}: {error}", file=sys.stderr)
            code = 2
            continue
        failed = sum(not row.passed for row in rows)
        print(f"{stem}: {len(rows) - failed} of {len(rows)} answers agree")
        for row in rows:
            verdict = "pass" if row.passed else "FAIL"
            print(
                f"  {verdict}  {row.name}  max abs {row.absolute:.2e}  max rel {row.relative:.2e}"
                f"  {row.remark}".rstrip()
            )
        code = max(code, int(failed > 0))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
