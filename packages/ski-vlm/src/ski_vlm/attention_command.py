"""Command that shows where in a video a model finds evidence for a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ski_data.errors import ExistingOutputError, InputError
from ski_data.folders import whole_folder
from ski_data.video.decode import probe, read_frames
from ski_data.video.overlay import clipped_heat, contact_sheet, lay_over, write_mp4, write_png
from ski_data.video.sampling import test_indices
from ski_data.video.transforms import center_crop, resize_short_side
from ski_vlm.attention_map import relevance
from ski_vlm.class_texts import read_wording
from ski_vlm.predict import load, read_class_names

LEAST = 320
"""Pixels to a side that pictures have at least."""


def attention(
    video: str,
    *,
    model: str,
    classes: str,
    out: str,
    templates: str | None = None,
    descriptions: str | None = None,
    target: str | None = None,
    blocks: int = 1,
    average: bool = False,
    low: float = 5.0,
    high: float = 99.0,
    opacity: float = 0.6,
    device: str = "cpu",
) -> None:
    """Show where a model finds evidence for a class, frame by frame.

    Writes into the folder OUT: frame-NN.png, every frame that the model sees with its relevance in
    colours; sheet.png, frames above their overlays; overlay.mp4, at the video's pace; maps.npy, the
    relevance itself; attention.json, what is shown.

    Args:
        video: a video file.
        model: a model or run folder; or a CLIP as it comes, such as ViT-B-16/openai,
            ViT-B-16/FILE or hf-hub:OWNER/NAME.
        classes: names separated by commas, or a file with one per line or columns id,name.
        out: folder to write.
        templates: ways to name a class whose texts are averaged: name, photo, froster, or a file
            with one per line ({name} is the class); by default what the model was trained with.
        descriptions: CSV id,name,description that says more of each class, averaged in by half.
        target: the class to explain; by default the one that is recognised.
        blocks: last blocks of a transformer that relevance is followed through.
        average: write average.png too, the mean relevance over all frames on the middle one.
        low: percentile of the clip's relevance that stays without colour.
        high: percentile of the clip's relevance that gets the hottest colour.
        opacity: share of colour at the hottest places.
        device: cpu, cuda or cuda:N.
    """
    names, wording = read_class_names(classes), read_wording(templates, descriptions)
    wording.check(names)
    if target is not None and target not in names:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise InputError(f"--target {target!r} is none of the classes: {shown}")
    if Path(out).exists():
        raise ExistingOutputError(f"{out}: already there; name another folder or remove it")
    if not 0 <= low < high <= 100 or not 0 <= opacity <= 1:
        raise InputError("--low and --high rise within 0..100, --opacity lies in 0..1")
    info = probe(video)
    recognizer = load(model, wording=wording, device=device)
    student = recognizer.model
    indices = test_indices(info.frames, student.config.frames)
    chosen = read_frames(video, indices)
    fitted = recognizer.fitted(chosen)
    (ranked,) = recognizer.rank(fitted[None], names)
    label = target or ranked[0].label
    pixels = torch.from_numpy(fitted).to(recognizer.device)
    text = recognizer.class_texts(names)[names.index(label)]
    maps = relevance(student, pixels, text, blocks=blocks)
    heat = clipped_heat(maps, low, high)
    frames = as_seen(chosen, student.image_size, student.config.short_side)
    overlay = lay_over(frames, heat, opacity)
    about = {
        "video": video,
        "target": label,
        "probability": next(p.probability for p in ranked if p.label == label),
        "recognised": ranked[0].label,
        "frames": indices.tolist(),
        "blocks": blocks,
        "percentiles": [low, high],
    }
    with whole_folder(out) as folder:
        for number, picture in enumerate(overlay):
            write_png(folder / f"frame-{number:02d}.png", picture)
        write_png(folder / "sheet.png", contact_sheet([frames, overlay]))
        pace = len(frames) * (info.fps or 25.0) / info.frames
        write_mp4(folder / "overlay.mp4", overlay, min(pace, info.fps or 25.0))
        if average:
            mean = clipped_heat(maps.mean(0, keepdims=True), low, high)
            middle = len(frames) // 2
            picture = lay_over(frames[middle : middle + 1], mean, opacity)[0]
            write_png(folder / "average.png", picture)
        np.save(folder / "maps.npy", maps, allow_pickle=False)
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (folder / "attention.json").write_text(text + "\n", encoding="utf-8")
    print(out)
    print(f"  shown: {label} ({about['probability']:.1%}); recognised: {ranked[0].label}")


def as_seen(frames: np.ndarray, size: int, short_side: int) -> np.ndarray:
    """What the model sees of frames ``(T, H, W, 3)``, at no less than :data:`LEAST` pixels."""
    times = -(-LEAST // size)
    return center_crop(resize_short_side(frames, max(short_side, size) * times), size * times)
