"""Commands for long and live video: segments, and the threshold that rejects other actions."""

from __future__ import annotations

import atexit
import csv
import json as json_format
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import numpy as np

from ski_data.errors import ExistingOutputError, InputError, SkiDataError
from ski_data.manifest import Record
from ski_data.progress import Progress
from ski_vlm.calibration import (
    calibrate as calibrate_scores,
)
from ski_vlm.calibration import (
    hash_model,
    read_calibration,
    write_calibration,
)
from ski_vlm.class_texts import read_wording
from ski_vlm.predict import load, read_class_names
from ski_vlm.reading import find_records
from ski_vlm.segments import Segment, Smoothing
from ski_vlm.stream import Stream, StreamConfig

log = logging.getLogger(__name__)

HARDLY = 0.6
"""Area under the ROC curve below which a calibration is warned of."""
STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""


def stream(
    source: str,
    *,
    model: str,
    classes: str,
    templates: str | None = None,
    descriptions: str | None = None,
    window: float = StreamConfig.window,
    stride: float = StreamConfig.stride,
    smoothing: Smoothing = StreamConfig.smoothing,
    span: int = StreamConfig.span,
    threshold: float | None = None,
    calibration: str | None = None,
    out: str | None = None,
    timeout: float = 10.0,
    device: str = "cpu",
    json: bool = False,
) -> int:
    """Tell what goes on in long or live video, from when to when; Ctrl-C ends it.

    A segment is written as soon as it is over: start and end in seconds, class, score. How the
    model kept up is told on standard error at the end. Ctrl-C writes the segment that is open and
    leaves with exit code 130; a second one leaves at once.

    Args:
        source: a video file; a camera's number such as 0; or an address (rtsp://, http://, ...).
        model: a model or run folder; or a CLIP as it comes, such as ViT-B-16/openai,
            ViT-B-16/FILE or hf-hub:OWNER/NAME.
        classes: names separated by commas, or a file with one per line or columns id,name.
        templates: ways to name a class whose texts are averaged: name, photo, froster, or a file
            with one per line ({name} is the class); by default what the model was trained with.
        descriptions: CSV id,name,description that says more of each class, averaged in by half.
        window: seconds that the model sees at once.
        stride: seconds from window to window.
        smoothing: none, exponential or median, of the scores of successive windows.
        span: windows over which is smoothed.
        threshold: least probability; windows with less show none of the classes.
        calibration: file of the command calibrate, in place of a threshold.
        out: file to write in place of standard output.
        timeout: seconds to wait for a camera or address.
        device: cpu, cuda or cuda:N.
        json: print one JSON object per segment in place of lines start,end,label,score.
    """
    names, wording = read_class_names(classes), read_wording(templates, descriptions)
    wording.check(names)
    if threshold is not None and calibration is not None:
        raise InputError("give --threshold or --calibration, not both")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold is a probability in 0..1, got {threshold}")
    rejection: dict[str, object] = {"threshold": threshold}
    if calibration is not None:
        found = read_calibration(calibration)
        rejection = {"score": found.score, "threshold": found.threshold}
    config = StreamConfig(window, stride, smoothing, span, **rejection)  # type: ignore[arg-type]
    recognizer = load(model, wording=wording, device=device)
    if calibration is not None:
        found.check(names, wording, hash_model(recognizer.model), config.windows, calibration)
    elif threshold is None:
        log.warning("no threshold: every window gets one of the classes; see ski-vlm calibrate")
    running = Stream(recognizer, names, config)
    try:
        with growing_file(out) as file, ended_by_ctrl_c(running) as ended:
            write = jsonl_writer(file) if json else csv_writer(file)
            try:
                for segment in running.segments(source, timeout=timeout):
                    write(segment)
            finally:
                for segment in running.close():
                    write(segment)
    finally:
        if running.stats.windows:
            print(running.stats, file=sys.stderr)
    if ended and running.reading:
        atexit.register(_leave_reader, running)
    return STOPPED if ended else 0


def _leave_reader(running: Stream) -> None:
    """End the process while a thread still waits for a source, for which its end would wait."""
    if running.reading:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(STOPPED)


@contextmanager
def ended_by_ctrl_c(running: Stream) -> Iterator[list[int]]:
    """The first Ctrl-C ends a stream between two windows, so that no segment is cut or lost.

    Yields:
        a list, empty as long as there was none.
    """
    ended: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield ended
        return

    def end(number: int, _frame: object) -> None:
        ended.append(number)
        signal.signal(signal.SIGINT, before)
        running.stop()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def growing_file(out: str | None) -> Iterator[TextIO]:
    """Standard output, or a new file that can be read while it grows; none after an early error.

    Raises:
        ExistingOutputError: it is there already.
    """
    if out is None:
        yield sys.stdout
        return
    path = Path(out)
    if path.exists():
        raise ExistingOutputError(f"{out}: already there; name another file or remove it")
    with path.open("x", encoding="utf-8", newline="") as file:
        at_start = None
        try:
            yield file
        except Exception:
            at_start = path.read_text(encoding="utf-8").count("\n") <= 1
            raise
        finally:
            if at_start:  # nothing but the header
                path.unlink()


def csv_writer(file: TextIO) -> Callable[[Segment], None]:
    """Writes segments as rows, each at once."""
    rows = csv.writer(file, lineterminator="\n")

    def row(*values: object) -> None:
        rows.writerow(values)
        file.flush()

    row("start", "end", "label", "score")
    return lambda s: row(f"{s.start:.3f}", f"{s.end:.3f}", s.label, f"{s.score:.6f}")


def jsonl_writer(file: TextIO) -> Callable[[Segment], None]:
    """Writes segments as objects, each at once."""

    def write(segment: Segment) -> None:
        row = {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(segment).items()}
        print(json_format.dumps(row, ensure_ascii=False), file=file, flush=True)

    return write


def calibrate(
    manifest: str,
    *,
    model: str,
    classes: str,
    out: str,
    templates: str | None = None,
    descriptions: str | None = None,
    labels: str | None = None,
    window: float = StreamConfig.window,
    stride: float = StreamConfig.stride,
    smoothing: Smoothing = StreamConfig.smoothing,
    span: int = StreamConfig.span,
    device: str = "cpu",
) -> int:
    """Measure from which score on a window of a stream shows one of the classes.

    Runs over labelled clips as the command stream runs over video: the same windows, smoothed in
    the same way, and each one counts. Needs clips of the classes and clips of none of them. Takes
    the score (probability, cosine or margin) that tells them apart best, and the threshold that is
    best for both kinds. The command stream wants the same model, classes and windows.

    Args:
        manifest: labelled clips.
        model: a model or run folder; or a CLIP as it comes, such as ViT-B-16/openai,
            ViT-B-16/FILE or hf-hub:OWNER/NAME.
        classes: names separated by commas, or a file, as they will be asked for.
        out: file to write, for the option --calibration of the command stream.
        templates: ways to name a class whose texts are averaged: name, photo, froster, or a file
            with one per line ({name} is the class); by default what the model was trained with.
        descriptions: CSV id,name,description that says more of each class, averaged in by half.
        labels: file with the names of the manifest's labels; by default those of the classes. A
            clip without a label, or whose label is none of the classes, is an unknown one.
        window: seconds that the model sees at once.
        stride: seconds from window to window.
        smoothing: none, exponential or median, of the scores of successive windows.
        span: windows over which is smoothed.
        device: cpu, cuda or cuda:N.
    """
    names, wording = read_class_names(classes), read_wording(templates, descriptions)
    wording.check(names)
    config = StreamConfig(window, stride, smoothing, span)
    meanings = names if labels is None else read_class_names(labels)
    if Path(out).exists():
        raise ExistingOutputError(f"{out}: already there; name another file or remove it")
    records = find_records(manifest)
    known = kinds_of(records, meanings, names, manifest)
    recognizer = load(model, wording=wording, device=device)
    rows: list[np.ndarray] = []
    kinds: list[bool] = []
    read = 0
    with Progress("calibrate", len(records)) as progress:
        for done, (record, is_known) in enumerate(zip(records, known, strict=True), 1):
            try:
                found = Stream(recognizer, names, config).cosines(str(record.video))
                rows += list(found)
                kinds += [is_known] * len(found)
                read += 1
            except SkiDataError as error:
                print(error, file=sys.stderr)
            progress.update(done)
    if not rows:
        raise InputError(f"{manifest}: none of its videos could be read")
    result = calibrate_scores(
        np.stack(rows),
        recognizer.scale,
        np.array(kinds),
        names=names,
        wording=wording,
        model_hash=hash_model(recognizer.model),
        windows=config.windows,
    )
    write_calibration(out, result)
    areas = ", ".join(f"{name} {area:.3f}" for name, area in result.auroc.items())
    print(f"{out}: {result.score} >= {result.threshold:.4g}, by {result.windows}")
    print(f"  accepts {result.accepted:.1%} of {result.known} windows of known clips")
    print(f"  rejects {result.rejected:.1%} of {result.unknown} windows of unknown clips")
    print(f"  areas under the ROC curve: {areas}")
    if result.auroc[result.score] < HARDLY:
        log.warning(
            "the scores hardly tell known from unknown clips (area %.2f, chance is 0.5): this "
            "threshold will reject at random; try another model, classes or longer windows",
            result.auroc[result.score],
        )
    return 1 if read < len(records) else 0


def kinds_of(
    records: Sequence[Record], meanings: Sequence[str], names: Sequence[str], where: str
) -> list[bool]:
    """Which clips show one of the classes ``names``.

    Args:
        records: clips.
        meanings: names of their labels.
        names: the classes.
        where: what errors call the clips.

    Raises:
        InputError: a label without a name, or clips of one kind only.
    """
    beyond = [r for r in records if r.label is not None and r.label >= len(meanings)]
    if beyond:
        raise InputError(
            f"{where}: {beyond[0].name} has label {beyond[0].label}, there are "
            f"{len(meanings)} names; give the names of all labels by --labels"
        )
    known = [r.label is not None and meanings[r.label] in names for r in records]
    if all(known) or not any(known):
        raise InputError(
            f"{where}: {sum(known)} clips of the classes and {len(known) - sum(known)} of none "
            "of them; both are needed"
        )
    return known
