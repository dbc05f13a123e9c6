"""Rows on NTU RGB+D, Charades and own folders: the packages' recipes, data and starts filled in."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from benchmarks.bench.cells import AVERAGE, METRICS, Cell, Result
from benchmarks.bench.jobs import DEVICE, OUT, WORK, Job
from benchmarks.bench.paper import Column, PaperTable, Row
from benchmarks.bench.places import HOW, Given, Place
from ski_data.errors import SkiDataError
from ski_data.ntu.archive import get_protocol
from ski_data.splits import zero_shot_split
from ski_vlm.recipe import changed

Plain = dict[str, Any]
OWN_SPLIT = "ntu60/48-12"
"""Whose recipes an own folder takes."""
SKELETON_FEATURES = {
    "sk-vcgpt_ntu120_paper": "hyperformer",
    "ski-lvlm_ntu120_paper": "skeletonclip",
    "ski-lvlm_ntu120_zero-skeleton": "skeletonclip",
}
"""Which encoder's tokens a recipe of Table 3 trains with."""
TOKENS = 256
CLIP_L: Plain = {"architecture": "ViT-L-14-quickgelu", "pretrained": "openai"}
"""Sees for Table 3 and for C2VL's concepts."""


@dataclass(frozen=True)
class Split:
    """Data and the classes that are new in them."""

    name: str
    """As ``ntu60/48-12``; of own folders their name."""
    place: Place
    given: Given

    @property
    def stem(self) -> str:
        """Second part of its recipes' file names."""
        return (self.name if self.place.own is None else OWN_SPLIT).replace("/", "_")

    @property
    def unseen(self) -> list[tuple[int, str]]:
        """Labels and names of the unseen classes."""
        if self.place.own is not None:
            names = self.place.own.classes.names
            return [(names.index(name), name) for name in self.place.own.unseen]
        split = zero_shot_split(self.name)
        return [
            (action - 1, name)
            for action, name in zip(split.unseen_actions, split.unseen.names, strict=True)
        ]

    def of_classes(self) -> Plain:
        """How recipes of skeleton methods name the classes."""
        own = self.place.own
        return {"split": self.name} if own is None else {"unseen": list(own.unseen)}


@functools.cache
def _parsed(package: str, name: str) -> Plain:
    text = (files(package) / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def recipe(package: str, name: str) -> Plain:
    """A recipe that comes with a package, as plain settings of one's own to change."""
    return copy.deepcopy(_parsed(package, name))


def yaml_text(plain: Plain) -> str:
    """Settings as a recipe file."""
    return _dumped(json.dumps(plain))


@functools.cache
def _dumped(plain: str) -> str:
    return yaml.safe_dump(json.loads(plain), sort_keys=False)


# weights


def weights(kind: str, name: str) -> Job:
    """Fetches weights from a hub before anything needs them."""
    target = f"{OUT}/weights.json"
    return Job(
        name=f"weights {name}",
        argv=(WORK, "fetch", kind, name, "--out", target),
        done=target,
        kind="weights",
    )


def with_clip(plain: Any, given: Given, needs: list[Job]) -> Any:
    """Settings whose CLIPs come from files where there are any; else ``needs`` gets a fetch.

    A file ``--weights FOLDER/NAME.*`` is taken for an architecture NAME in lower case.
    """
    if isinstance(plain, list):
        return [with_clip(item, given, needs) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if plain.get("pretrained") is not None and "architecture" in plain:
        file = given.weight_file(str(plain["architecture"]).lower())
        if file is not None:
            return {**plain, "pretrained": str(file)}
        needs.append(weights("clip", f"{plain['architecture']}/{plain['pretrained']}"))
        return plain
    return {key: with_clip(value, given, needs) for key, value in plain.items()}


# skeletons


def skeleton_clip(split: Split, seed: int = 0) -> Job:
    """SkeletonCLIP on the seen classes."""
    plain = recipe("ski_skeleton", f"skeletonclip_{split.stem}")
    needs: list[Job] = []
    own = split.place.own
    people = plain["data"]["train_subjects"] if own is None else list(own.train_subjects)
    data = {"store": split.place.skeletons, "train_subjects": people, **split.of_classes()}
    plain = with_clip(plain | {"data": data}, split.given, needs)
    return Job(
        name=f"skeletonclip {split.name} seed {seed}",
        argv=(
            *("ski-skeleton", "train", f"{OUT}/recipe.yaml"),
            *("--out", f"{OUT}/run", "--seed", str(seed)),
        ),
        files={"recipe.yaml": yaml_text(plain)},
        needs=tuple(needs),
        done=f"{OUT}/run/model",
        kind="skeletonclip",
        units=1,
        bytes=300_000_000,
        distributed=True,
    )


def skeleton_result(split: Split, seed: int) -> Result:
    """SkeletonCLIP's answers on unseen classes."""
    train = skeleton_clip(split, seed)
    job = Job(
        name=f"skeletonclip {split.name} scores seed {seed}",
        argv=(
            *("ski-skeleton", "evaluate", f"{train.out}/recipe.yaml", f"{train.out}/run/model"),
            *("--out", f"{OUT}/scores"),
        ),
        needs=(train,),
        kind="scores of skeletons",
        units=1,
    )
    return Result(job, f"{job.out}/scores/unseen-classes.npz")


def zeroshot_result(split: Split, method: str, seed: int) -> Result:
    """A skeleton-language method: its encoder, the encoder's features, the method."""
    kind = "stgcn" if method == "smie" else "shift-gcn"
    plain = recipe("ski_skeleton", f"{kind}_{split.stem}")
    own = split.place.own
    if own is None:
        rule = plain["data"]["split"]
    else:
        rule = {"train": {"subjects": list(own.train_subjects)}, "unseen": list(own.unseen)}
    plain["data"] = {"store": split.place.skeletons, "split": rule}
    encoder = Job(
        name=f"{kind} {split.name}",
        argv=("ski-skeleton", "train-classifier", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
        files={"recipe.yaml": yaml_text(plain)},
        done=f"{OUT}/run/model",
        kind=kind,
        units=1,
        bytes=20_000_000,
        distributed=True,
    )
    target = f"{OUT}/features.safetensors"
    extra = ("--extract.maps", "true") if method == "star" else ()
    known = () if own is not None else ("--dataset", split.place.dataset)
    features = Job(
        name=f"{kind} {split.name} {'maps' if method == 'star' else 'features'}",
        argv=(
            *("ski-skeleton", "features", f"{encoder.out}/run/model", split.place.skeletons),
            *(target, "--device", DEVICE, *known, *extra),
        ),
        needs=(encoder,),
        done=target,
        kind="features of skeletons",
        units=1,
        bytes=(25_000 if method == "star" else 1) * 1_100_000,
    )
    needs: list[Job] = []
    plain = with_clip(recipe("ski_skeleton", f"{method}_{split.stem}"), split.given, needs)
    sentence = plain["text"].get("sentence")
    if sentence is not None:
        needs.append(weights("sentence", sentence["model"]))
    plain.pop("split")
    plain |= {"features": {"file": f"{features.out}/features.safetensors"}, "seeds": [seed]}
    plain |= split.of_classes()
    if own is not None:
        plain["train"] = {"subjects": list(own.train_subjects)}
    job = Job(
        name=f"{method} {split.name} seed {seed}",
        argv=("ski-skeleton", "zeroshot", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
        files={"recipe.yaml": yaml_text(plain)},
        needs=(features, *needs),
        done=f"{OUT}/run/results",
        kind=method,
        units=1,
        bytes=50_000_000,
    )
    return Result(job, f"{job.out}/run/seed-{seed}/zero-shot.npz")


# video students


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
    return Job(
        name=f"{row}{told} {split.name} seed {seed}",
        argv=("ski-vlm", "train", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
        files={"recipe.yaml": yaml_text(plain)},
        needs=tuple({need.id: need for need in needs}.values()),
        kind="video",
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


# C2VL


PROTOCOL_OPTIONS = {
    "linear": (),
    "knn": ("--k", "[1]"),
    "semi": ("--shares", "[0.1]"),
    "finetune": (),
}


def c2vl_result(place: Place, rule: str, protocol: str, given: Given, seed: int) -> Result:
    """Concepts of the clips, label-free pretraining, and a test of the encoder."""
    needs: list[Job] = []
    clip = with_clip(CLIP_L, given, needs)
    told = yaml.safe_dump(clip, default_flow_style=True, width=10_000).strip()
    target = f"{OUT}/concepts.npz"
    concepts = Job(
        name=f"concepts {place.dataset}",
        argv=(
            *("ski-skeleton", "c2vl-concepts", "--out", target, "--clip", told),
            *("--captions", str(place.path("captions")), "--videos", place.manifest),
            *("--device", DEVICE),
        ),
        needs=tuple(needs),
        done=target,
        kind="concepts",
        units=1,
        bytes=700_000_000,
    )
    if place.own is None:
        known = get_protocol(f"{place.dataset}/{rule}")
        field, numbers = f"{known.field}s", list(known.train)
    else:
        field, numbers = "subjects", list(place.own.train_subjects)
    stem = f"c2vl_{place.dataset if place.own is None else 'ntu60'}_xsub"
    plain = recipe("ski_skeleton", stem)
    plain["data"] = {
        "store": place.skeletons,
        "concepts": f"{concepts.out}/concepts.npz",
        "train": {field: numbers},
    }
    pretrain = Job(
        name=f"c2vl {place.dataset} {rule} seed {seed}",
        argv=(
            *("ski-skeleton", "pretrain-c2vl", f"{OUT}/recipe.yaml"),
            *("--out", f"{OUT}/run", "--seed", str(seed)),
        ),
        files={"recipe.yaml": yaml_text(plain)},
        needs=(concepts,),
        done=f"{OUT}/run/model",
        kind="c2vl",
        units=1,
        bytes=30_000_000,
        distributed=True,
    )
    job = Job(
        name=f"c2vl {place.dataset} {rule} {protocol} seed {seed}",
        argv=(
            *("ski-skeleton", "probe", f"{pretrain.out}/run/model", place.skeletons),
            *("--out", f"{OUT}/scores", f"--{field}", str(numbers), "--protocol", protocol),
            *("--seed", str(seed), "--device", DEVICE, *PROTOCOL_OPTIONS[protocol]),
        ),
        needs=(pretrain,),
        kind=f"probe {protocol}",
        units=1,
    )
    return Result(job, f"{job.out}/scores/*.npz")


# Table 3


def lvlm_results(row: str, given: Given, judge: str | None) -> list[Result]:
    """A model of Table 3, its answers on Charades, and the judge's scores, the mean last."""
    charades = _needed(given, "charades")
    vision: list[Job] = []
    tower = with_clip(CLIP_L, given, vision)
    plain = recipe("ski_lvlm", row)
    base = plain["base"]["name"]
    needs = [weights("llm", base)]
    if row == "vcgpt_activitynet":
        file = given.weight_file("video_chatgpt-7B")
        train = Job(
            name="video-chatgpt, public projector",
            argv=(
                *("ski-lvlm", "convert", str(file), f"{OUT}/run"),
                *("--to", "model", "--base", base),
            ),
            needs=tuple(needs),
            done=f"{OUT}/run",
        )
        folder = f"{train.out}/run"
    else:
        ntu = _needed(given, "ntu120")
        video = video_tokens(ntu, tower, vision)
        data = {"pairs": str(ntu.path("pairs")), "video": f"{video.out}/tokens"}
        needs.append(video)
        if row in SKELETON_FEATURES:
            skeletons = skeleton_tokens(Split("ntu120/110-10", ntu, given), SKELETON_FEATURES[row])
            data["skeleton"] = f"{skeletons.out}/tokens"
            needs.append(skeletons)
        plain |= {"data": data, "start": str(given.weight_file("mm_projector"))}
        train = Job(
            name=f"lvlm {row}",
            argv=("ski-lvlm", "train", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
            files={"recipe.yaml": yaml_text(plain)},
            needs=tuple(needs),
            done=f"{OUT}/run/model",
            kind="lvlm",
            units=1,
            bytes=60_000_000,
            distributed=True,
        )
        folder = f"{train.out}/run/model"
    seen = video_tokens(charades, tower, vision)
    questions = str(charades.path("questions"))
    answers = Job(
        name=f"answers of {train.name}",
        argv=(
            *(WORK, "judge-input", questions, "--video", f"{seen.out}/tokens"),
            *("--model", folder, "--out", f"{OUT}/answers.jsonl", "--device", DEVICE),
        ),
        needs=(train, seen),
        kind="lvlm answers",
        units=1,
    )
    asked = () if judge is None else judge_options(judge)
    scores = Job(
        name=f"judge of {train.name}",
        argv=(
            *("ski-eval", "judge", f"{answers.out}/answers.jsonl", questions, *asked),
            *("--cards", f"{OUT}/cards", "--device", DEVICE),
        ),
        needs=(answers,),
        kind="judge",
        units=1,
    )
    place = f"{scores.out}/cards"
    return [Result(scores, place, "cards", metric) for metric in (*METRICS, AVERAGE)]


def judge_options(judge: str) -> tuple[str, ...]:
    """``MODEL`` of transformers, or ``URL=MODEL`` of a server."""
    url, equals, model = judge.rpartition("=")
    return ("--url", url, "--model", model) if equals else ("--model", judge)


def video_tokens(place: Place, tower: Plain, needs: Sequence[Job]) -> Job:
    """Video tokens of all clips of a data set."""
    return Job(
        name=f"video tokens {place.dataset}",
        argv=(
            *("ski-lvlm", "features", "video", place.manifest, f"{OUT}/tokens"),
            *("--clip", tower["architecture"], "--pretrained", tower["pretrained"]),
        ),
        needs=tuple(needs),
        done=f"{OUT}/tokens/meta.json",
        kind="video tokens",
        units=1,
        bytes=83_000_000_000 if place.dataset == "ntu120" else 7_000_000_000,
        distributed=True,
    )


def skeleton_tokens(split: Split, encoder: str) -> Job:
    """Skeleton tokens by SkeletonCLIP of the split, or by a Hyperformer of action labels alone."""
    if encoder == "skeletonclip":
        train = skeleton_clip(split)
    else:
        plain = recipe("ski_skeleton", "hyperformer_ntu120_xsub")
        plain["data"]["store"] = split.place.skeletons
        train = Job(
            name="hyperformer ntu120",
            argv=("ski-skeleton", "train-classifier", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
            files={"recipe.yaml": yaml_text(plain)},
            done=f"{OUT}/run/model",
            kind="hyperformer",
            units=1,
            bytes=20_000_000,
            distributed=True,
        )
    return Job(
        name=f"skeleton tokens {encoder}",
        argv=(
            *("ski-lvlm", "features", "skeleton", split.place.skeletons, f"{OUT}/tokens"),
            *("--model", f"{train.out}/run/model", "--tokens", str(TOKENS)),
        ),
        needs=(train,),
        done=f"{OUT}/tokens/meta.json",
        kind="skeleton tokens",
        units=1,
        bytes=13_000_000_000,
        distributed=True,
    )


def _needed(given: Given, dataset: str) -> Place:
    place = given.place(dataset)
    if place is None:
        raise SkiDataError(f"{dataset}: not given")  # lacks() is asked before
    return place


# cells


def lacks(row: Row, dataset: str, given: Given) -> tuple[str, ...]:
    """Everything that a row lacks on a data set, and how to get it."""
    found: list[str] = []
    needed: list[tuple[str, tuple[str, ...]]] = []
    if row.method == "lvlm":
        needed.append(("charades", ("manifest", "questions")))
        if row.recipe != "vcgpt_activitynet":
            parts = ("manifest", "pairs") + (
                ("skeletons",) if row.recipe in SKELETON_FEATURES else ()
            )
            needed.append(("ntu120", parts))
        file = "video_chatgpt-7B" if row.recipe == "vcgpt_activitynet" else "mm_projector"
        if given.weight_file(file) is None:
            found.append(
                f"weights {file}.bin: put the published file into a folder, give --weights FOLDER"
            )
    elif row.method == "c2vl":
        needed.append((dataset, ("manifest", "skeletons", "captions")))
    elif row.method in ("skeleton", "zeroshot"):
        needed.append((dataset, ("skeletons",)))
    else:
        plain = recipe("ski_vlm", f"{row.recipe}_{OWN_SPLIT.replace('/', '_')}")
        needed.append(
            (dataset, ("manifest", "skeletons") if "skeleton" in plain else ("manifest",))
        )
    for name, parts in needed:
        place = given.place(name)
        if place is None:
            found.append(f"{name}: not given; {HOW[name]}")
        else:
            found += place.lacks(parts)
    return tuple(found)


def cells(
    table: PaperTable, row: Row, given: Given, seeds: int, judge: str | None = None
) -> list[Cell]:
    """The cells of a row on the published data sets that are given, and what the others lack.

    Own folders make a column each.
    """
    if row.method is None:
        return []
    found = [
        _cell(table, row, column, given, seeds, judge)
        for column in table.columns
        if column.dataset in HOW and any(place.own is None for place in given.places)
    ]
    for place in given.places:
        if place.own is not None and row.method != "lvlm":
            found.append(_own_cell(table, row, place, given, seeds))
    return found


def _cell(
    table: PaperTable, row: Row, column: Column, given: Given, seeds: int, judge: str | None
) -> Cell:
    start = (table.id, row.id, column.title, column.dataset)
    missing = lacks(row, column.dataset, given)
    if missing:
        return Cell(*start, missing=missing, published=column.id)
    if row.method == "lvlm":
        results = lvlm_results(str(row.recipe), given, judge)
        metric = column.id.rpartition("/")[2]
        chosen = tuple(result for result in results if result.metric == metric)
        return Cell(*start, results=chosen, published=column.id)
    place = _needed(given, column.dataset)
    results = tuple(_results(row, column.id, place, given, seeds))
    return Cell(*start, results=results, published=column.id)


def _own_cell(table: PaperTable, row: Row, place: Place, given: Given, seeds: int) -> Cell:
    start = (table.id, row.id, place.dataset, place.dataset)
    missing = lacks(row, place.dataset, given)
    if missing:
        return Cell(*start, missing=missing)
    return Cell(*start, results=tuple(_results(row, place.dataset, place, given, seeds)))


def _results(row: Row, name: str, place: Place, given: Given, seeds: int) -> list[Result]:
    if row.method == "c2vl":
        rule = name.rpartition("/")[2] if place.own is None else "xsub"
        return [c2vl_result(place, rule, str(row.recipe), given, seed) for seed in range(seeds)]
    split = Split(name, place, given)
    if row.method == "attention":
        return [pictures_result(split, row)]
    if row.method == "skeleton":
        return [skeleton_result(split, seed) for seed in range(seeds)]
    if row.method == "zeroshot":
        return [zeroshot_result(split, str(row.recipe), seed) for seed in range(seeds)]
    if row.recipe == "clip":
        seeds = 1
    return [video_result(split, row, seed) for seed in range(seeds)]
