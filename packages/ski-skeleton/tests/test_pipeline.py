from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import MOVEMENTS, plain_recipe, write_recipe, write_store

from ski_data.errors import InputError, MissingFileError
from ski_data.splits import zero_shot_split
from ski_skeleton import pipeline
from ski_skeleton.errors import CheckpointError, ConfigError, RunError
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.text import build_clip
from ski_skeleton.train import TrainConfig, write_model
from ski_skeleton.weights import write_weights


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture
def recipe(store, tmp_path):
    return pipeline.read_recipe(write_recipe(tmp_path / "r.yaml", plain_recipe(store)))


@pytest.fixture
def sets(recipe):
    return pipeline.open_sets(recipe)


def losses(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def names(dataset):
    return {record.name for record in dataset.records}


def test_sets_are_disjoint_and_whole(recipe, sets):
    assert sets.seen == ["bow", "clap", "kick"]
    assert sets.unseen == ["sit", "wave"]
    assert [len(s) for s in (sets.train, sets.test_seen, sets.test_unseen)] == [12, 12, 16]
    parts = [names(sets.train), names(sets.test_seen), names(sets.test_unseen)]
    assert len(set.union(*parts)) == 40
    assert {r.subject for r in sets.train.records} == set(recipe.data.train_subjects)
    assert {r.subject for r in sets.test_seen.records} == {3, 4}


def test_the_split_of_own_classes_has_a_hash(recipe, sets, store):
    other = replace(recipe, data=replace(recipe.data, unseen=("bow", "wave")))
    again = pipeline.open_sets(recipe)
    assert len(sets.split_hash) == 64
    assert again.split_hash == sets.split_hash != pipeline.open_sets(other).split_hash


def test_balanced_stages_train(recipe, sets, tmp_path):
    train = replace(recipe.classify, balanced=True)
    few = [r for r in sets.train.records if r.label != 0 or r.name.endswith("-0")]
    sets.train.records = tuple(few)
    pipeline.pretrain_encoder(recipe.model, sets.train, 3, train, tmp_path / "a")
    assert all(np.isfinite(losses(tmp_path / "a")))


def test_training_never_holds_an_unseen_class(recipe):
    for unseen in itertools.combinations(MOVEMENTS, 2):
        sets = pipeline.open_sets(replace(recipe, data=replace(recipe.data, unseen=unseen)))
        assert sets.unseen == list(unseen)
        assert not set(unseen) & set(sets.seen)
        labels = {str(MOVEMENTS.index(name)) for name in unseen}
        for part in (sets.train, sets.test_seen):
            assert not labels & {name.split("-")[1] for name in names(part)}
        assert labels == {name.split("-")[1] for name in names(sets.test_unseen)}


def test_labels_are_positions_in_the_names(sets):
    for part, classes in ((sets.train, sets.seen), (sets.test_unseen, sets.unseen)):
        for record in part.records:
            assert classes[record.label] == MOVEMENTS[int(record.name.split("-")[1])]


def test_published_split_of_a_store_without_class_names(tmp_path):
    split = zero_shot_split("ntu60/55-5")
    labels = (split.unseen_actions[1] - 1, split.seen_actions[7] - 1)
    plain = plain_recipe(write_store(tmp_path / "ntu", labels=labels, named=False))
    plain["data"] = {**plain["data"], "split": "ntu60/55-5"}
    del plain["data"]["unseen"]
    sets = pipeline.open_sets(pipeline.read_recipe(write_recipe(tmp_path / "r.yaml", plain)))
    assert sets.seen == list(split.seen.names)
    assert sets.split_hash == split.hash
    assert set(sets.test_unseen.labels) == {1}
    assert set(sets.train.labels) == set(sets.test_seen.labels) == {7}


@pytest.mark.parametrize("label", [-1, 60])
def test_label_outside_the_data_set(tmp_path, label):
    plain = plain_recipe(write_store(tmp_path / "ntu", labels=(0, label), named=False))
    plain["data"] = {**plain["data"], "split": "ntu60/55-5"}
    del plain["data"]["unseen"]
    recipe = pipeline.read_recipe(write_recipe(tmp_path / "r.yaml", plain))
    with pytest.raises(InputError, match=rf"ntu: label {label} of clip p1-.*allowed: 0\.\.59"):
        pipeline.open_sets(recipe)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"unseen": ("jump",)}, r"no classes \['jump'\]; it has \['bow'"),
        ({"unseen": MOVEMENTS}, "0 seen and 5 unseen classes"),
        ({"unseen": ("bow",)}, "4 seen and 1 unseen classes"),
        ({"train_subjects": (9,)}, r"subjects \[1, 2, 3, 4\]"),
        ({"train_subjects": (1, 2, 3, 4)}, r"subjects \[1, 2, 3, 4\]"),
        ({"unseen": (), "split": "ntu60/1-59"}, "unknown split"),
    ],
)
def test_split_that_cannot_be(recipe, data, text):
    with pytest.raises(InputError, match=text):
        pipeline.open_sets(replace(recipe, data=replace(recipe.data, **data)))


def test_store_without_names_needs_a_split(recipe, tmp_path):
    store = str(write_store(tmp_path / "nameless", named=False))
    with pytest.raises(InputError, match="names no classes"):
        pipeline.open_sets(replace(recipe, data=replace(recipe.data, store=store)))


def test_store_of_other_bodies(recipe, tmp_path):
    store = str(write_store(tmp_path / "pairs", bodies=2))
    with pytest.raises(InputError, match=r"pairs: clips of 2 x kinect25.*takes 1 x kinect25"):
        pipeline.open_sets(replace(recipe, data=replace(recipe.data, store=store)))


@pytest.mark.parametrize("both", [{"split": "ntu60/55-5", "unseen": ["wave"]}, {}])
def test_split_or_unseen_names(both):
    with pytest.raises(ConfigError, match="either"):
        pipeline.ZeroShotData("store", (1,), **both)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"aling": {}}, "unknown settings"),
        ({"align": {"epochs": 0}}, "epochs must be at least 1"),
        ({"align": {"epochs": "many"}}, "expected int"),
        ({"feeder": {"window": 0}}, "window must be"),
        ({"model": {"temperature": -1.0}}, "temperature"),
        ({"model": {"encoder": {"layout": "spider"}}}, "spider"),
    ],
)
def test_wrong_settings_name_the_recipe(tmp_path, change, text):
    path = write_recipe(tmp_path / "r.yaml", {**plain_recipe("store"), **change})
    with pytest.raises((InputError, ConfigError), match=text) as caught:
        pipeline.read_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["data: [", "", "- 1", "data: {store: s}\n", "\tdata"])
def test_file_that_is_no_recipe(tmp_path, content):
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        pipeline.read_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_no_recipe(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.yaml"):
        pipeline.read_recipe(tmp_path / "none.yaml")


def test_pretraining_learns_and_repeats(recipe, sets, tmp_path):
    train = replace(recipe.classify, epochs=10)
    first = pipeline.pretrain_encoder(recipe.model, sets.train, 3, train, tmp_path / "a")
    torch.manual_seed(99)
    again = pipeline.pretrain_encoder(recipe.model, sets.train, 3, train, tmp_path / "b")
    assert first.config.output == 3
    assert not first.training
    curve = losses(tmp_path / "a")
    assert sum(curve[-4:]) < 0.7 * sum(curve[:4])
    assert losses(tmp_path / "b") == curve
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    other = replace(train, seed=1, epochs=1)
    third = pipeline.pretrain_encoder(recipe.model, sets.train, 3, other, tmp_path / "c")
    assert not torch.equal(first.head.weight, third.head.weight)


def test_alignment_starts_from_the_body_and_keeps_its_own_head(recipe, sets, tmp_path):
    body = pipeline.pretrain_encoder(
        recipe.model, sets.train, 3, replace(recipe.classify, epochs=1), tmp_path / "body"
    ).state_dict()
    model = SkeletonClip(recipe.model)
    head = model.encoder.head.weight.clone()
    still = replace(recipe.align, epochs=1, optim=replace(recipe.align.optim, lr=1e-12))
    pipeline.align(model, body, sets.train, sets.seen, still, tmp_path / "align")
    parameters = dict(model.encoder.named_parameters())
    for name, value in body.items():
        if name in parameters and not name.startswith("head."):
            torch.testing.assert_close(parameters[name].detach(), value, rtol=0, atol=1e-8)
    torch.testing.assert_close(model.encoder.head.weight.detach(), head, rtol=0, atol=1e-8)


def test_body_must_cover_the_encoder(recipe, sets, tmp_path):
    model = SkeletonClip(recipe.model)
    body = {k: v for k, v in model.encoder.state_dict().items() if "alpha" not in k}
    with pytest.raises(CheckpointError, match="alpha"):
        pipeline.align(model, body, sets.train, sets.seen, recipe.align, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Axes(torch.nn.Module):
    """A text tower that gives each movement an axis of its own."""

    width = 16

    def freeze(self):
        return self

    def unit_text(self, texts):
        number = [next(i for i, name in enumerate(MOVEMENTS) if name in text) for text in texts]
        return torch.eye(self.width)[number]


def test_alignment_learns_the_seen_classes(recipe, sets, tmp_path):
    model = SkeletonClip(recipe.model, text=Axes())
    before = pipeline.zero_shot_scores(model, sets.test_seen, sets.seen)
    train = replace(recipe.align, epochs=50)
    pipeline.align(model, None, sets.train, sets.seen, train, tmp_path / "run")
    after = pipeline.zero_shot_scores(model, sets.test_seen, sets.seen)
    curve = losses(tmp_path / "run")
    assert sum(curve[-4:]) < 0.7 * sum(curve[:4])
    right = [(s.logits.argmax(1) == s.labels).mean() for s in (before, after)]
    assert right[1] >= 0.9
    assert right[1] > right[0]


def test_alignment_leaves_the_text_tower_alone(recipe, sets, tmp_path):
    model = SkeletonClip(recipe.model)
    before = {k: v.clone() for k, v in model.text.state_dict().items()}
    pipeline.zero_shot_scores(model, sets.test_seen, sets.seen)  # fills the tower's cache
    pipeline.align(model, None, sets.train, sets.seen, recipe.align, tmp_path / "run")
    assert all(torch.equal(v, before[k]) for k, v in model.text.state_dict().items())


def test_scores_are_in_order_of_clips_and_names(recipe, sets):
    model = SkeletonClip(recipe.model)
    scores = pipeline.zero_shot_scores(model, sets.test_seen, sets.seen, batch_size=5)
    assert scores.logits.shape == (12, 3)
    assert scores.labels.tolist() == sets.test_seen.labels.tolist()
    assert np.abs(scores.logits).max() <= (1 + 1e-5) / recipe.model.temperature
    swapped = pipeline.zero_shot_scores(model, sets.test_seen, sets.seen[::-1])
    np.testing.assert_allclose(swapped.logits[:, ::-1], scores.logits, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        clip = torch.from_numpy(sets.test_seen[7]["skeleton"])[None]
        alone = model.logits(clip, sets.seen)[0].numpy()
    np.testing.assert_allclose(scores.logits[7], alone, rtol=1e-4, atol=1e-5)


def saved(model, folder):
    meta = {"classes_seen": ["bow"]}
    return write_model(folder, pipeline.KIND, model.config, model.state_dict(), meta)


def test_saved_model_gives_the_same_scores(recipe, sets, tmp_path, scatter):
    model = scatter(SkeletonClip(recipe.model))
    expected = pipeline.zero_shot_scores(model, sets.test_unseen, list(MOVEMENTS))
    loaded, meta = pipeline.load_skeleton_clip(saved(model, tmp_path / "model"))
    assert meta["classes_seen"] == ["bow"]
    assert loaded.config == model.config
    assert not loaded.training
    again = pipeline.zero_shot_scores(loaded, sets.test_unseen, list(MOVEMENTS))
    assert np.array_equal(again.logits, expected.logits)


def test_saved_model_does_without_the_weights_it_started_from(recipe, tmp_path):
    start = tmp_path / "clip.safetensors"
    write_weights(start, build_clip(recipe.model.clip).state_dict())
    config = replace(recipe.model, clip=replace(recipe.model.clip, pretrained=str(start)))
    model = SkeletonClip(config)
    folder = saved(model, tmp_path / "model")
    start.unlink()
    loaded, _ = pipeline.load_skeleton_clip(folder)
    assert torch.equal(loaded.text.text_projection, model.text.text_projection)


def test_model_folder_that_does_not_cover(recipe, tmp_path):
    model = SkeletonClip(recipe.model)
    state = {k: v for k, v in model.state_dict().items() if k != "encoder.head.bias"}
    folder = write_model(tmp_path / "model", pipeline.KIND, model.config, state, {})
    with pytest.raises(CheckpointError, match=r"model does not fit.*encoder\.head\.bias"):
        pipeline.load_skeleton_clip(folder)
    other = write_model(tmp_path / "other", "hyperformer", model.config.encoder, state, {})
    with pytest.raises(CheckpointError, match="a skeleton-clip model is needed"):
        pipeline.load_skeleton_clip(other)


def test_run_folder_belongs_to_one_recipe(recipe, tmp_path):
    run = tmp_path / "runs" / "one"
    leak = replace(recipe, data=replace(recipe.data, unseen=("bow",)))
    pipeline.claim_run(run, leak)  # nothing was trained by it
    pipeline.claim_run(run, recipe)
    (run / "encoder").mkdir()
    pipeline.claim_run(run, recipe)
    with pytest.raises(RunError, match="another recipe"):
        pipeline.claim_run(run, leak)
    assert sorted(path.name for path in run.iterdir()) == ["encoder", "recipe.json"]
    with pytest.raises(RunError, match="is a file"):
        pipeline.claim_run(run / "recipe.json", recipe)


def test_settings_left_out_are_the_defaults(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("data: {store: s, train_subjects: [1], split: ntu60/55-5}\n")
    recipe = pipeline.read_recipe(path)
    assert recipe.classify is None
    assert recipe.align == TrainConfig()
