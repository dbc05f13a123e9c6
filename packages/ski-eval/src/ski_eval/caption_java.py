"""METEOR and SPICE of captions through their published Java programs, which the user supplies.

Both are other people's jar files and are not part of this package. ``pip install pycocoevalcap``
brings ``meteor/meteor-1.5.jar`` and ``spice/spice-1.0.jar``. SPICE wants two more jar files of
Stanford CoreNLP 3.6.0 in its ``lib`` folder, and Java 8 to 14: it writes its results with the
JavaScript engine that later ones lack.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ski_eval.errors import MissingFileError, SkiEvalError

_GET_JAVA = "install a Java runtime, e.g. `apt-get install default-jre-headless`"
_GET_JARS = "`pip install pycocoevalcap` brings it (meteor/meteor-1.5.jar, spice/spice-1.0.jar)"
_CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_GET_CORENLP = (
    "`python -m pycocoevalcap.spice.get_stanford_models` fetches them (from Stanford's "
    "stanford-corenlp-full-2015-12-09.zip, 0.5 GB) into that package's folder"
)
_NEWEST_JAVA = 14  # Nashorn, the JavaScript engine, left the JDK with 15


class JavaError(SkiEvalError, RuntimeError):
    """A Java program that cannot be run or that failed."""


def meteor(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], jar: Path
) -> NDArray[np.float64]:
    """METEOR 1.5 ``(N,)`` of each clip, English, normalised as in the COCO evaluation.

    Args:
        predictions: tokens of each clip.
        references: tokens of each clip's references.
        jar: ``meteor-1.5.jar``, with its ``data`` folder beside it.

    Raises:
        MissingFileError: no such jar.
        JavaError: no Java runtime, or the program failed.
    """
    java, jar = _java(), _existing(jar)
    command = [java, "-jar", "-Xmx2G", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=jar.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        try:
            statistics = [
                _answer(process, ["SCORE", *map(_line, group), _line(prediction)])
                for prediction, group in zip(predictions, references, strict=True)
            ]
            first = _answer(process, ["EVAL", *statistics])
            rest = [_read(process) for _ in range(len(statistics))]  # the last one is over all
            return np.array([float(text) for text in [first, *rest[:-1]]])
        except (OSError, ValueError) as error:
            log.seek(0)
            said = log.read().decode("utf-8", errors="replace")
            raise JavaError(f"{jar}: METEOR failed: {_reason(said) or error}") from error
        finally:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    _close(stream)
            process.kill()
            process.wait()


def spice(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], jar: Path
) -> NDArray[np.float64]:
    """SPICE 1.0 ``(N,)`` of each clip: F score of its scene graph.

    Args:
        predictions: tokens of each clip.
        references: tokens of each clip's references.
        jar: ``spice-1.0.jar``, with its ``lib`` folder beside it, CoreNLP's two jars in there.

    Raises:
        MissingFileError: no such jar, or one of CoreNLP's is not there.
        JavaError: no Java runtime, one that SPICE cannot use, or the program failed.
    """
    java, jar = _java(), _existing(jar)
    lacking = [name for name in _CORENLP if not (jar.parent / "lib" / name).is_file()]
    if lacking:
        raise MissingFileError(
            f"{jar.parent / 'lib'}: SPICE needs {' and '.join(lacking)} there; {_GET_CORENLP}"
        )
    version = _java_version(java)
    if version > _NEWEST_JAVA:
        raise JavaError(
            f"{java}: Java {version}; SPICE runs with Java 8 to {_NEWEST_JAVA} only (later ones "
            "lack the JavaScript engine that it writes its results with); put an older one first "
            "in PATH"
        )
    entries = [
        {"image_id": i, "test": _line(prediction), "refs": [_line(r) for r in group]}
        for i, (prediction, group) in enumerate(zip(predictions, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps(entries), encoding="utf-8")
        done = subprocess.run(
            [java, "-jar", "-Xmx8G", jar.name, str(given), "-out", str(made), "-silent"],
            cwd=jar.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not made.is_file():
            reason = _reason(done.stderr) or f"exit code {done.returncode}"
            raise JavaError(f"{jar}: SPICE failed: {reason}")
        results = json.loads(made.read_text(encoding="utf-8"))
    scores = {item["image_id"]: item["scores"]["All"]["f"] for item in results}
    return np.array([0.0 if scores[i] is None else float(scores[i]) for i in range(len(entries))])


def _java() -> str:
    found = shutil.which("java")
    if found is None:
        raise JavaError(f"METEOR and SPICE need Java, and there is none; {_GET_JAVA}")
    return found


def _java_version(java: str) -> int:
    """Main version: 8 of "1.8.0_292", 17 of "17.0.15"."""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    if found is None:
        raise JavaError(f"{java}: does not tell its version: {_reason(done.stderr) or 'nothing'}")
    return int(found[1])


def _existing(jar: Path) -> Path:
    if not jar.is_file():
        raise MissingFileError(f"{jar}: no such jar file; {_GET_JARS}")
    return jar.resolve()


def _reason(said: str) -> str:
    """The line of a Java program's complaints that tells most: the last exception's."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("at ", "..."))]
    causes = [line for line in told if re.search(r"(Exception|Error)\b", line)]
    return (causes or told or lines or [""])[-1]


def _line(tokens: Sequence[str]) -> str:
    return " ".join(token for token in tokens if token != "|||")


def _answer(process: subprocess.Popen[bytes], fields: Sequence[str]) -> str:
    if process.stdin is None:
        raise OSError("no input stream")
    process.stdin.write(f"{' ||| '.join(fields)}\n".encode())
    process.stdin.flush()
    return _read(process)


def _read(process: subprocess.Popen[bytes]) -> str:
    line = process.stdout.readline() if process.stdout is not None else b""
    if not line:
        raise OSError("it ended without an answer")
    return line.decode("utf-8").strip()


def _close(stream: object) -> None:
    try:
        stream.close()  # type: ignore[attr-defined]
    except BrokenPipeError:  # the program is gone already, which was said before
        return
