"""Command that writes a student for other programs, and what 8-bit weights cost and save."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ski_data.errors import InputError
from ski_data.folders import whole_folder
from ski_data.progress import Progress
from ski_vlm.calibration import hash_model
from ski_vlm.export import Exported, export_student, need
from ski_vlm.predict import Recognizer, load, read_class_names, softmax
from ski_vlm.reading import find_records, in_order

CARD = "int8.json"


@dataclass(frozen=True)
class Card:
    """The 8-bit video graph against the float32 one, on clips, one at a time on the CPU."""

    clips: int
    classes: int
    agreement: float
    """Share of clips with the same first class."""
    difference: float
    """Largest difference of a probability."""
    accuracy_fp32: float | None
    """Share of clips whose label comes first, where labels are known."""
    accuracy_int8: float | None
    ms_fp32: float
    """Median milliseconds per clip, without decoding."""
    ms_int8: float
    bytes_fp32: int
    bytes_int8: int

    def __str__(self) -> str:
        """A table for people."""

        def share(value: float | None) -> str:
            return "-" if value is None else f"{value:.1%}"

        rows = (
            ("", "fp32", "int8"),
            ("first class as fp32", "", f"{self.agreement:.1%}"),
            ("right, where labelled", share(self.accuracy_fp32), share(self.accuracy_int8)),
            ("ms per clip", f"{self.ms_fp32:.1f}", f"{self.ms_int8:.1f}"),
            ("MB", f"{self.bytes_fp32 / 1e6:.1f}", f"{self.bytes_int8 / 1e6:.1f}"),
        )
        lines = [f"  {a:22}{b:>10}{c:>10}" for a, b, c in rows]
        end = f"  {self.clips} clips, {self.classes} classes; largest difference of a probability "
        return "\n".join([*lines, f"{end}{self.difference:.3f}"])


def export(
    model: str,
    out: str,
    *,
    format: Literal["onnx", "torch"] = "onnx",
    classes: str | None = None,
    int8: bool = False,
    videos: str | None = None,
    workers: int = 1,
) -> None:
    """Write a model for other programs: ONNX or torch.export, classes and batch left open.

    Writes video and text graphs and export.json into OUT and checks that they give the model's
    numbers.

    Args:
        model: a model or run folder; or a CLIP as it comes, such as ViT-B-16/openai,
            ViT-B-16/FILE or hf-hub:OWNER/NAME.
        out: folder to write.
        format: onnx (needs the extra "export") or torch (.pt2 archives).
        classes: names separated by commas, or a file, whose texts are written as texts.npy too.
        int8: write the video graph with 8-bit weights too (onnx only), and a card of what it costs
            in agreement and saves in time and size on VIDEOS.
        videos: manifest or folder of videos for the card.
        workers: processes that read videos; 0 reads without them.
    """
    need(format)
    if int8 and format != "onnx":
        raise InputError("--int8 is for --format onnx")
    if int8 and (videos is None or classes is None):
        raise InputError("--int8 is measured on clips: give --videos and --classes")
    if videos is not None and not int8:
        raise InputError("--videos is for --int8")
    names = [] if classes is None else read_class_names(classes)
    records = [] if videos is None else find_records(videos)
    recognizer = load(model)
    with whole_folder(out) as folder:
        about = export_student(
            recognizer.model, folder, format, classes=names, model_hash=hash_model(recognizer.model)
        )
        card = None
        if int8:
            quantise(folder / "video.onnx", folder / "video.int8.onnx")
            labels = [r.label for r in records]
            card = compare(folder, recognizer, [r.video for r in records], labels, names, workers)
            text = json.dumps(asdict(card), indent=1)
            (folder / CARD).write_text(text + "\n", encoding="utf-8")
    print(out)
    told = ", ".join(f"{key} {value:.1e}" for key, value in about["parity"].items())
    print(f"  largest differences from the model: {told}")
    if card is not None:
        print(card)


def quantise(source: Path, target: Path) -> None:
    """Matrices of a graph to 8 bits per weight, activations at run time; convolutions stay."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    del model.graph.value_info[:]  # the quantiser turns weights round, their noted shapes go stale
    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


def compare(
    folder: Path,
    recognizer: Recognizer,
    videos: Sequence[Path | None],
    labels: Sequence[int | None],
    names: Sequence[str],
    workers: int,
) -> Card:
    """Both video graphs of an exported folder on the same clips.

    Raises:
        InputError: none of the videos could be read.
    """
    texts = np.load(folder / "texts.npy", allow_pickle=False)
    graphs = [Exported(folder), Exported(folder, int8=True)]
    rows: list[list[np.ndarray]] = [[], []]
    times: list[list[float]] = [[], []]
    known: list[int | None] = []
    clips = in_order(videos, recognizer.frames, ahead=8, workers=workers)
    with Progress("int8 card", len(videos)) as progress:
        for done, (clip, label) in enumerate(zip(clips, labels, strict=True), 1):
            progress.update(done)
            if not isinstance(clip, np.ndarray):
                print(clip, file=sys.stderr)
                continue
            known.append(label)
            for graph, row, took in zip(graphs, rows, times, strict=True):
                if not took:
                    graph.video(clip[None], texts)  # the first call prepares the graph
                begin = time.perf_counter()
                row.append(graph.video(clip[None], texts)[0][0])
                took.append(1000 * (time.perf_counter() - begin))
    if not known:
        raise InputError("none of the clips could be read")
    whole, small = (np.stack(row) for row in rows)
    truth = np.array([-1 if label is None else label for label in known])
    labelled = truth >= 0
    right = [
        float((answer.argmax(1) == truth)[labelled].mean()) if labelled.any() else None
        for answer in (whole, small)
    ]
    sizes = [(folder / name).stat().st_size for name in ("video.onnx", "video.int8.onnx")]
    return Card(
        clips=len(known),
        classes=len(names),
        agreement=float((whole.argmax(1) == small.argmax(1)).mean()),
        difference=float(np.abs(softmax(whole) - softmax(small)).max()),
        accuracy_fp32=right[0],
        accuracy_int8=right[1],
        ms_fp32=float(np.median(times[0])),
        ms_int8=float(np.median(times[1])),
        bytes_fp32=sizes[0],
        bytes_int8=sizes[1],
    )
