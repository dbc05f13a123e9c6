"""Command that names what happens in video files."""

from __future__ import annotations

import csv as csv_format
import json as json_format
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

from ski_data.errors import InputError
from ski_data.folders import whole_file
from ski_data.progress import Progress
from ski_vlm.class_texts import read_wording
from ski_vlm.predict import Recognition, check_top_k, load, read_class_names
from ski_vlm.reading import find_videos

COLUMNS = ("video", "rank", "label", "probability", "error")


def predict(
    video: list[str],
    *,
    model: str,
    classes: str,
    templates: str | None = None,
    descriptions: str | None = None,
    top_k: int = 5,
    out: str | None = None,
    workers: int = 1,
    batch_size: int = 8,
    timeout: float = 30.0,
    device: str = "cpu",
    csv: bool = False,
    json: bool = False,
) -> int:
    """Rank class names for video files, from RGB alone.

    With --stream, segments of a long or live video: the command stream, whose options then hold.
    A file that cannot be read is told on standard error and has a row with the error in CSV and
    JSON; the others are still done. Exit code 1 if some could not be read, 2 if none could.

    Args:
        video: video files, or folders that hold some.
        model: a model or run folder; or a CLIP as it comes, such as ViT-B-16/openai,
            ViT-B-16/FILE or hf-hub:OWNER/NAME.
        classes: names separated by commas, or a file with one per line or columns id,name.
        templates: ways to name a class whose texts are averaged: name, photo, froster, or a file
            with one per line ({name} is the class); by default what the model was trained with.
        descriptions: CSV id,name,description that says more of each class, averaged in by half.
        top_k: how many classes to print.
        out: file to write in place of standard output.
        workers: processes that read videos, which hostile files may end; 0 reads without them.
        batch_size: clips that the model sees at once.
        timeout: seconds that a process may take for one video.
        device: cpu, cuda or cuda:N.
        csv: print lines video,rank,label,probability,error in place of a table.
        json: print one JSON object per video in place of a table.
    """
    if csv and json:
        raise InputError("give --csv or --json, not both")
    names, wording = read_class_names(classes), read_wording(templates, descriptions)
    wording.check(names)
    check_top_k(top_k)
    videos = find_videos(video)
    recognizer = load(model, wording=wording, device=device)
    found = recognizer.predict_many(
        videos, names, top_k=top_k, workers=workers, batch_size=batch_size, timeout=timeout
    )
    with output(out) as file:
        write = write_jsonl if json else write_csv if csv else write_table
        failed = write(file, _watched(found, len(videos)))
    if out is not None:
        print(out)
    if not failed:
        return 0
    return 1 if failed < len(videos) else 2


@contextmanager
def output(out: str | Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears whole or not at all."""
    if out is None:
        yield sys.stdout
        return
    with whole_file(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


def _watched(found: Iterable[Recognition], total: int) -> Iterator[Recognition]:
    """The same, with errors and progress on standard error."""
    with Progress("predict", total) if total > 1 else nullcontext() as progress:
        for done, result in enumerate(found, 1):
            if result.error is not None:
                print(result.error, file=sys.stderr)
            yield result
            if progress is not None:
                progress.update(done)


def write_table(file: TextIO, found: Iterable[Recognition]) -> int:
    """Videos with percentages below, for people; gives how many could not be read."""
    failed = 0
    for result in found:
        failed += result.error is not None
        if result.error is None:
            print(result.video, file=file)
        for p in result.predictions:
            print(f"  {100 * p.probability:5.1f} %  {p.label}", file=file)
    return failed


def write_csv(file: TextIO, found: Iterable[Recognition]) -> int:
    """A row per video and class, or per error; gives how many could not be read."""
    writer, failed = csv_format.writer(file, lineterminator="\n"), 0
    writer.writerow(COLUMNS)
    for result in found:
        for rank, p in enumerate(result.predictions, 1):
            writer.writerow((result.video, rank, p.label, f"{p.probability:.6f}", ""))
        if result.error is not None:
            failed += 1
            writer.writerow((result.video, "", "", "", result.error))
    return failed


def write_jsonl(file: TextIO, found: Iterable[Recognition]) -> int:
    """An object per video; gives how many could not be read."""
    failed = 0
    for result in found:
        row: dict[str, object] = {"video": result.video}
        if result.error is None:
            row["predictions"] = [
                {"label": p.label, "probability": round(p.probability, 6)}
                for p in result.predictions
            ]
        else:
            failed += 1
            row["error"] = result.error
        print(json_format.dumps(row, ensure_ascii=False), file=file)
    return failed
