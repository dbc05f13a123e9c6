"""Command that names what happens in videos: ski-vlm's commands predict and stream."""

from __future__ import annotations

import json as json_format
import logging
import re
from pathlib import Path
from typing import Literal

from ski_data.errors import InputError, MissingFileError
from ski_data.splits import DATASETS, dataset_classes

log = logging.getLogger(__name__)

PUBLISHED = "ViT-B-16/openai"
"""The model that is there for all: CLIP as it was published."""
ADL_MINI = "adl-mini"
NAMED = (*DATASETS, ADL_MINI)
"""Data sets whose classes can be named as one."""
DISTILLED = "ski-vificlip-seed"
"""What the main job calls its students that learned from skeletons, before the seed."""


def recognize(
    video: list[str],
    *,
    classes: str,
    model: str = PUBLISHED,
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

    With --stream, one long or live video from when to when; see `ski recognize --stream --help`.
    Exit code 1 if some files could not be read, 2 if none could.

    Args:
        video: video files, or folders that hold some.
        classes: names separated by commas; a file with one per line or columns id,name; or the
            name of a data set, such as ntu60, for its classes.
        model: a run folder, also of `ski demo`; a model folder; or a CLIP as it comes, such as
            ViT-B-16/openai, ViT-B-16/FILE or hf-hub:OWNER/NAME.
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
    names, found = class_names(classes), find_model(model)
    from ski_vlm.predict_command import predict  # with torch, which wrong usage needs not

    return predict(
        video,
        model=found,
        classes=names,
        templates=templates,
        descriptions=descriptions,
        top_k=top_k,
        out=out,
        workers=workers,
        batch_size=batch_size,
        timeout=timeout,
        device=device,
        csv=csv,
        json=json,
    )


def recognize_stream(
    source: str,
    *,
    classes: str,
    model: str = PUBLISHED,
    templates: str | None = None,
    descriptions: str | None = None,
    window: float = 3.0,
    stride: float = 0.75,
    smoothing: Literal["none", "exponential", "median"] = "exponential",
    span: int = 3,
    threshold: float | None = None,
    calibration: str | None = None,
    out: str | None = None,
    timeout: float = 10.0,
    device: str = "cpu",
    json: bool = False,
) -> int:
    """Tell what goes on in long or live video, from when to when; Ctrl-C ends it.

    Args:
        source: a video file; a camera's number such as 0; or an address (rtsp://, http://, ...).
        classes: names separated by commas; a file with one per line or columns id,name; or the
            name of a data set, such as ntu60, for its classes.
        model: a run folder, also of `ski demo`; a model folder; or a CLIP as it comes, such as
            ViT-B-16/openai, ViT-B-16/FILE or hf-hub:OWNER/NAME.
        templates: ways to name a class whose texts are averaged: name, photo, froster, or a file
            with one per line ({name} is the class); by default what the model was trained with.
        descriptions: CSV id,name,description that says more of each class, averaged in by half.
        window: seconds that the model sees at once.
        stride: seconds from window to window.
        smoothing: none, exponential or median, of the scores of successive windows.
        span: windows over which is smoothed.
        threshold: least probability; windows with less show none of the classes.
        calibration: file of `ski-vlm calibrate`, in place of a threshold.
        out: file to write in place of standard output.
        timeout: seconds to wait for a camera or address.
        device: cpu, cuda or cuda:N.
        json: print one JSON object per segment in place of lines start,end,label,score.
    """
    names, found = class_names(classes), find_model(model)
    from ski_vlm.stream_command import stream  # with torch, which wrong usage needs not

    return stream(
        source,
        model=found,
        classes=names,
        templates=templates,
        descriptions=descriptions,
        window=window,
        stride=stride,
        smoothing=smoothing,
        span=span,
        threshold=threshold,
        calibration=calibration,
        out=out,
        timeout=timeout,
        device=device,
        json=json,
    )


def class_names(classes: str) -> str:
    """What ski-vlm's commands take for ``classes``: a data set's name becomes its classes.

    Raises:
        InputError: no classes.
    """
    if not classes.strip(" ,"):
        raise InputError(
            f"--classes is empty; name some as 'wave,sit down', a file, or {', '.join(NAMED)}"
        )
    if classes not in NAMED:
        return classes
    if classes == ADL_MINI:
        from ski_data.synthetic.classes import ACTIONS

        return ",".join(action.name for action in ACTIONS)
    return ",".join(dataset_classes(classes).names)


def find_model(model: str) -> str:
    """The model of a run that holds several: the student that learned from skeletons, first seed.

    Everything else is given back as it is: ski-vlm says what is wrong with it.

    Raises:
        MissingFileError: a run that is not trained yet.
        InputError: a damaged run.
    """
    folder = Path(model)
    if (folder / "model").is_dir() or not folder.is_dir():
        return model
    if (folder / "recipe.json").is_file():  # of `ski-vlm train`
        return _told(model, _first_seed(folder))
    if (folder / "config.yaml").is_file() and (folder / "times.json").is_file():  # of `ski demo`
        found = [p for p in folder.glob(f"{DISTILLED}*") if (p / "model").is_dir()]
        if not found:
            raise MissingFileError(
                f"{folder}: this run of the main job has no distilled student yet; go on with "
                f"`ski demo --out {folder}`"
            )
        return _told(model, min(found, key=_seed))
    return model


def _seed(folder: Path) -> int:
    number = re.search(r"(\d+)$", folder.name)
    if number is None:
        raise InputError(f"{folder}: expected a folder {DISTILLED}N of the main job")
    return int(number[1])


def _first_seed(folder: Path) -> Path:
    path = folder / "recipe.json"
    try:
        seed = json_format.loads(path.read_text(encoding="utf-8"))["seeds"][0]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); copy it again") from error
    found = folder / f"seed-{seed}"
    if not (found / "model").is_dir():
        raise MissingFileError(f"{found}: not trained yet; go on with `ski train`")
    return found


def _told(model: str, found: Path) -> str:
    log.info("%s: its model %s", model, found.name)
    return str(found)
