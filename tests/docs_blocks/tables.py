"""What stands for what in the pages, and what is not run as it is written: all exceptions are here.

Every entry must match something in the pages; ``test_docs_blocks.py`` fails for one that does not.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ski_data.synthetic.classes import ACTIONS

ONCE = {"epochs": 1, "batch_size": 4, "accumulation": 1, "workers": 0, "precision": "no"}
SGD = {"milestones": [], "warmup_epochs": 0}
SIZES = {
    "embed": 16,
    "image": 32,
    "patch": 32,
    "vision_width": 16,
    "vision_layers": 1,
    "vision_head": 16,
    "text_width": 16,
    "text_layers": 1,
    "text_heads": 1,
}
TOY_CLIP = {"architecture": None, "pretrained": None, "sizes": SIZES}
TOY_ENCODER = {"heads": 1, "strides": [2], "persons": 2, "output": 16}
SMALL_FEEDER = {"window": 8, "min_crop": 4}


class Listed(NamedTuple):
    """Commands that cannot run here.

    Their syntax is checked (``bash -n``), their local paths exist, and the commands of our own
    programs within them exist with the options that are given.
    """

    begins: str
    reason: str


LISTED = (
    Listed("pip install", "installs packages; tests/test_release_new_user.py does it"),
    Listed("python -m pip install", "installs hatch; .ci/run does it"),
    Listed("hatch run test", "these tests themselves"),
    Listed("git ", "publishes a release"),
    Listed("torchrun", "several processes or machines; the packages' slow tests start two"),
    Listed("srun torchrun", "Slurm; the same torchrun line is checked"),
    Listed("deepspeed", "several processes or machines; ski-lvlm's slow tests start two"),
    Listed(
        "hatch run ski-bench run table1 table2 --data ntu60=A",
        "needs Slurm and NTU RGB+D; tests/test_bench_running.py runs such a plan in little",
    ),
    Listed(
        "ski-bench run table1 --data ntu60=ntu60",
        "needs NTU RGB+D; tests/test_bench_running.py runs such a plan in little",
    ),
    Listed('eval "$(ski completion', "needs keys; tests/test_ski_completion.py presses them"),
    Listed("ski train skeletonclip_ntu60_<TAB>", "a key; tests/test_ski_completion.py presses it"),
)

PYTHON_LISTED = {
    "from vllm import": "vLLM is no dependency; ski-lvlm's test_export.py answers such files",
}
"""Python blocks that only compile, by a line of theirs."""

DRY = {
    "ski bench run": "--dry-run",
    "ski-bench run": "--dry-run",
    "python -m benchmarks.bench run": "--dry-run",
    "python -m benchmarks.adl_mini_vlm": "--print_config",
    "python -m benchmarks.c2vl_posture": "--print_config",
    "python -m benchmarks.lvlm_smollm2": "--print_config",
    "python -m benchmarks.real ": "--print_config",
    "python -m benchmarks.real_skeletons": "--print_config",
    "python -m benchmarks.speed": "--print_config",
    "python -m benchmarks.ui_prmd": "--print_config",
    "python tools/release.py": "--help",
    "ski-eval judge": "--print_config",
    "ski-lvlm curate-qa": "--print_config",
    "ski-lvlm train ski-lvlm_ntu120_paper.yaml": "--dry_run",
    "ski-vlm convert": "--print_config",
}
"""Programs that would run for long, and the option of theirs that reads everything and does
nothing. What they do is tested by tests of their own, in little."""

SUBSTITUTES = {
    "ViT-B-16/openai": "@@student",
    "ViT-B-32/openai": "@@student",
    "mmaaz60/LLaVA-7B-Lightening-v1-1": "@@base",
    "rtsp://camera/1": "@@clip.mp4",
    "--processes 8": "--processes 1",
    "--device cuda": "--device cpu",
}
"""What is not here, and what stands for it: published weights, cameras, many processes."""

IMPLIED = {"ntu60": "_ntu60_", "runs/bench": "ski-bench report"}
"""What a page need not name: it is in a recipe, or where a command looks by default."""
PROPS: dict[str, dict[str, str]] = {
    "": {
        "runs/adl-mini": "run",
        "clip.mp4": "clip.mp4",
        "./packages/": "packages",
    },
    "README.md": {"runs/adl-mini/data/videos/S002C001P010R001A022_rgb.mp4": "clip.mp4"},
    "benchmarks/real/README.md": {"DATA": "empty"},
    "docs/benchmarks.md": {"runs/bench": "bench"},
    "docs/c2vl.md": {
        "captions.jsonl": "ntu60/captions.jsonl",
        "videos.jsonl": "ntu60/videos.jsonl",
        "ntu60": "ntu60",
    },
    "docs/cli.md": {
        "S004C003P008R002A025_rgb.mp4": "clip.mp4",
        "runs/lvlm-smollm2/runs/video-0": "lvlm",
        "classifier.yaml": "classifier.yaml",
    },
    "docs/closed-set.md": {
        "RAW": "ntu-raw",
        "runs/bone.npz": "streams/bone.npz",
        "runs/joint_motion.npz": "streams/joint_motion.npz",
        "runs/bone_motion.npz": "streams/bone_motion.npz",
    },
    "docs/curation.md": {
        "clips.jsonl": "clips.jsonl",
        "pairs.jsonl": "pairs.jsonl",
        "SEEING": "seeing",
    },
    "docs/distillation.md": {"FILE": "scd.yaml", "clips.jsonl": "own-clips.jsonl"},
    "docs/encoders.md": {
        "ntu60": "ntu60",
        "hyperformer.pt": "hyperformer.pt",
        "ski.pth": "ski.pth",
        "shift_gcn.pt": "shift_gcn.pt",
        "star.pt": "star.pt",
        "smie.pt": "smie.pt",
    },
    "docs/serve.md": {"runs/lvlm": "lvlm", "token": "token"},
    "docs/deepspeed.md": {"ntu120/manifest.jsonl": "clips.jsonl"},
    "docs/faq.md": {
        "MODEL": "student",
        "videos/": "videos",
        "names.txt": "names.txt",
        "all.csv": "all.csv",
        "clips.jsonl": "labelled.jsonl",
        "ntu60": "ntu60",
    },
    "docs/privacy.md": {"clips.jsonl": "clips.jsonl"},
    "docs/quick-start.md": {"names.txt": "names.txt"},
    "docs/recipes.md": {"ntu60": "ntu60"},
    "docs/results.md": {"runs/bench": "bench"},
    "docs/students.md": {"tests/golden": "checkout/tests/golden"},
    "docs/train-on-ntu.md": {"NTU": "ntu-raw", "runs/bench": "bench"},
    "docs/web.md": {"runs/ski": "student", "runs/lvlm": "lvlm"},
    "docs/zero-shot-baselines.md": {"ntu60": "ntu60"},
    "packages/ski-data/README.md": {
        "RAW_FOLDER": "ntu-raw",
        "upload-1.mp4": "clip.mp4",
        "upload-2.mp4": "clip.mp4",
    },
    "packages/ski-lvlm/README.md": {
        "clips.csv": "clips.csv",
        "clips.jsonl": "clips.jsonl",
        "store": "own-videos/skeletons",
        "skeleton-clip": "encoder",
        "clip.npy": "patches.npy",
        "mm_projector.bin": "mm_projector.bin",
        "video_chatgpt-7B.bin": "mm_projector.bin",
        "recipe.yaml": "recipe.yaml",
        "pairs.jsonl": "pairs.jsonl",
        "SEEING": "seeing",
    },
    "packages/ski-skeleton/README.md": {"RAW": "ntu-raw"},
    "packages/ski-vlm/README.md": {
        "MODEL": "student",
        "RUN": "run",
        "videos/": "videos",
        "day.mp4": "clip.mp4",
        "names.txt": "names.txt",
        "names.csv": "words.csv",
        "lines.txt": "lines.txt",
        "all.csv": "all.csv",
        "labelled.jsonl": "labelled.jsonl",
        "clips.jsonl": "clips.jsonl",
    },
}
"""By page ("" for all): what a page calls it, and what of the workshop is put there."""

SHRINK: dict[str, tuple[str, ...]] = {
    "python -m apps.adl_mini": ("--recipe", "@@tiny.yaml"),
    "ski demo": ("--recipe", "@@tiny.yaml"),
    "ski-data synthesize": ("--n-subjects", "2", "--repetitions", "1", "--n-cameras", "1"),
    "ski-lvlm features video": ("--architecture", "ViT-S-32-alt", "--pretrained", "null"),
    "ski-skeleton c2vl-concepts": ("--clip", json.dumps(TOY_CLIP)),
    "ski-data cache": ("--colour_width=112", "--colour_height=112", "--short_side=36"),
    "ski-lvlm curate-crop": ("--colour_width", "112", "--colour_height", "112"),
}
"""Options that make a full-size command a small one."""

EXITS: dict[str, int] = {
    "ski-data import poses/0.npy wrong-store --mapping wrong.yaml": 2,
    "ski-data import some.csv some-store --mapping poses.yaml --skip_bad": 1,
    "ski train vcgpt_ntu120 --out runs/vcgpt --seeds 3": 2,
    "ski-data check ntu60/videos": 1,  # the workshop's videos are copies of fifty
}
"""Commands that a page shows to fail, or that find something in the stand-ins: their exit code."""

CLASSES = "|".join(sorted((action.name for action in ACTIONS), key=len, reverse=True))
VARIES: tuple[tuple[str, str], ...] = (
    (rf"\b(?:{CLASSES})\b", "CLASS"),
    (r"(?:\d+ min )?\d+(?:\.\d+)? s\b", "TIME"),
    (r"(_rgb\.mp4: ).*", r"\1SENTENCE"),
    (r"^(?:ok|missing|broken) +(\S+(?: \S+)*).*", r"FOUND \1"),
    (r"^ +(?:only for|to fix): .*", "..."),
)
"""What differs in shown output from run to run besides digits: pattern, and what is read in its
place; ``...`` is anything."""

VIDEO_RECIPE = {
    "student": {"!clip": TOY_CLIP, "frames": 2, "short_side": 32},
    "feeder": SMALL_FEEDER,
    "train": {**ONCE, "optim": SGD},
    "!seeds": [0],
}
SKELETON_CLIP = {
    "model": {"!encoder": TOY_ENCODER, "!clip": TOY_CLIP},
    "feeder": SMALL_FEEDER,
    "classify": {**ONCE, "optim": SGD},
    "align": {**ONCE, "optim": SGD},
}
RECIPES: dict[str, dict[str, Any]] = {
    "ski-lvlm train ski-lvlm_": {
        "!base": {"name": "@@base"},
        "!data": {"pairs": "@@lvlm-features/pairs.jsonl", "video": "@@lvlm-features/video"},
        "!prompts": {"skeleton": "absent"},
        "!start": None,
        "batch_size": 4,
        "micro_batch": 2,
        "epochs": 1,
        "precision": "float32",
        "zero": "none",
    },
    "ski-skeleton train ": SKELETON_CLIP,
    "ski train skeletonclip_": SKELETON_CLIP,
    "ski train vificlip_": VIDEO_RECIPE,
    "ski train ski-vificlip_": VIDEO_RECIPE,
    "ski-skeleton train-classifier hyperformer": {
        "encoder": {"heads": 1, "strides": [2]},
        "feeder": SMALL_FEEDER,
        "train": {**ONCE, "optim": SGD},
    },
    "ski-skeleton train-classifier shift-gcn": {
        "encoder": {"channels": [8], "strides": [2]},
        "feeder": SMALL_FEEDER,
        "train": {**ONCE, "optim": SGD},
    },
    "ski-skeleton pretrain-c2vl": {
        "model": {
            "encoder": {"channels": [8], "strides": [2]},
            "concept_width": 16,
            "width": 8,
        },
        "feeder": SMALL_FEEDER,
        "train": {**ONCE, "optim": SGD},
    },
    "ski-skeleton zeroshot": {
        "!seeds": [0],
        "text": {"!sentence": {"model": "@@sentence"}},
        "synse": {"cycles": 1, "cycle_steps": 2},
    },
}
"""Changes that make a recipe that comes with a package small, by the command that takes it; a key
with ``!`` replaces its part as a whole."""
