"""Rows of video students on NTU RGB+D and own folders, and pictures of what they look at."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench.cells import Result
from benchmarks.bench.commands import by_recipe
from benchmarks.bench.jobs import DEVICE, OUT, WORK, Job
from benchmarks.bench.paper import Row
from benchmarks.bench.recipes import Plain, Split, recipe, with_clip
from benchmarks.bench.skeleton_rows import skeleton_clip
from ski_vlm.recipe import changed


def video_train(split: Split, row: str, seed: int, changes: Sequence[str] = ()) -> Job:
    """A video student by its recipe; what it starts from are other jobs."""
    published = recipe("ski_vlm", f"{row}_{split.stem}")
    plain = published
    for change in changes:
        plain = changed(plain, change)
    if plain == published:  # what the recipe says anyway: the same job
        plain, changes = published, ()
    needs: list[Job] = []
    plain = with_clip(plain, split.given, needs)
    plain["data"] = video_data(split)
    plain["seeds"] = [seed]
    if plain.get("start"):
        start = video_train(split, _stem(plain["start"]), 0)
        needs.append(start)
        plain["start"] = f"{start.out}/run/seed-0"
    side = plain.get("skeleton") or {}
    for key in ("folder", "encoder"):
        if side.get(key):
            teacher = skeleton_clip(split)
            needs.append(teacher)
            side[key] = f"{teacher.out}/run"
    told = " ".join(["", *changes])
    return by_recipe(
        f"{row}{told} {split.name} seed {seed}",
        ("ski-vlm", "train"),
        plain,
        kind="video",
        needs=tuple({need.id: need for need in needs}.values()),
        done=None,
        units=None,
        distributed=True,
    )


def video_data(split: Split) -> Plain:
    """How recipes of video students name the clips."""
    place, own = split.place, split.place.own
    plain: Plain = {"manifest": place.manifest, "videos": place.videos}
    plain["skeletons"] = place.skeletons
    if own is None:
        return plain | {"split": split.name}
    return plain | {
        "classes": str(place.folder / "classes.csv"),
        "unseen": list(own.unseen),
        "train_subjects": list(own.train_subjects),
    }


def _stem(folder: str) -> str:
    """``vificlip`` of ``runs/vificlip_ntu60_48-12/seed-0``."""
    return folder.removeprefix("runs/").partition("_")[0]


def video_result(split: Split, row: Row, seed: int) -> Result:
    """A student's answers on unseen classes."""
    train = video_train(split, str(row.recipe), seed, row.changes)
    job = Job(
        name=f"{train.name} scores",
        argv=("ski-vlm", "evaluate", f"{train.out}/run", "--device", DEVICE),
        needs=(train,),
        done=f"{train.out}/run/results",
        kind="scores of videos",
        units=1,
    )
    answer = row.answer.replace(", ", "-").replace(" ", "-")
    return Result(job, f"{train.out}/run/seed-{seed}/{answer}-unseen-classes.npz")


def pictures_result(split: Split, row: Row) -> Result:
    """Relevance maps of a student on clips of unseen classes."""
    train = video_train(split, str(row.recipe), 0)
    listed = "".join(f"{i},{_quoted(name)}\n" for i, (_, name) in enumerate(split.unseen))
    job = Job(
        name=f"pictures {train.name}",
        argv=(
            *(WORK, "pictures", split.place.manifest, "--model", f"{train.out}/run/seed-0"),
            *("--classes", f"{OUT}/unseen.csv", "--out", f"{OUT}/pictures"),
            *("--labels", str([label for label, _ in split.unseen]), "--device", DEVICE),
        ),
        files={"unseen.csv": "id,name\n" + listed},
        needs=(train,),
        bytes=5_000_000,
    )
    return Result(job, f"{job.out}/pictures/*/sheet.png", "pictures")


def _quoted(name: str) -> str:
    return f'"{name}"' if "," in name else name
