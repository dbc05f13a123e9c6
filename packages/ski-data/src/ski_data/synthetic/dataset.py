"""adl-mini on disk: videos, ``.skeleton`` files, manifests, captions, written in parallel."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from ski_data import __version__
from ski_data.classes import ClassSet, write_classes
from ski_data.config import to_plain
from ski_data.errors import ExistingOutputError
from ski_data.manifest import Record, write_manifest
from ski_data.ntu.names import NtuName
from ski_data.ntu.skeleton_file import write_skeleton
from ski_data.processes import worker_count
from ski_data.splits import ZeroShotSplit, write_split
from ski_data.synthetic import body as kinematics
from ski_data.synthetic import camera as cameras
from ski_data.synthetic.captions import frame_captions
from ski_data.synthetic.classes import ACTIONS, SEEN, UNSEEN
from ski_data.synthetic.config import DEFAULT, GENERATOR, LICENCE, NAME, SAMPLE_RULE, AdlMiniConfig
from ski_data.synthetic.motions import FPS, perform, random_style
from ski_data.synthetic.render import random_look, render

_SUBJECT, _CLIP, _VIEW, _CAPTION = 1, 2, 3, 4
_X264 = "threads=1:lookahead-threads=1:bframes=0:mbtree=0:rc-lookahead=0:weightp=0:scenecut=0"
"""The encoder's lookahead gives other bytes from run to run for small pictures, so it is off."""


def make_adl_mini(
    folder: Path,
    config: AdlMiniConfig = DEFAULT,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write adl-mini to ``folder``, or return at once if it is already there.

    Args:
        folder: Where it goes; it appears only when all of it is written.
        config: Size and seed.
        workers: Processes; by default one per CPU, 0 works in this one.
        progress: Called with the clips done and the clips in total.

    Returns:
        ``folder``.

    Raises:
        ExistingOutputError: The folder holds something else, or another configuration.
        InputError: A negative number of workers.
    """
    folder = Path(folder)
    processes = worker_count(workers)
    if folder.exists():
        _check_existing(folder, config)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(
        tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent)
    )
    try:
        partial.chmod(0o755)
        _write(partial, config, processes, progress)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _check_existing(folder: Path, config: AdlMiniConfig) -> None:
    meta = folder / "meta.json"
    if not meta.is_file():
        raise ExistingOutputError(
            f"{folder}: exists and is no {NAME} data set (no meta.json); choose another folder"
        )
    try:
        found = json.loads(meta.read_text(encoding="utf-8"))
        same = found["config_hash"] == config.hash
        files = int(found["counts"]["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExistingOutputError(
            f"{meta}: not the description of an {NAME} data set ({error!r}); choose another folder "
            "or remove it"
        ) from error
    if not same:
        raise ExistingOutputError(
            f"{folder}: holds {NAME} of another configuration or version "
            f"({json.dumps(found.get('config'))}); choose another folder or remove it"
        )
    present = sum(path.is_file() for path in folder.rglob("*")) - 1
    if present < files:
        raise ExistingOutputError(
            f"{folder}: {present} of {files} files are there; remove the folder and make it again"
        )


@dataclass(frozen=True)
class _Task:
    folder: Path
    config: AdlMiniConfig
    action: int
    subject: int
    replication: int


def _write(
    folder: Path,
    config: AdlMiniConfig,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    for name in ("skeletons", "videos"):
        (folder / name).mkdir()
    chosen = range(len(ACTIONS)) if config.classes is None else sorted(config.classes)
    tasks = [
        _Task(folder, config, action, subject, replication)
        for action in chosen
        for subject in range(1, config.subjects + 1)
        for replication in range(1, config.repetitions + 1)
    ]
    records: list[Record] = []
    captions: list[dict] = []
    workers = min(workers, len(tasks))
    if workers == 1:
        _collect(map(_make, tasks), records, captions, config.clips, progress)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
        ) as pool:
            made = pool.map(_make, tasks, chunksize=2)
            try:
                _collect(made, records, captions, config.clips, progress)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    _write_lists(folder, config, records, captions)


def _collect(
    made: Iterable[tuple[list[Record], list[dict]]],
    records: list[Record],
    captions: list[dict],
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    for clips, texts in made:
        records += clips
        captions += texts
        if progress is not None:
            progress(len(records), total)


def _make(task: _Task) -> tuple[list[Record], list[dict]]:
    """Act one clip and write what every camera sees; its records and captions."""
    config, action = task.config, ACTIONS[task.action]
    key = (task.action, task.subject, task.replication)
    person = np.random.default_rng([config.seed, _SUBJECT, task.subject])
    body, style = kinematics.random_body(person), random_style(person)
    rng = np.random.default_rng([config.seed, _CLIP, *key])
    frames = int(rng.integers(config.frames_min, config.frames_max + 1))
    performance = perform(action, body, style, frames, rng)
    look = random_look(person, rng)
    setup = (task.subject - 1) % len(cameras.SETUPS) + 1
    records, captions = [], []
    for number in range(1, config.cameras + 1):
        view = np.random.default_rng([config.seed, _VIEW, *key, number])
        camera = cameras.place(number, setup, config.size, body.height, view)
        name = str(NtuName(setup, number, task.subject, task.replication, task.action + 1))
        video, skeleton = f"videos/{name}_rgb.mp4", f"skeletons/{name}.skeleton"
        sensed = cameras.sense(camera.view(performance.figure.joints), view)
        picture, shift = render(
            performance.figure, performance.props, body, look, camera, config.size, view
        )
        write_skeleton(
            task.folder / skeleton,
            sensed,
            body_id=72057594037930000 + task.subject,
            colour=camera.project(sensed) + shift[:, None],
        )
        encode(task.folder / video, picture)
        records.append(
            Record(
                name=name,
                video=Path(video),
                skeleton=Path(skeleton),
                label=task.action,
                subject=task.subject,
                camera=number,
                setup=setup,
                replication=task.replication,
                caption=action.name,
                source=f"{NAME} seed {config.seed}",
            )
        )
        if action in SEEN and task.subject not in config.test_subjects:
            text = np.random.default_rng([config.seed, _CAPTION, *key, number])
            parts = np.array_split(np.arange(frames), config.caption_frames or 1)
            for part in parts[: config.caption_frames]:
                frame = int(text.choice(part))
                said, true = frame_captions(
                    action, performance, frame, body.height, config.captions_per_frame, text
                )
                if said:
                    row = {"video": video, "frame": frame, "captions": said, "phrases": true}
                    captions.append(row)
    return records, captions


def encode(path: Path, frames: np.ndarray) -> None:
    """Write uint8 (T, H, W, 3) RGB as H.264 yuv420p mp4; the same frames give the same bytes."""
    options = {"preset": "veryfast", "crf": "23", "x264-params": _X264}
    with av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("libx264", rate=Fraction(FPS), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = 12
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def zero_shot() -> ZeroShotSplit:
    """The 20 seen and 5 unseen classes as a split; ids are those of the file names (``A001``)."""
    ids = tuple(f"A{number:03d}" for number in range(1, len(ACTIONS) + 1))
    whole = ClassSet(ids, tuple(action.name for action in ACTIONS))
    numbers = tuple(range(1, len(ACTIONS) + 1))
    seen, unseen = numbers[: len(SEEN)], numbers[len(SEEN) :]
    parts = [whole.subset([n - 1 for n in part]) for part in (seen, unseen)]
    return ZeroShotSplit(f"{NAME}/{len(SEEN)}-{len(UNSEEN)}", *parts, seen, unseen)


def _write_lists(
    folder: Path, config: AdlMiniConfig, records: list[Record], captions: list[dict]
) -> None:
    split = zero_shot()
    write_split(folder / "split.json", split)
    for name, classes in (("seen", split.seen), ("unseen", split.unseen)):
        write_classes(folder / f"classes_{name}.csv", ClassSet.from_names(classes.names))
    here = [replace(r, video=folder / r.video, skeleton=folder / r.skeleton) for r in records]
    seen = [r for r in here if r.label < len(SEEN)]
    manifests = {
        "train_seen": [r for r in seen if r.subject not in config.test_subjects],
        "test_seen": [r for r in seen if r.subject in config.test_subjects],
        "test_unseen": [
            replace(r, label=r.label - len(SEEN)) for r in here if r.label >= len(SEEN)
        ],
    }
    for name, rows in manifests.items():
        write_manifest(folder / f"{name}.csv", rows)
    write_manifest(folder / "manifest.jsonl", here)
    _write_lines(folder / "captions.jsonl", captions)
    (folder / "README.md").write_text(_readme(config), encoding="utf-8", newline="\n")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    data = hashlib.sha256()
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        data.update(f"{digest}  {path.relative_to(folder).as_posix()}\n".encode())
    meta = {
        "name": NAME,
        "generator": GENERATOR,
        "config": to_plain(config),
        "config_hash": config.hash,
        "data_hash": data.hexdigest(),
        "split": {
            "name": split.name,
            "hash": split.hash,
            "sample_rule": SAMPLE_RULE,
            "train_subjects": [
                k for k in range(1, config.subjects + 1) if k not in config.test_subjects
            ],
            "test_subjects": list(config.test_subjects),
        },
        "licence": LICENCE,
        "frames_per_second": FPS,
        "versions": {
            "ski-data": __version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "av": av.__version__,
            "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        },
        "counts": {
            "files": len(files),
            "clips": len(records),
            "captioned_frames": len(captions),
            "captions": sum(len(row["captions"]) for row in captions),
            **{name: len(rows) for name, rows in manifests.items()},
        },
    }
    _write_json(folder / "meta.json", meta)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8", newline="\n")


def _write_lines(path: Path, rows: Iterable[dict]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def _readme(config: AdlMiniConfig) -> str:
    return f"""# adl-mini

Synthetic daily actions: {config.clips} clips of rendered figures with Kinect-like skeletons, made
by `ski-data synthesize` (ski-data {__version__}, generator {GENERATOR}, seed {config.seed}).
Numbers measured on it say nothing about recordings of people.

- `videos/SsssCcccPpppRrrrAaaa_rgb.mp4`: H.264, {config.size} x {config.size}, {FPS} frames per
  second.
- `skeletons/SsssCcccPpppRrrrAaaa.skeleton`: NTU RGB+D text format, a body per video frame; metres
  in the camera's frame (x to the sensor's left, y up, z away), with sensor noise; the colour
  columns are pixels of the video. The videos are not mirrored: the left hand of a person who faces
  the camera is on the right of the image.
- S setup, C camera (1 front, 2 to the person's right, 3 to the left), P subject, R repetition,
  A class.
- `classes_seen.csv`, `classes_unseen.csv`: labels and class names; `split.json`: which classes are
  seen; `meta.json` says which subjects are for training.
- `train_seen.csv`, `test_seen.csv`, `test_unseen.csv`: video, skeleton, label in the class file.
- `manifest.jsonl`: full records, label over all {len(ACTIONS)} classes.
- `captions.jsonl`: captions of single training frames, seen classes only, and every phrase that is
  true of the frame.
- `meta.json`: configuration, versions, counts, hash of the data.

The data was generated, shows no person, and may be used under CC0 1.0 or, at your choice, under
Apache-2.0.
"""
