from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_run import plain_recipe, write_recipe, write_store

from ski_eval import load_predictions, read_cards
from ski_skeleton import __version__, cli, pipeline
from ski_skeleton.cli import main
from ski_skeleton.convert.hyperformer import OFFICIAL_HEAD, SKI_HEAD, hyperformer_table
from ski_skeleton.convert.published import PUBLISHED, encoder_to_published
from ski_skeleton.convert.table import to_published
from ski_skeleton.encoders import build_encoder
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.loading import load_encoder
from ski_skeleton.shift_gcn import ShiftGcnConfig
from ski_skeleton.stgcn import StgcnConfig
from ski_skeleton.train import read_model, write_model
from ski_skeleton.weights import load_strictly, read_weights, write_weights

TINY = HyperformerConfig(heads=1, strides=(1, 2), output=5)
SIZES = ["--hyperformer.heads", "1", "--hyperformer.strides", "[1, 2]"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the recipe, its store, and a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    plain = plain_recipe(write_store(folder / "store"))
    write_recipe(folder / "recipe.yaml", plain)
    assert main(["train", str(folder / "recipe.yaml"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """An empty current folder, with a copy of the recipe."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text((trained / "recipe.yaml").read_text())
    return tmp_path


def refused(capsys, args, *texts):
    """The command leaves with 2 and says so in one line that holds ``texts``."""
    capsys.readouterr()
    assert main([str(arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ski-skeleton: ")
    assert err.count("\n") == 1
    for text in texts:
        assert str(text) in err


def changed(trained, path, **parts):
    """The recipe with some settings changed, as a file."""
    plain = plain_recipe(trained / "store")
    for part, settings in parts.items():
        plain[part] = {**plain[part], **settings} if settings is not None else None
    return write_recipe(path, plain)


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ski-skeleton {__version__}\n"
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "evaluate", "convert", "recipes"))


def test_train_leaves_a_model_and_logs(trained):
    run = trained / "run"
    _, config, _, meta = read_model(run / "model", "skeleton-clip")
    assert meta["classes_seen"] == ["bow", "clap", "kick"]
    assert meta["seed"] == 0
    assert config["encoder"]["output"] == 16
    assert not list(run.rglob("checkpoints"))
    for part, steps in (("encoder", 4), ("align", 6)):
        lines = (run / part / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, steps + 1))


def test_train_prints_the_model_and_repeats(trained, place, capsys):
    assert main(["train", "recipe.yaml", "--out", "again"]) == 0
    assert capsys.readouterr().out == "again/model\n"
    first = (trained / "run/model/weights.safetensors").read_bytes()
    assert (place / "again/model/weights.safetensors").read_bytes() == first
    assert main(["train", "recipe.yaml", "--out", "other", "--seed", "1"]) == 0
    assert (place / "other/model/weights.safetensors").read_bytes() != first


@pytest.mark.parametrize("stage", ["ClassifySkeletons", "AlignSkeletons"])
def test_stopped_run_goes_on_to_the_same_weights(trained, place, monkeypatch, stage):
    changes = {"epochs": 3, "checkpoint_seconds": 0.0}
    changed(trained, place / "r.yaml", classify=changes, align=changes)
    assert main(["train", "r.yaml", "--out", "whole"]) == 0
    task = getattr(pipeline, stage)
    calls = []

    class Stopped(task):
        def losses(self, batch):
            calls.append(batch)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return super().losses(batch)

    Stopped.__name__ = stage
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, stage, Stopped)
        assert main(["train", "r.yaml", "--out", "stopped"]) == 130
    assert not (place / "stopped/model").exists()
    assert main(["train", "r.yaml", "--out", "stopped"]) == 0
    weights = [(place / f"{run}/model/weights.safetensors") for run in ("whole", "stopped")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def test_stopped_run_does_not_go_on_with_another_recipe(trained, place, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "align", stop)
        assert main(["train", "recipe.yaml", "--out", "run"]) == 130
    changed(trained, place / "leak.yaml", data={"unseen": ["bow", "sit"]})
    refused(capsys, ["train", "leak.yaml", "--out", "run"], "run: holds a run of another recipe")


@pytest.mark.parametrize("part", ["trainer.pt", "weights.safetensors"])
def test_damaged_checkpoint_is_named(place, monkeypatch, capsys, part):
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "align", stop)
        assert main(["train", "recipe.yaml", "--out", "run"]) == 130
    (path,) = (place / "run/encoder/checkpoints").glob(f"*/{part}")
    path.write_bytes(b"not a checkpoint at all")
    refused(capsys, ["train", "recipe.yaml", "--out", "run"], part)


def test_nothing_is_trained_twice(trained, capsys):
    before = (trained / "run/model/meta.json").read_bytes()
    args = ["train", trained / "recipe.yaml", "--out", trained / "run"]
    refused(capsys, args, "already trained")
    assert (trained / "run/model/meta.json").read_bytes() == before


@pytest.mark.parametrize(
    ("part", "settings", "texts"),
    [
        ("data", {"store": "none"}, ["none: no such store"]),
        ("data", {"unseen": ["jump"]}, ["store: no classes ['jump']"]),
        ("data", {"unseen": ["sit"]}, ["store: 4 seen and 1 unseen classes"]),
        ("data", {"train_subjects": [9]}, ["store: no clips"]),
        ("data", {"people": 3}, ["r.yaml: data", "unknown settings ['people']"]),
        ("align", {"epochs": 0}, ["r.yaml: ", "epochs must be at least 1"]),
        ("align", {"optim": {"name": "adam"}}, ["r.yaml: align", "'adam' is not one of"]),
        ("feeder", {"window": 0}, ["r.yaml: ", "window must be at least 1"]),
        ("model", {"sentence": {"model": "/no/such/text"}}, ["text: no sentence encoder"]),
        ("model", {"temperature": "hot"}, ["r.yaml: model: temperature", "'hot'"]),
        (
            "model",
            {"encoder": {"heads": 1, "strides": [2], "persons": 1, "output": 20}},
            ["set encoder.output to 16"],
        ),
        ("model", {"encoder": {"heads": 1, "output": 16}}, ["store: clips of 1 x kinect25"]),
    ],
)
def test_recipe_that_cannot_train_leaves_nothing(trained, place, capsys, part, settings, texts):
    pytest.importorskip("transformers", reason="the extra 'sentence' is not installed")
    changed(trained, place / "r.yaml", **{part: settings})
    refused(capsys, ["train", "r.yaml", "--out", "run"], *texts)
    assert sorted(path.name for path in place.iterdir()) == ["r.yaml", "recipe.yaml"]


def test_clip_weights_that_do_not_fit(trained, place, capsys):
    write_weights(place / "w.safetensors", {"logit_scale": torch.ones(())})
    (place / "text.pt").write_bytes(b"no weights")
    clip = plain_recipe("s")["model"]["clip"]
    for name, word in (("w.safetensors", "missing"), ("text.pt", "not a"), ("no.pt", "no such")):
        model = {"clip": {**clip, "pretrained": name}}
        changed(trained, place / "r.yaml", model=model)
        refused(capsys, ["train", "r.yaml", "--out", "run"], name, word)
    assert not (place / "run").exists()


def test_label_out_of_range(place, capsys):
    plain = plain_recipe(write_store(place / "store", labels=(0, 1, 60), named=False))
    del plain["data"]["unseen"]
    plain["data"]["split"] = "ntu60/55-5"
    write_recipe(place / "r.yaml", plain)
    refused(capsys, ["train", "r.yaml", "--out", "run"], "store: label 60", "allowed: 0..59")
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "bad.yaml: no such file"),
        ("data: [", "bad.yaml: not readable as YAML"),
        ("", "bad.yaml: expected settings"),
        ("data: {store: s, train_subjects: [1]}", "bad.yaml: data: give either"),
    ],
)
def test_file_that_is_no_recipe(trained, place, capsys, content, text):
    if content is not None:
        (place / "bad.yaml").write_text(content)
    refused(capsys, ["train", "bad.yaml", "--out", "run"], text)
    refused(capsys, ["evaluate", "bad.yaml", trained / "run/model", "--out", "run"], text)
    assert not (place / "run").exists()


@pytest.mark.parametrize("command", [["train"], ["evaluate"]])
def test_output_that_is_a_file(trained, place, capsys, command):
    (place / "file").write_text("mine")
    model = [] if command == ["train"] else [trained / "run/model"]
    refused(capsys, [*command, "recipe.yaml", *model, "--out", "file"], "file: is a file")
    assert (place / "file").read_text() == "mine"


def test_evaluate_writes_predictions_of_both_tests(trained, place, capsys):
    args = ["evaluate", "recipe.yaml", str(trained / "run/model"), "--out", "p"]
    capsys.readouterr()
    assert main(args) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("unseen-classes  top-1  ")
    assert lines[0].endswith("(16 clips, 2 classes)")
    assert sorted(path.name for path in (place / "p").glob("*.npz")) == [
        "unseen-classes.npz",
        "unseen-people.npz",
    ]
    cards = {path.name: card for path, card in read_cards(place / "p")}
    card = cards["unseen-classes-top-1.json"]
    assert (card.protocol, card.n, card.n_classes) == ("zero-shot, unseen classes", 16, 2)
    assert (card.seeds, card.split) == ((0,), "without sit, wave")
    assert card.config["classes_seen"] == ["bow", "clap", "kick"]
    people = load_predictions(place / "p/unseen-people.npz")
    assert people.classes == ("bow", "clap", "kick")
    assert people.logits.shape == (12, 3)
    assert {name.split("-")[0] for name in people.names} == {"p3", "p4"}
    model, _ = pipeline.load_skeleton_clip(trained / "run/model")
    sets = pipeline.open_sets(pipeline.read_recipe("recipe.yaml"))
    assert list(people.names) == [record.name for record in sets.test_seen.records]
    scores = pipeline.zero_shot_scores(model, sets.test_seen, sets.seen)
    np.testing.assert_array_equal(scores.logits, people.logits)
    assert main([*args, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    top1 = next(r for r in rows if (r["test"], r["metric"]) == ("unseen-people", "top-1"))
    assert top1["value"] == people.correct.mean()
    assert top1["n"] == 12


def test_evaluate_refuses_a_model_that_saw_an_unseen_class(trained, place, capsys):
    changed(trained, place / "leak.yaml", data={"unseen": ["bow", "wave"]})
    args = ["evaluate", "leak.yaml", trained / "run/model", "--out", "p"]
    refused(capsys, args, "run/model: was trained on ['bow']")
    assert not (place / "p").exists()


def test_evaluate_keeps_other_predictions(trained, place, capsys):
    (place / "p").mkdir()
    (place / "p/unseen-classes.npz").write_bytes(b"mine")
    args = ["evaluate", "recipe.yaml", trained / "run/model", "--out", "p"]
    refused(capsys, args, "unseen-classes.npz: exists")
    assert [path.name for path in (place / "p").iterdir()] == ["unseen-classes.npz"]
    assert (place / "p/unseen-classes.npz").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda f: (f / "weights.safetensors").write_bytes(b"{}"), "weights.safetensors: not a"),
        (lambda f: (f / "meta.json").unlink(), "model: no meta.json"),
        (lambda f: (f / "config.json").write_text("{"), "model: damaged"),
        (lambda f: (f / "meta.json").write_text("{}"), "model: does not say which classes"),
        (
            lambda f: write_weights(f / "weights.safetensors", {"x": torch.ones(1)}),
            "model does not fit SkeletonClip",
        ),
    ],
)
def test_evaluate_names_a_damaged_model(trained, place, capsys, damage, text):
    (place / "model").mkdir()
    for part in (trained / "run/model").iterdir():
        (place / "model" / part.name).write_bytes(part.read_bytes())
    damage(place / "model")
    refused(capsys, ["evaluate", "recipe.yaml", "model", "--out", "p"], text)
    assert not (place / "p").exists()


def test_evaluate_without_a_model(place, capsys):
    refused(capsys, ["evaluate", "recipe.yaml", "none", "--out", "p"], "none: no weights")
    assert not (place / "p").exists()


@pytest.mark.parametrize(("source", "head"), [("official", OFFICIAL_HEAD), ("ski", SKI_HEAD)])
def test_convert_and_back(place, scatter, capsys, source, head):
    model = scatter(Hyperformer(TINY)).eval()
    published = to_published(hyperformer_table(TINY, head), model.state_dict(), "ours")
    torch.save({"model": {f"module.{k}": v for k, v in published.items()}}, "theirs.pth")
    options = ["--source", source, *SIZES]
    assert main(["convert", "theirs.pth", "sub/ours", *options]) == 0
    assert capsys.readouterr().out == "sub/ours\n"
    _, config, state, meta = read_model("sub/ours", "hyperformer")
    assert config["output"] == 5
    assert meta["converted_from"] == f"{source} checkpoint"
    again = Hyperformer(TINY).eval()
    load_strictly(again, state, "sub/ours")
    clips = torch.randn(2, 3, 8, 25, 2)
    assert torch.equal(again(clips), model(clips))
    target = "new/back.safetensors"
    assert main(["convert", "sub/ours", target, "--to", "published", "--source", source]) == 0
    back = read_weights(target)
    assert set(back) == set(published)
    assert all(torch.equal(back[k], v) for k, v in published.items())


@pytest.mark.parametrize(
    ("source", "config", "prefix"),
    [
        ("stgcn", StgcnConfig(channels=(4, 6), strides=(1, 2), output=5), "encoder."),
        ("shift_gcn", ShiftGcnConfig(channels=(4, 6), strides=(1, 2), output=None), ""),
        ("shift_gcn", ShiftGcnConfig(channels=(4,), strides=(2,), output=3), "pretraining_model."),
    ],
)
def test_convert_graph_encoders_and_back(place, scatter, capsys, source, config, prefix):
    model = scatter(build_encoder(config)).eval()
    published = encoder_to_published(PUBLISHED[source], config, model.state_dict(), "ours")
    theirs = {prefix + k: v for k, v in published.items()}
    extra = {"head.w": torch.ones(2)} if prefix else {}
    torch.save({**theirs, **extra}, "theirs.pth")
    sizes = [
        f"--{source}.channels={json.dumps(config.channels)}",
        f"--{source}.strides={json.dumps(config.strides)}",
    ]
    options = ["--source", source, "--prefix", prefix]
    assert main(["convert", "theirs.pth", "ours", *options, *sizes]) == 0
    loaded = load_encoder("ours")
    assert (loaded.kind, loaded.module.config) == (source, config)
    assert loaded.trained_on is None
    clips = torch.randn(2, 3, 8, 25, 2)
    assert torch.equal(loaded.module(clips), model(clips))
    assert not torch.equal(load_encoder("ours", fresh=True).module(clips), model(clips))
    assert main(["convert", "ours", "b.safetensors", "--to", "published", *options]) == 0
    back = read_weights("b.safetensors")
    assert set(back) == set(theirs)
    assert all(torch.equal(back[k], v) for k, v in theirs.items())
    capsys.readouterr()
    refused(capsys, ["convert", "theirs.pth", "x", *options, "--prefix", "none."], "'none.'")
    refused(capsys, ["convert", "theirs.pth", "x", *options], "theirs.pth: ")
    refused(
        capsys,
        ["convert", "ours", "c.safetensors", "--to", "published"],
        f"ours: holds a {source} model",
    )
    assert not (place / "x").exists()


@pytest.fixture
def theirs(place):
    state = Hyperformer(TINY).state_dict()
    published = to_published(hyperformer_table(TINY, OFFICIAL_HEAD), state, "ours")
    torch.save(published, place / "theirs.pth")
    return published


def test_convert_refuses_what_does_not_cover(place, theirs, capsys):
    lost = {k: v for k, v in theirs.items() if k != "l1.vit1.attn.alpha"}
    torch.save(lost, "lost.pth")
    torch.save({**theirs, "extra": torch.ones(1)}, "more.pth")
    torch.save({**theirs, "fc.weight": torch.tensor(1.0)}, "flat.pth")
    (place / "text.pth").write_text("no weights")
    for name, text in (
        ("lost.pth", "missing (l1.vit1.attn.alpha)"),
        ("more.pth", "unknown entries (extra)"),
        ("flat.pth", "fc.weight"),
        ("text.pth", "not a PyTorch archive"),
        ("none.pth", "no such weight file"),
    ):
        refused(capsys, ["convert", name, "ours", *SIZES], f"{name}: ", text)
    refused(capsys, ["convert", "theirs.pth", "ours", *SIZES, "--source", "ski"], "theirs.pth")
    refused(capsys, ["convert", "theirs.pth", "ours", "--hyperformer.heads", "2"], "theirs.pth")
    assert not [path for path in place.iterdir() if "ours" in path.name]


def test_convert_back_refuses_other_models_and_names(place, trained, capsys):
    model = Hyperformer(TINY)
    write_model(place / "ours", "hyperformer", TINY, model.state_dict(), {})
    back = ["--to", "published"]
    refused(capsys, ["convert", "ours", "back.pth", *back], "back.pth: is written as safetensors")
    refused(capsys, ["convert", "none", "b.safetensors", *back], "none: no weights.safetensors")
    refused(
        capsys,
        ["convert", trained / "run/model", "b.safetensors", *back],
        "holds a skeleton-clip model",
    )
    state = {k: v for k, v in model.state_dict().items() if k != "head.bias"}
    write_model(place / "lost", "hyperformer", TINY, state, {})
    refused(capsys, ["convert", "lost", "b.safetensors", *back], "lost: ", "(head.bias)")
    assert not list(place.glob("*b*.safetensors*"))


def test_convert_overwrites_nothing(place, theirs, capsys):
    (place / "ours").mkdir()
    refused(capsys, ["convert", "theirs.pth", "ours", *SIZES], "ours: already there")
    assert list((place / "ours").iterdir()) == []


def test_recipes_are_listed_and_copied(place, capsys):
    assert main(["recipes"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert "skeletonclip_ntu60_55-5.yaml" in names
    for name in names:
        assert main(["recipes", "--copy", name.removesuffix(".yaml")]) == 0
        assert capsys.readouterr().out == f"{name}\n"
        if name.startswith("skeletonclip_"):
            assert pipeline.read_recipe(name).data.split is not None


def test_recipes_are_not_overwritten(place, capsys):
    refused(capsys, ["recipes", "--copy", "none"], "no recipe 'none'", "skeletonclip_ntu60_55-5")
    name = "skeletonclip_ntu60_55-5.yaml"
    (place / name).write_text("mine")
    refused(capsys, ["recipes", "--copy", name], f"{name}: already there")
    assert (place / name).read_text() == "mine"


@pytest.mark.parametrize(
    "args", [[], ["nothing"], ["train"], ["train", "recipe.yaml"], ["recipes", "--kopy", "x"]]
)
def test_wrong_usage_is_code_2(place, capsys, args):
    assert main(args) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow  # starting PyTorch anew takes seconds
def test_commands_start_without_what_few_of_them_need():
    code = (
        "import sys; from ski_data.command import load; from ski_skeleton.cli import COMMANDS; "
        "print('torch' in sys.modules); [load(c) for c in COMMANDS.values()]; "
        "print({'open_clip', 'torchvision', 'sklearn', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nset()\n"


@pytest.mark.slow  # starting PyTorch anew takes seconds
def test_as_a_program(place):
    code = "import sys; from ski_skeleton.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "none.yaml", "--out", "run"],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "ski-skeleton: none.yaml: no such file\n"
    assert not (place / "run").exists()
    assert {"train", "evaluate", "convert", "recipes"} <= set(cli.COMMANDS)
