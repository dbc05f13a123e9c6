"""Small models of the workshop: recipes of own data, language models, published checkpoints."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import torch
import yaml
from docs_blocks.pages import ROOT
from docs_blocks.tables import RECIPES, SMALL_FEEDER, TOY_ENCODER
from docs_blocks.workshop import Workshop, item, load_module, program

TOKENIZER = ROOT / "tests" / "golden" / "tiny_tokenizer"
CURATION = ROOT / "packages" / "ski-lvlm" / "tests" / "curation" / "tiny_models.py"
LVLM = ROOT / "packages" / "ski-lvlm" / "tests" / "tiny_lvlm.py"


@item("sentence")
def sentence(_: Workshop, path: Path) -> None:
    """A random BERT of one layer over single letters."""
    import transformers

    path.mkdir()
    letters = [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789'-,./"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(w[2:] for w in letters), *letters]
    (path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=256,
    )
    transformers.BertModel(config).save_pretrained(path)
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)


@item("own-videos")
def own_videos(_: Workshop, path: Path) -> None:
    """Sixteen tiny videos with skeletons, of four actions by four people."""
    load_module(ROOT / "packages" / "ski-vlm" / "tests" / "tiny_videos.py").write_clips(path)


@item("own-clips.jsonl")
def own_clips(shop: Workshop, path: Path) -> None:
    """Their manifest, to be read from anywhere."""
    folder = shop.get("own-videos")
    rows = map(json.loads, (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines())
    lines = (json.dumps(row | {"video": str(folder / row["video"])}) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


@item("bench")
def bench(_: Workshop, path: Path) -> None:
    """A folder of runs of which something was asked, and nothing is done."""
    from benchmarks.bench.requests import Request, remember

    path.mkdir()
    remember(Request(("table1",), ("adl-mini",), scale="tiny"), path)


@item("scd.yaml")
def scd_recipe(shop: Workshop, path: Path) -> None:
    """A recipe of distillation on them."""
    tiny = load_module(ROOT / "packages" / "ski-vlm" / "tests" / "tiny_videos.py")
    plain = tiny.plain_recipe(shop.get("own-videos"), method={"kind": "scd"})
    tiny.write_recipe(path, plain | {"skeleton": tiny.skeleton_side()})


@item("scd-run")
def scd_run(shop: Workshop, path: Path) -> None:
    """Its run."""
    program("ski-vlm", "train", shop.get("scd.yaml"), "--out", path)


@item("classifier.yaml")
def classifier_recipe(shop: Workshop, path: Path) -> None:
    """A recipe of a closed-set classifier of these actions."""
    plain = {
        "data": {"store": str(shop.get("own-videos/skeletons"))},
        "encoder": {**TOY_ENCODER, "output": None},
        "feeder": SMALL_FEEDER,
        "train": {"epochs": 1, "batch_size": 4, "optim": {"lr": 0.01}},
    }
    plain["data"]["split"] = {"train": {"subjects": [1, 2]}}
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")


@item("streams")
def streams(shop: Workshop, path: Path) -> None:
    """Predictions of three streams on NTU60 in little."""
    from docs_blocks.runner import small_recipe

    from ski_data.config import recipe_command

    path.mkdir()
    name = "hyperformer_ntu60_xsub"
    with contextlib.chdir(path):
        recipe_command("ski_skeleton", name)
        (path / "ntu60").symlink_to(shop.get("ntu60"))
        recipe = small_recipe(f"{name}.yaml", RECIPES["ski-skeleton train-classifier hyperformer"])
        for stream in ("bone", "joint_motion", "bone_motion"):
            train = ["ski-skeleton", "train-classifier", recipe, "--out", stream]
            program(*train, "--skeleton-stream", stream)
            test = ["ski-skeleton", "evaluate-classifier", f"{stream}/model", "ntu60/skeletons"]
            program(*test, "--out", f"{stream}.npz")


@item("encoder")
def encoder(shop: Workshop, path: Path) -> None:
    """A trained SkeletonCLIP of the main job."""
    path.symlink_to(shop.get("run/skeleton-clip/model"))


@item("base")
def base(_: Workshop, path: Path) -> None:
    """A random language model in the hub's form."""
    load_module(LVLM).make_base(path, TOKENIZER)


@item("seeing")
def seeing(_: Workshop, path: Path) -> None:
    """A random model of images and text."""
    load_module(CURATION).tiny_image_model(path)


@item("lvlm-features")
def lvlm_features(shop: Workshop, path: Path) -> None:
    """Video tokens of the clips and a question on each."""
    from ski_data.instructions import Instruction, write_instructions
    from ski_data.manifest import read_manifest
    from ski_lvlm.feature_store import finish
    from ski_lvlm.features import video_features

    records = read_manifest(shop.get("clips.jsonl"))
    names = [record.name for record in records]
    path.mkdir()
    torch.manual_seed(0)
    video_features(records, path / "video", load_module(LVLM).TINY)
    finish(path / "video", names)
    pairs = [Instruction(name, name, "What happens?", "A person waves.") for name in names]
    write_instructions(path / "pairs.jsonl", pairs)


@item("pairs.jsonl")
def pairs(shop: Workshop, path: Path) -> None:
    """Questions and answers on the clips."""
    path.write_bytes(shop.get("lvlm-features/pairs.jsonl").read_bytes())


@item("recipe.yaml")
def lvlm_recipe(shop: Workshop, path: Path) -> None:
    """A recipe of projectors over the random language model, on video alone."""
    made = shop.get("lvlm-features")
    load_module(LVLM).write_recipe(
        path,
        made,
        base={"name": str(shop.get("base"))},
        data={"pairs": str(made / "pairs.jsonl"), "video": str(made / "video")},
        prompts={"skeleton": "absent"},
        batch_size=4,
        epochs=1,
    )


@item("lvlm")
def lvlm(shop: Workshop, path: Path) -> None:
    """Its run."""
    program("ski-lvlm", "train", shop.get("recipe.yaml"), "--out", path)


@item("patches.npy")
def patches(_: Workshop, path: Path) -> None:
    """Patch features of eight frames."""
    values = np.random.default_rng(0).standard_normal((8, 256, 1024), np.float32)
    with path.open("wb") as file:
        np.save(file, values.astype(np.float16))


@item("mm_projector.bin")
def mm_projector(_: Workshop, path: Path) -> None:
    """A published projector file, of the random language model's width."""
    names = ("model.mm_projector.weight", "model.mm_projector.bias")
    torch.save({names[0]: torch.randn(16, 16), names[1]: torch.randn(16)}, path)


def _published(kind: str, path: Path, prefix: str = "") -> None:
    """An encoder of published size with random weights, saved as its project saves it."""
    from ski_skeleton.convert.shift_gcn import shift_gcn_table
    from ski_skeleton.convert.stgcn import stgcn_table
    from ski_skeleton.convert.table import to_published
    from ski_skeleton.encoders import build_encoder
    from ski_skeleton.shift_gcn import ShiftGcnConfig
    from ski_skeleton.stgcn import StgcnConfig

    make, table = {
        "stgcn": (StgcnConfig, stgcn_table),
        "shift_gcn": (ShiftGcnConfig, shift_gcn_table),
    }[kind]
    state = to_published(table(make()), build_encoder(make()).state_dict(), "ours")
    torch.save({prefix + name: value for name, value in state.items()}, path)


@item("shift_gcn.pt")
def shift_gcn(_: Workshop, path: Path) -> None:
    """Shift-GCN."""
    _published("shift_gcn", path)


@item("star.pt")
def star(_: Workshop, path: Path) -> None:
    """STAR's encoder within its model."""
    _published("shift_gcn", path, "pretraining_model.")


@item("smie.pt")
def smie(_: Workshop, path: Path) -> None:
    """SMIE's encoder within its model."""
    _published("stgcn", path, "encoder.")


def _hyperformer(source: str, path: Path) -> None:
    from ski_skeleton.convert.hyperformer import hyperformer_table
    from ski_skeleton.convert.table import to_published
    from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig

    config = HyperformerConfig(output=60)
    head = {"official": "fc", "ski": "fc2"}[source]
    state = Hyperformer(config).state_dict()
    torch.save(to_published(hyperformer_table(config, head), state, source), path)


@item("hyperformer.pt")
def hyperformer(_: Workshop, path: Path) -> None:
    """Hyperformer."""
    _hyperformer("official", path)


@item("ski.pth")
def ski_phase_one(_: Workshop, path: Path) -> None:
    """SKI's encoder."""
    _hyperformer("ski", path)
