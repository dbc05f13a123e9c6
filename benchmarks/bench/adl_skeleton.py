"""Skeleton methods and C2VL on adl-mini, by small encoders."""

from __future__ import annotations

from benchmarks.bench.adl import UNSEEN, AdlMini, steps
from benchmarks.bench.cells import Result
from benchmarks.bench.commands import PROTOCOL_OPTIONS, by_recipe, flow, skeleton_features
from benchmarks.bench.jobs import DEVICE, OUT, Job
from ski_skeleton.zeroshot.smie import SmieConfig
from ski_skeleton.zeroshot.star import StarConfig


def encoder(adl: AdlMini, kind: str) -> Job:
    """A classifier of the seen classes."""
    plain = {
        "data": {
            "store": f"{adl.store.out}/store",
            "split": {"train": {"subjects": adl.train_subjects}, "unseen": UNSEEN},
        },
        "encoder": {"kind": kind, **adl.settings["encoders"][kind]},
        "feeder": adl.settings["feeder"],
        "train": adl.settings["classifier"],
    }
    return by_recipe(
        adl.label(kind),
        ("ski-skeleton", "train-classifier"),
        plain,
        kind=adl.label("classifier"),
        needs=(adl.store,),
        steps=steps(adl.seen_clips, plain["train"]["batch_size"], plain["train"]["epochs"]),
        size=4_000_000,
        distributed=True,
    )


def features(adl: AdlMini, kind: str, *, maps: bool) -> Job:
    """Features of an encoder for every clip."""
    what = "maps" if maps else "features"
    return skeleton_features(
        adl.label(f"{kind} {what}"),
        encoder(adl, kind),
        f"{adl.store.out}/store",
        maps=maps,
        kind=adl.label(what),
        size=adl.recipe.data.clips * (200_000 if maps else 400),
    )


def zeroshot(adl: AdlMini, method: str, seed: int) -> Result:
    """A skeleton-language method's answers on unseen classes."""
    source = features(adl, "stgcn" if method == "smie" else "shift_gcn", maps=method == "star")
    plain = {
        "kind": method,
        "features": {"file": f"{source.out}/features.safetensors"},
        "text": {"clip": adl.clip_plain},
        "unseen": UNSEEN,
        "train": {"subjects": adl.train_subjects},
        "seeds": [seed],
        method: adl.settings["zeroshot"][method],
        "protocol": {"generalised": False, "unseen_clips": "all"},
    }
    job = by_recipe(
        adl.label(f"{method} seed {seed}"),
        ("ski-skeleton", "zeroshot"),
        plain,
        kind=adl.label(method),
        needs=(source, adl.starts),
        done="run/results",
        steps=_steps(adl, method),
        size=5_000_000,
    )
    return Result(job, f"{job.out}/run/seed-{seed}/zero-shot.npz")


def _steps(adl: AdlMini, method: str) -> int:
    own = adl.settings["zeroshot"][method]
    if method == "synse":
        return own["cycles"] * own["cycle_steps"]
    usual = {"smie": SmieConfig, "star": StarConfig}[method].batch_size
    return steps(adl.seen_clips, own.get("batch_size", usual), own["epochs"])


def concepts(adl: AdlMini) -> Job:
    """Image vectors of all clips by the main job's CLIP, in the place of captions."""
    target = f"{OUT}/concepts.npz"
    return adl.job(
        "concepts",
        (
            *("ski-skeleton", "c2vl-concepts", "--out", target, "--frames", "4"),
            *("--videos", f"{adl.run}/data/manifest.jsonl", "--clip", flow(adl.clip_plain)),
            *("--device", DEVICE),
        ),
        needs=(adl.starts,),
        done=target,
        bytes=adl.recipe.data.clips * 600,
    )


def c2vl(adl: AdlMini, seed: int) -> Job:
    """Label-free pretraining."""
    own, vectors = adl.settings["c2vl"], concepts(adl)
    train = own["train"]
    plain = {
        "data": {
            "store": f"{adl.store.out}/store",
            "concepts": f"{vectors.out}/concepts.npz",
            "train": {"subjects": adl.train_subjects},
        },
        "model": {
            **own["model"],
            "concepts": ["vision"],
            "concept_width": adl.recipe.clip.embed,
        },
        "feeder": own["feeder"],
        "train": train,
    }
    return by_recipe(
        adl.label(f"c2vl seed {seed}"),
        ("ski-skeleton", "pretrain-c2vl"),
        plain,
        kind=adl.label("c2vl"),
        needs=(adl.store, vectors),
        seed=seed,
        steps=steps(adl.all_clips, train["batch_size"], train["epochs"]),
        size=4_000_000,
        distributed=True,
    )


def probe(adl: AdlMini, protocol: str, seed: int) -> Result:
    """A test of a C2VL encoder."""
    pretrained = c2vl(adl, seed)
    options, kind, count = PROTOCOL_OPTIONS[protocol], "probe", None
    if protocol == "finetune":
        train, kind = adl.settings["c2vl"]["finetune"], "finetune"
        options += ("--training", flow(train))
        count = steps(adl.all_clips, train["batch_size"], train["epochs"])
    job = adl.job(
        f"c2vl {protocol} seed {seed}",
        (
            *("ski-skeleton", "probe", f"{pretrained.out}/run/model", f"{adl.store.out}/store"),
            *("--out", f"{OUT}/scores", "--subjects", str(adl.train_subjects)),
            *("--seed", str(seed), "--device", DEVICE, "--protocol", protocol, *options),
        ),
        kind=kind,
        needs=(pretrained,),
        steps=count,
    )
    return Result(job, f"{job.out}/scores/*.npz")
