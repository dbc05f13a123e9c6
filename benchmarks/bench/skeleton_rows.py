"""Rows of skeletons on NTU RGB+D and own folders: SkeletonCLIP, skeleton-language methods, C2VL."""

from __future__ import annotations

from benchmarks.bench import recipes
from benchmarks.bench.cells import Result
from benchmarks.bench.commands import PROTOCOL_OPTIONS, by_recipe, flow, skeleton_features
from benchmarks.bench.jobs import DEVICE, OUT, Job
from benchmarks.bench.places import Given, Place
from benchmarks.bench.recipes import Split, recipe, weights, with_clip
from ski_data.ntu.archive import get_protocol


def skeleton_clip(split: Split, seed: int = 0) -> Job:
    """SkeletonCLIP on the seen classes."""
    plain = recipe("ski_skeleton", f"skeletonclip_{split.stem}")
    needs: list[Job] = []
    own = split.place.own
    people = plain["data"]["train_subjects"] if own is None else list(own.train_subjects)
    data = {"store": split.place.skeletons, "train_subjects": people, **split.of_classes()}
    plain = with_clip(plain | {"data": data}, split.given, needs)
    return by_recipe(
        f"skeletonclip {split.name} seed {seed}",
        ("ski-skeleton", "train"),
        plain,
        kind="skeletonclip",
        needs=needs,
        seed=seed,
        size=300_000_000,
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
    encoder = by_recipe(
        f"{kind} {split.name}",
        ("ski-skeleton", "train-classifier"),
        plain,
        kind=kind,
        size=20_000_000,
        distributed=True,
    )
    maps = method == "star"
    features = skeleton_features(
        f"{kind} {split.name} {'maps' if maps else 'features'}",
        encoder,
        split.place.skeletons,
        maps=maps,
        kind="features of skeletons",
        size=(25_000 if maps else 1) * 1_100_000,
        dataset=split.place.dataset if own is None else None,
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
    job = by_recipe(
        f"{method} {split.name} seed {seed}",
        ("ski-skeleton", "zeroshot"),
        plain,
        kind=method,
        needs=(features, *needs),
        done="run/results",
        size=50_000_000,
    )
    return Result(job, f"{job.out}/run/seed-{seed}/zero-shot.npz")


def c2vl_result(place: Place, rule: str, protocol: str, given: Given, seed: int) -> Result:
    """Concepts of the clips, label-free pretraining, and a test of the encoder."""
    needs: list[Job] = []
    clip = with_clip(recipes.CLIP_L, given, needs)
    target = f"{OUT}/concepts.npz"
    concepts = Job(
        name=f"concepts {place.dataset}",
        argv=(
            *("ski-skeleton", "c2vl-concepts", "--out", target, "--clip", flow(clip)),
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
    pretrain = by_recipe(
        f"c2vl {place.dataset} {rule} seed {seed}",
        ("ski-skeleton", "pretrain-c2vl"),
        plain,
        kind="c2vl",
        needs=(concepts,),
        seed=seed,
        size=30_000_000,
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
