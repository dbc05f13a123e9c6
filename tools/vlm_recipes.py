"""Write ski-vlm's recipes of the paper's rows: ``python tools/vlm_recipes.py``.

One YAML per method and split; users copy and edit them. What differs between the rows stands here
once, and a test compares the files with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "packages/ski-vlm/src/ski_vlm/recipes"
SPLITS = ("ntu60/55-5", "ntu60/48-12", "ntu120/110-10", "ntu120/96-24")
ALPHA = {"ntu60": 0.01, "ntu120": 10.0}
"""The paper's optimum of each data set's sweep; 55/5 and 96/24 have no published one."""
TOWERS = {"architecture": "ViT-B-16-quickgelu"}
OPENAI = {**TOWERS, "pretrained": "openai"}
MIXED = {"label_smoothing": 0.1, "mix": {}}
ADAMW = {"name": "adamw", "weight_decay": 1.0e-3, "betas": [0.9, 0.98]}

Plain = dict[str, Any]


def base(split: str) -> Plain:
    """What all rows share: the released lists hold all people's clips of the seen classes."""
    dataset = split.partition("/")[0]
    return {
        "data": {
            "manifest": f"{dataset}/manifest.jsonl",
            "videos": f"{dataset}/videos",
            "skeletons": f"{dataset}/skeletons",
            "split": split,
        },
        "seeds": [0, 1, 2],
    }


def student(kind: str = "vifi-clip", clip: Plain = TOWERS, **more: Any) -> Plain:
    """A student of 16 frames."""
    return {"kind": kind, "clip": clip, "frames": 16, **more}


def training(
    epochs: int, batch_size: int, accumulation: int, lr: float, warmup: float = 0, **more: Any
) -> Plain:
    """AdamW with the cosine schedule, in bfloat16."""
    optim = {**ADAMW, "lr": lr, "warmup_epochs": warmup, **more.pop("optim", {})}
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "precision": "bf16",
        "workers": 8,
        **more,
        "optim": optim,
    }


def phase_two(split: str) -> Plain:
    """The released second phase."""
    return training(4 if split.endswith("96-24") else 2, 512, 16, 2.2e-5)


def trained(row: str, split: str, part: str = "") -> str:
    """Folder of another row's run that this one starts from."""
    return f"runs/{row}_{split.replace('/', '_')}{part}"


def scd(split: str, row: str = "vificlip", **changes: Any) -> Plain:
    """Distillation from a trained student and a trained SkeletonCLIP."""
    method = {"kind": "scd", "alpha": ALPHA[split.partition("/")[0]], **MIXED}
    return {
        "student": student(),
        "start": trained(row, split, "/seed-0"),
        "skeleton": {"folder": trained("skeletonclip", split), "train_text": True},
        "method": {**method, **changes},
        "train": phase_two(split),
    }


def clip(_: str) -> Plain:
    """CLIP as it is, on single frames."""
    return {
        "student": student(clip=OPENAI, template="{name}"),
        "method": {"kind": "zero-shot"},
        "seeds": [0],
    }


def vificlip(split: str) -> Plain:
    """ViFi-CLIP: both towers trained on the seen classes."""
    return {
        "student": student(clip=OPENAI),
        "method": {"kind": "finetune", **MIXED},
        "train": phase_two(split),
    }


def xclip(_: str) -> Plain:
    """X-CLIP: frozen text, new parts at ten times the learning rate."""
    return {
        "student": student("x-clip", OPENAI),
        "method": {"kind": "finetune", **MIXED},
        "train": training(30, 256, 8, 8.0e-6, 5),
    }


def froster(_: str) -> Plain:
    """FROSTER in ViFi-CLIP's pipeline, as SKI's authors ran it."""
    return {
        "student": student("froster", OPENAI, normalisation="imagenet"),
        "method": {"kind": "residual", "average_from": 2},
        "train": training(12, 64, 2, 3.33e-6, 2, clip_norm=1.0, optim={"weight_decay": 0.01}),
    }


def ski_vificlip(split: str) -> Plain:
    """SKI-ViFi-CLIP: SkeletonCLIP and ViFi-CLIP teach each other."""
    return scd(split)


def ski_vificlip_official(split: str) -> Plain:
    """The same as released: bare cosines, raw skeleton embeddings, mixed labels for both."""
    return scd(split, logits="released", mixed_skeleton_labels=True)


def ski_xclip(split: str) -> Plain:
    """SKI on X-CLIP."""
    return scd(split, "xclip") | {"student": student("x-clip")}


def ski_froster(split: str) -> Plain:
    """SKI on FROSTER, whose own two distances stay."""
    plain = scd(split, "froster", residual={"clip": OPENAI})
    return plain | {"student": student("froster", normalisation="imagenet")}


def ski_vificlip_frozen_text(split: str) -> Plain:
    """SCD with SkeletonCLIP's text tower frozen."""
    plain = scd(split)
    plain["skeleton"]["train_text"] = False
    return plain


def ski_vificlip_offline(split: str) -> Plain:
    """SCD with SkeletonCLIP frozen."""
    return scd(split, mode="offline")


def ski_vificlip_kl(split: str) -> Plain:
    """SCD by KL divergence."""
    return scd(split, distance="kl")


def ski_vificlip_contrastive(split: str) -> Plain:
    """SCD by contrast of logit rows."""
    return scd(split, distance="contrastive")


def feature(split: str, projection: bool = False) -> Plain:
    """Distillation between features."""
    plain = scd(split)
    plain["skeleton"].pop("train_text")
    alpha = plain["method"]["alpha"]
    method = {"kind": "feature", "alpha": alpha, "projection": projection, **MIXED}
    return plain | {"method": method}


def feature_projected(split: str) -> Plain:
    """Distillation between features with a residual projection."""
    return feature(split, True)


def fresh_skeleton() -> Plain:
    """A SkeletonCLIP that was not pretrained."""
    model = {"encoder": {"kind": "hyperformer", "output": 512}, "clip": OPENAI}
    return {"model": model, "train_text": True}


def scd_no_skeleton_pretraining(split: str) -> Plain:
    """SCD from a trained student and an untrained skeleton encoder."""
    return scd(split) | {"skeleton": fresh_skeleton()}


def scd_no_video_pretraining(split: str) -> Plain:
    """SCD from CLIP and a trained SkeletonCLIP."""
    plain = scd(split) | {"student": student(clip=OPENAI)}
    plain.pop("start")
    return plain


def scd_no_pretraining(split: str) -> Plain:
    """SCD from CLIP and an untrained skeleton encoder."""
    return scd_no_video_pretraining(split) | {"skeleton": fresh_skeleton()}


def trimodal(split: str) -> Plain:
    """Video, skeleton and text aligned pairwise."""
    return {
        "student": student(clip=OPENAI),
        "skeleton": fresh_skeleton(),
        "method": {"kind": "tri-modal"},
        "train": phase_two(split),
    }


def cross_projection(split: str) -> Plain:
    """Skeletons into the space of frozen CLIP frames."""
    return {
        "student": student(clip=OPENAI, template="{name}"),
        "skeleton": {
            "model": {"encoder": {"kind": "hyperformer", "output": 512}, "clip": OPENAI},
            "encoder": trained("skeletonclip", split),
        },
        "method": {"kind": "cross-projection"},
        "train": training(100, 128, 4, 1.0e-3, optim={"weight_decay": 0.0}),
    }


def late_fusion(split: str) -> Plain:
    """A trained layer over ViFi-CLIP and SkeletonCLIP; the untrained fusions come with it."""
    return {
        "student": student(),
        "start": trained("vificlip", split, "/seed-0"),
        "skeleton": {"folder": trained("skeletonclip", split)},
        "method": {"kind": "late-fusion"},
        "train": training(10, 256, 8, 1.0e-3),
    }


ROWS: dict[str, Callable[[str], Plain]] = {
    "clip": clip,
    "vificlip": vificlip,
    "xclip": xclip,
    "froster": froster,
    "ski-vificlip": ski_vificlip,
    "ski-vificlip-official": ski_vificlip_official,
    "ski-vificlip-frozen-text": ski_vificlip_frozen_text,
    "ski-vificlip-offline": ski_vificlip_offline,
    "ski-vificlip-kl": ski_vificlip_kl,
    "ski-vificlip-contrastive": ski_vificlip_contrastive,
    "ski-xclip": ski_xclip,
    "ski-froster": ski_froster,
    "scd-no-skeleton-pretraining": scd_no_skeleton_pretraining,
    "scd-no-video-pretraining": scd_no_video_pretraining,
    "scd-no-pretraining": scd_no_pretraining,
    "feature": feature,
    "feature-projected": feature_projected,
    "trimodal": trimodal,
    "cross-projection": cross_projection,
    "late-fusion": late_fusion,
}
"""Rows by the first part of their file names."""


def recipe_text(row: str, split: str) -> str:
    """One recipe as YAML, its launch command in the first line."""
    make = ROWS[row]
    title = (make.__doc__ or "").strip().rstrip(".")
    plain = base(split) | make(split)
    order = ("data", "student", "start", "skeleton", "method", "train", "seeds")
    head = f"# {title}; {split}: ski-vlm train FILE --out {trained(row, split)}\n"
    needs = sorted(
        {f for f in (plain.get("start"), plain.get("skeleton", {}).get("folder")) if f}
        | {f for f in (plain.get("skeleton", {}).get("encoder"),) if f}
    )
    if needs:
        head += f"# Starts from the runs of other recipes: {', '.join(needs)}\n"
    body = {key: plain[key] for key in order if key in plain}
    return head + yaml.dump(body, Dumper=_Plain, sort_keys=False, default_flow_style=None, width=96)


class _Plain(yaml.SafeDumper):
    """Writes equal parts out in full, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Always."""
        return True


def recipe_name(row: str, split: str) -> str:
    """File name of a row on a split."""
    return f"{row}_{split.replace('/', '_')}.yaml"


def main() -> int:
    """Write all recipes and remove those that are none any more."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {recipe_name(row, split): (row, split) for row in ROWS for split in SPLITS}
    for path in FOLDER.glob("*.yaml"):
        if path.name not in wanted:
            path.unlink()
    for name, (row, split) in wanted.items():
        (FOLDER / name).write_text(recipe_text(row, split), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
