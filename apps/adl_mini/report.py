"""The HTML page and the Markdown table of a main-job run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from apps.adl_mini.evaluation import (
    LONGER,
    PEOPLE,
    SKELETON,
    SKI,
    UNSEEN,
    VIFICLIP,
    Row,
    answers,
    difference,
)
from apps.adl_mini.stages import Data
from ski_data.layouts import get_layout
from ski_data.ntu.skeleton_file import read_colour
from ski_data.progress import seconds
from ski_data.video.decode import probe, read_frames
from ski_data.video.sampling import test_indices
from ski_eval import (
    Report,
    ResultCard,
    accuracy_bars_figure,
    accuracy_table,
    confusion_matrix,
    confusion_matrix_figure,
    per_class_accuracy,
    per_class_bars_figure,
    training_curves_figure,
)
from ski_vlm.attention_map import attention_maps
from ski_vlm.students import load_student

WARNING = (
    "These are numbers of adl-mini, a small generated data set. They are **not comparable** with "
    "the paper's, nor with those of any real data set."
)
SHOWN_FRAMES = 3
ZOOM = 2


def what_scd_changed(rows: Sequence[Row]) -> list[str]:
    """One sentence per comparison of the distilled student, whichever way it went."""
    by_method = {row.method: row for row in rows}
    sentences = []
    for other in (VIFICLIP, LONGER):
        if other not in by_method:
            continue
        for protocol in (UNSEEN, PEOPLE):
            d = difference(by_method[SKI], by_method[other], protocol)
            low, high = 100 * d.interval.low, 100 * d.interval.high
            sentences.append(
                f"Against {other}, on {protocol}: {100 * d.difference:+.1f} points "
                f"(95 % interval {low:+.1f} to {high:+.1f}, p = {d.p:.3f}): {d.verdict}."
            )
    return sentences


def write_markdown(path: Path, rows: Sequence[Row], cards: Sequence[ResultCard]) -> str:
    """Write and give back the table in Markdown."""
    table = accuracy_table(cards)
    parts = [
        "# Main job on adl-mini",
        WARNING,
        table.markdown(),
        "## What SkeletonCLIP distillation changed",
        "\n".join(f"- {sentence}" for sentence in what_scd_changed(rows)),
    ]
    text = "\n\n".join(parts) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def write_report(
    path: Path,
    data: Data,
    rows: Sequence[Row],
    cards: Sequence[ResultCard],
    runs: dict[str, dict[int, Path]],
    times: dict[str, float],
) -> None:
    """The self-contained HTML page of a run."""
    by_method = {row.method: row for row in rows}
    ski = by_method[SKI]
    report = Report(
        "Recognising actions never seen in training",
        f"Main job on **adl-mini**: {len(data.seen)} classes in training, {len(data.unseen)} new "
        "ones at test; RGB video alone at test, but for SkeletonCLIP",
    )
    report.add_warning(WARNING)
    _facts(report, data, rows, cards, times)
    table = accuracy_table(cards)
    report.add_text(
        "Results",
        "Every model chooses among class names. No clip of the new classes was in any training. "
        "Intervals resample whole performances, since three cameras filmed each.",
    )
    highlight = [i for i, line in enumerate(table.rows) if line[0] == SKI]
    report.add_table("Accuracy in percent", table.headers, table.rows, highlight=highlight)
    report.add_text("", "\n".join(f"- {note}" for note in table.notes))
    for protocol, chance in ((UNSEEN, 1 / len(data.unseen)), (PEOPLE, 1 / len(data.seen))):
        bars = [
            (card.method, float(card.value or 0), card.interval)
            for card in cards
            if card.protocol == protocol
        ]
        spoken = ", ".join(f"{name} {100 * value:.1f} percent" for name, value, _ in bars)
        report.add_figure(
            f"Top-1 accuracy, {protocol}",
            accuracy_bars_figure(bars, chance),
            f"Bars: {spoken}; chance {100 * chance:.0f} percent.",
        )
    report.add_text(
        "What SkeletonCLIP distillation changed",
        "\n".join(f"- {sentence}" for sentence in what_scd_changed(rows)),
    )
    _errors(report, data, by_method)
    report.add_text("Training", "One panel per training; losses as logged, with running means.")
    curves = training_curves(runs)
    names = ", ".join(curves)
    report.add_figure(
        "Losses of every stage", training_curves_figure(curves), f"Loss curves of {names}."
    )
    report.add_text(
        "What the models see",
        "Test clips of the new classes. First rows: RGB with the recorded skeleton, which training "
        "uses and the student does not. Second rows: where the image tower of SKI-ViFi-CLIP finds "
        "evidence for the class that it names (gradient-weighted relevance).",
    )
    student = next(iter(runs[SKI].values()))
    report.add_gallery("Skeletons and relevance maps", gallery(data, ski, student))
    _provenance(report, cards, times)
    report.write(path, overwrite=True)


def _facts(
    report: Report,
    data: Data,
    rows: Sequence[Row],
    cards: Sequence[ResultCard],
    times: dict[str, float],
) -> None:
    value = {(c.method, c.protocol): c for c in cards}
    unseen, people = value[SKI, UNSEEN], value[SKI, PEOPLE]
    by_method = {row.method: row for row in rows}
    d = difference(by_method[SKI], by_method[VIFICLIP], UNSEEN)
    report.add_facts(
        [
            (
                f"{SKI}, new classes",
                f"{100 * float(unseen.value or 0):.1f} %",
                f"top-1, chance {100 / len(data.unseen):.0f} %, {unseen.n} clips",
            ),
            (
                "What SCD changed there",
                f"{100 * d.difference:+.1f} points",
                f"against ViFi-CLIP: {d.verdict}, p = {d.p:.3f}",
            ),
            (
                f"{SKI}, new people",
                f"{100 * float(people.value or 0):.1f} %",
                f"top-1, chance {100 / len(data.seen):.0f} %, {people.n} clips",
            ),
            ("Time", seconds(sum(times.values())), f"all stages, {_machine(cards)}"),
        ]
    )


def _machine(cards: Sequence[ResultCard]) -> str:
    hardware = cards[0].environment["hardware"]
    gpus = hardware.get("gpu") or "no GPU"
    return f"{hardware['cores']} cores, {gpus if isinstance(gpus, str) else ', '.join(gpus)}"


def _errors(report: Report, data: Data, by_method: dict[str, Row]) -> None:
    report.add_text("Errors", "Which action is taken for which; a row is the true class.")
    for method, protocol in ((VIFICLIP, UNSEEN), (SKELETON, UNSEEN), (SKI, UNSEEN), (SKI, PEOPLE)):
        predictions = by_method[method].first
        answered, labels, classes = answers(predictions, protocol)
        names = [predictions.classes[i] for i in classes]
        matrix = confusion_matrix(answered, labels, len(names))
        report.add_figure(
            f"{method}: {protocol}",
            confusion_matrix_figure(matrix, names, method),
            f"Confusion matrix of {method} over {len(names)} classes.",
        )
    answered, labels, _ = answers(by_method[SKI].first, PEOPLE)
    count = len(data.seen)
    report.add_figure(
        f"{SKI}: accuracy by class, new people",
        per_class_bars_figure(
            data.seen.names,
            per_class_accuracy(answered, labels, count),
            np.bincount(labels, minlength=count),
            chance=1 / count,
        ),
        "Bars of the accuracy of each seen class.",
    )


def training_curves(
    runs: dict[str, dict[int, Path]],
) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Logged losses of each run (first seed): run name to series to (steps, values)."""
    curves = {}
    folders = {run.name: run for by_seed in runs.values() for run in list(by_seed.values())[:1]}
    for name, run in folders.items():
        lines = [
            json.loads(line)
            for line in (run / "log.jsonl").read_text(encoding="utf-8").split("\n")
            if line
        ]
        skip = {"step", "epoch", "lr", "seconds", "accuracy"}
        series = [key for key in lines[0] if key not in skip]
        steps = [line["step"] for line in lines]
        curves[name] = {key: (steps, [line[key] for line in lines]) for key in series}
    return curves


def gallery(data: Data, row: Row, run: Path, clips: int = 6) -> list[tuple[bytes, str, str]]:
    """Pictures of one front-camera clip of each new class: frames with skeleton, and relevance."""
    student, _ = load_student(run)
    student.text.freeze()
    predictions, names = row.first, list(data.unseen.names)
    position = {name: i for i, name in enumerate(predictions.names)}
    chosen: dict[int, int] = {}
    for number, record in enumerate(data.test_unseen):
        if record.camera == 2 and record.label is not None:
            chosen.setdefault(record.label, number)
    items = []
    for label, number in sorted(chosen.items())[:clips]:
        record = data.test_unseen[number]
        assert record.video is not None
        assert record.skeleton is not None
        logits = predictions.logits[position[record.name]][list(predictions.unseen or ())]
        scale = student.logit_scale.exp().item()
        shares = torch.softmax(torch.from_numpy(logits) * scale, 0)
        answer = int(shares.argmax())
        indices = test_indices(probe(record.video).frames, student.config.frames)
        frames = read_frames(record.video, indices)
        small = data.videos.clip(record.name)
        seen = small[test_indices(len(small), student.config.frames)]
        maps = attention_maps(student, torch.from_numpy(seen.copy()), names, answer)
        picture = overlay(frames, indices, record.skeleton, maps)
        text = f"**{names[label]}**, named {names[answer]} ({100 * float(shares[answer]):.0f} %)"
        items.append((picture, text, f"Frames of {names[label]} with skeleton and relevance map."))
    return items


def overlay(frames: np.ndarray, indices: np.ndarray, skeleton: Path, maps: np.ndarray) -> bytes:
    """PNG: some frames with the skeleton's bones, below them the same frames under the map."""
    chosen = np.linspace(0, len(frames) - 1, SHOWN_FRAMES).round().astype(int)
    at, colour = read_colour(skeleton)
    rows: list[list[np.ndarray]] = [[], []]
    for i in chosen:
        height, width = frames[i].shape[:2]
        size = (width * ZOOM, height * ZOOM)
        large = cv2.resize(frames[i], size, interpolation=cv2.INTER_CUBIC)
        bones = large.copy()
        for joints in colour[at == indices[i]]:
            for a, b in get_layout("kinect25").edges:
                ends = [tuple(int(v * ZOOM) for v in joints[j]) for j in (a, b)]
                cv2.line(bones, ends[0], ends[1], (80, 255, 120), 2, cv2.LINE_AA)
        heat = cv2.resize(maps[i], size, interpolation=cv2.INTER_LINEAR)
        tint = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
        rows[0].append(bones)
        rows[1].append((0.55 * large + 0.45 * tint).astype(np.uint8))
    picture = np.concatenate([np.concatenate(row, 1) for row in rows])
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    assert done
    return encoded.tobytes()


def _provenance(report: Report, cards: Sequence[ResultCard], times: dict[str, float]) -> None:
    card = cards[0]
    report.add_text(
        "How this was made",
        f"Data hash `{card.data_hash}`, split hash `{card.split_hash}`, settings "
        f"`{card.config_hash}`. Each number stands in `results/` with the versions, machine and "
        "settings that made it; predictions of every clip are in `predictions/`.",
    )
    report.add_table(
        "Time by stage", ["Stage", "Time"], [[k, seconds(v)] for k, v in times.items()]
    )
