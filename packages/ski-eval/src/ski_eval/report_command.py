"""Command ``ski-eval report``: everything under a run's folder as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ski_eval import embeddings, files, predictions
from ski_eval.accuracy import confusion_matrix, per_class_accuracy
from ski_eval.archives import header_schema
from ski_eval.calibration import calibration_error
from ski_eval.curves import embedding_figure, reliability_figure, sweep_figure
from ski_eval.embeddings import Method, load_embeddings, project
from ski_eval.errors import InputError, MissingFileError
from ski_eval.plots import confusion_matrix_figure, per_class_bars_figure
from ski_eval.predictions import Predictions, load_predictions
from ski_eval.report import Report
from ski_eval.results import ResultCard, read_cards
from ski_eval.seeds import over_seeds
from ski_eval.tables import Table, accuracy_table, format_interval, format_value, paper_table

PICTURES = (".png", ".jpg", ".jpeg", ".svg")
_NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_MATRIX = 60
"""Classes up to which a confusion matrix can be read."""


def report(
    folder: Path,
    out: Path | None = None,
    title: str = "Results",
    tolerance: float = 1.0,
    sweep: str = "alpha",
    projection: Method = "pca",
    seed: int = 0,
    gallery: int = 24,
    gallery_mb: float = 8.0,
    overwrite: bool = False,
) -> None:
    """Make one HTML page, readable offline, of all that an evaluation left under a folder.

    Taken up: result cards (.json; the mean where some differ in their seeds only), predictions and
    embeddings (.npz), and pictures (.png, .jpg, .svg) in folders named attention, whose file names
    are the labels.

    Args:
        folder: e.g. of a run.
        out: file to write; by default report.html in the folder.
        title: headline of the page.
        tolerance: difference to the paper that counts as the same, in points of percent.
        sweep: cards whose configuration holds this number are drawn as a curve over it.
        projection: how embeddings are brought onto a plane: pca, tsne or umap.
        seed: of the projection.
        gallery: largest number of pictures per folder.
        gallery_mb: largest size of all pictures together.
        overwrite: replace an older page.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    if gallery < 1 or not gallery_mb > 0.0 or not tolerance >= 0.0:
        raise InputError("--gallery, --gallery_mb and --tolerance: 1 or more, above 0, from 0 on")
    found = _npz_files(folder)
    pictures = _pictures(folder)
    try:
        cards = [card for _, card in read_cards(folder)]
    except MissingFileError:
        if not any(found.values()) and not pictures:
            raise
        cards = []
    page = Report(title, f"Made by ski-eval from `{folder.name}`.")
    if cards:
        _add_cards(page, over_seeds(cards), tolerance / 100.0, sweep)
    for path in found[predictions.SCHEMA]:
        _add_predictions(page, load_predictions(path), path.relative_to(folder))
    for path in found[embeddings.SCHEMA]:
        own = load_embeddings(path)
        name = own.title or str(path.relative_to(folder).with_suffix(""))
        flat = project(own.features, projection, seed)
        page.add_text(f"Embeddings: {name}")
        page.add_figure(
            f"{len(flat)} clips by {_NAMES[projection]}; colours are true classes",
            embedding_figure(flat, own.labels, own.classes),
            f"Scatter of {len(flat)} embeddings of {len(own.classes)} classes.",
        )
    left = int(gallery_mb * 1e6)
    for place, paths in pictures.items():
        left = _add_gallery(page, place.relative_to(folder), paths, gallery, left)
    if cards:
        _add_sources(page, cards)
    written = page.write(out or folder / "report.html", overwrite=overwrite)
    print(written)


def _add_cards(page: Report, cards: Sequence[ResultCard], tolerance: float, sweep: str) -> None:
    swept = [card for card in cards if _setting(card, sweep) is not None]
    plain = [card for card in cards if _setting(card, sweep) is None]
    judged = [c for c in plain if c.paper_value is not None and c.value is not None]
    if not any(card.comparable_to_paper for card in judged):
        page.add_warning("Nothing here was measured on the paper's data and protocol.")
    if judged:
        page.add_text("Against the paper")
        _add_table(page, "Published figures beside ours", paper_table(judged, tolerance))
    if plain:
        page.add_text("Results")
    for (dataset, split), group in _grouped(plain).items():
        if len({(c.method, c.protocol, c.metric) for c in group}) == len(group):
            _add_table(page, f"{dataset}, {split}", accuracy_table(group))
        else:  # e.g. several settings of one method: a line each
            rows = [
                (c.name, c.method, c.metric, format_interval(c.value, c.interval, c.unit), c.n)
                for c in group
            ]
            headers = ("Card", "method", "metric", "value", "samples")
            page.add_table(f"{dataset}, {split}", headers, rows)
    if swept:
        page.add_text(f"Sweep of {sweep}")
    for (dataset, split), group in _grouped(swept).items():
        _add_sweep(page, f"{dataset}, {split}", group, sweep)


def _add_sweep(page: Report, where: str, cards: Sequence[ResultCard], sweep: str) -> None:
    series: dict[str, list[ResultCard]] = {}
    for card in sorted(cards, key=lambda card: _setting(card, sweep) or 0.0):
        series.setdefault(_line_of(card, cards), []).append(card)
    lines = {
        name: [(_setting(c, sweep) or 0.0, c.value or 0.0, c.interval) for c in group]
        for name, group in series.items()
        if all(c.unit == "fraction" and c.value is not None for c in group)
        and len({_setting(c, sweep) for c in group}) > 1
    }
    if lines:
        page.add_figure(
            f"Accuracy over {sweep}, {where}",
            sweep_figure(lines, sweep),
            f"Curves of accuracy over {sweep}: {', '.join(lines)}.",
        )
    rows = [
        (
            f"{_setting(c, sweep):g}",
            c.method,
            f"{c.protocol}, {c.metric}",
            format_interval(c.value, c.interval, c.unit),
            _paper(c),
        )
        for group in series.values()
        for c in group
    ]
    headers = (sweep, "method", "metric", "ours", "paper")
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    page.add_table(where, headers, rows)


def _add_predictions(page: Report, own: Predictions, name: Path) -> None:
    k = len(own.classes)
    told = own.meta.get("method")
    page.add_text(f"Predictions: {told if isinstance(told, str) else name.with_suffix('')}")
    page.add_text("", f"From `{name.as_posix()}`: {len(own.names)} clips, {k} candidate classes.")
    matrix = confusion_matrix(own.predicted, own.labels, k)
    if k <= _MATRIX:
        page.add_figure(
            "Which class is taken for which",
            confusion_matrix_figure(matrix, own.classes),
            f"Confusion matrix of {k} classes.",
        )
    else:
        _add_mistakes(page, matrix, own.classes)
    page.add_figure(
        "Accuracy by class",
        per_class_bars_figure(
            own.classes,
            per_class_accuracy(own.predicted, own.labels, k),
            matrix.sum(axis=1),
            chance=1.0 / k,
        ),
        f"Bars of the accuracy within each of {k} classes.",
    )
    page.add_figure(
        "Are confidences right? Bars below the line: too confident",
        reliability_figure(calibration_error(own.logits, own.labels)),
        "Reliability diagram: accuracy against confidence.",
    )


def _add_mistakes(page: Report, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """The commonest confusions, where a matrix would be too fine to read."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:25]
    pairs = [divmod(int(i), len(classes)) for i in order if wrong.flat[i] > 0]
    rows = [(classes[t], classes[p], int(wrong[t, p]), int(matrix[t].sum())) for t, p in pairs]
    page.add_table("Commonest confusions", ("true", "taken for", "clips", "of"), rows)


def _add_gallery(page: Report, place: Path, paths: Sequence[Path], most: int, left: int) -> int:
    """Pictures of one folder as long as ``left`` bytes last; returns what is left."""
    shown = []
    for path in paths[:most]:
        content = files.read_bytes(path)
        if len(content) > left:
            break
        left -= len(content)
        shown.append((content, path.stem.replace("_", " "), f"Attention map: {path.stem}"))
    where = place.parent.as_posix()
    page.add_text("Attention maps" if where == "." else f"Attention maps: {where}")
    if len(shown) < len(paths):
        page.add_text("", f"{len(shown)} of {len(paths)} pictures are shown.")
    if shown:
        page.add_gallery("Where the model looks", shown)
    return left


def _add_sources(page: Report, cards: Sequence[ResultCard]) -> None:
    page.add_text("Where the figures come from")
    rows = []
    for card in cards:
        git = card.environment.get("git")
        commit = git.get("commit") if isinstance(git, dict) else None
        changed = " with changes" if isinstance(git, dict) and git.get("dirty") else ""
        rows.append(
            (
                card.name,
                card.n,
                ", ".join(map(str, card.seeds)),
                (card.data_hash or "")[:12],
                (card.split_hash or "")[:12],
                card.config_hash[:12],
                f"{str(commit or '')[:12]}{changed}",
                "" if card.wall_time_s is None else f"{card.wall_time_s:.0f} s",
            )
        )
    headers = ("card", "samples", "seeds", "data", "split", "config", "code", "time")
    page.add_table("First 12 digits of the hashes", headers, rows)
    machines = dict.fromkeys(
        json.dumps(card.environment.get("hardware"), ensure_ascii=False, sort_keys=True)
        for card in cards
        if card.environment.get("hardware")
    )
    versions = dict.fromkeys(
        json.dumps(card.environment.get("versions"), ensure_ascii=False, sort_keys=True)
        for card in cards
        if card.environment.get("versions")
    )
    for what, texts in (("Hardware", machines), ("Versions", versions)):
        if texts:
            page.add_text("", "\n".join(f"- {what}: `{text}`" for text in texts))


def _add_table(page: Report, caption: str, table: Table) -> None:
    page.add_table(caption, table.headers, table.rows)
    if table.notes:
        page.add_text("", "\n".join(f"- {note}" for note in table.notes))


def _grouped(cards: Sequence[ResultCard]) -> dict[tuple[str, str], list[ResultCard]]:
    groups: dict[tuple[str, str], list[ResultCard]] = {}
    for card in cards:
        groups.setdefault((card.dataset, card.split), []).append(card)
    return groups


def _setting(card: ResultCard, sweep: str) -> float | None:
    value = card.config.get(sweep)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number else None


def _line_of(card: ResultCard, cards: Sequence[ResultCard]) -> str:
    """Name of a card's curve; the method is named where there are several."""
    several = len({other.method for other in cards}) > 1
    return ", ".join([*([card.method] if several else []), card.protocol, card.metric])


def _paper(card: ResultCard) -> str:
    if card.paper_value is None:
        return ""
    text = format_value(card.paper_value, card.unit)
    return text if card.comparable_to_paper else f"({text})"


def _npz_files(folder: Path) -> dict[str, list[Path]]:
    """Predictions and embeddings under ``folder``; other ``.npz`` files are passed over."""
    found: dict[str, list[Path]] = {predictions.SCHEMA: [], embeddings.SCHEMA: []}
    for path in sorted(folder.rglob("*.npz")):
        schema = header_schema(path)
        if schema in found:
            found[schema].append(path)
    return found


def _pictures(folder: Path) -> dict[Path, list[Path]]:
    found = {}
    places = [folder] if folder.name == "attention" else []
    for place in [*places, *sorted(p for p in folder.rglob("attention") if p.is_dir())]:
        paths = sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURES and p.is_file())
        if paths:
            found[place] = paths
    return found
