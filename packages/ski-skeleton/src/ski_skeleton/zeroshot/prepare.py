"""A zero-shot recipe with its data opened: features, class texts, split, clips, leak guard."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.fitting import check_inputs
from ski_skeleton.zeroshot.protocol import ClassSplit, Rows, derangement, divide, guard_leak
from ski_skeleton.zeroshot.recipe import ZeroShotRecipe, class_split, open_features
from ski_skeleton.zeroshot.star import StarConfig
from ski_skeleton.zeroshot.synse import SynseConfig
from ski_skeleton.zeroshot.tdsm import TdsmConfig
from ski_skeleton.zeroshot.texts import ClassTexts, class_texts

NEIGHBOURS = (
    "texts lean towards their neighbours among all candidate classes, unseen ones included, in "
    "training too: names are used, no clips"
)


@dataclass(frozen=True)
class Prepared:
    """A recipe with its data opened and checked."""

    recipe: ZeroShotRecipe
    features: FeatureSet
    split: ClassSplit
    rows: Rows
    texts: ClassTexts
    """Of all classes, attuned if the recipe says so."""
    raw_texts: ClassTexts
    """The same before, of which a part can be attuned by itself."""
    notes: tuple[str, ...]


def prepare(recipe: ZeroShotRecipe, *, report: ProgressReport | None = None) -> Prepared:
    """Open features and texts, split classes and clips, and guard against leaks.

    Raises:
        LeakError: an encoder that has seen an unseen class, or does not say.
        InputError, MissingFileError, ConfigError: settings and data that do not fit together.
    """
    config, protocol = recipe.method, recipe.protocol
    features = open_features(recipe, report=report)
    split = class_split(recipe, features)
    mark = guard_leak(features.trained_on, split, allow_unknown=protocol.allow_unknown_encoder)
    notes = [] if mark is None else [mark]
    rows = divide(features, split, recipe.train, protocol.unseen_clips)
    check_inputs(config, features)
    raw = class_texts(
        replace(recipe.text, neighbours=None),
        split.names,
        words=isinstance(config, SynseConfig),
        part_names=config.part_names if isinstance(config, StarConfig) else (),
        tokens=isinstance(config, TdsmConfig),
    )
    if recipe.text.file is None and recipe.kind == "star" and recipe.text.parts is None:
        notes.append("parts are only named, not described")
    if recipe.text.file is None and recipe.kind == "synse" and recipe.text.phrases is None:
        notes.append("first words of the class names stand for verbs, the others for nouns")
    if protocol.permute_names is not None:
        rng = np.random.default_rng(protocol.permute_names)
        raw = raw.subset(derangement(len(split.names), rng).tolist())
        notes.append("null: every class has the text of another class")
    if isinstance(config, TdsmConfig) and raw.tokens is None:
        notes.append("the file of text vectors has no tokens: each text is its own single token")
    if recipe.text.neighbours is not None:
        notes.append(NEIGHBOURS)
        if (
            protocol.generalised
        ):  # tuning knows seen classes alone: too few are told before training
            raw.subset(split.seen).attuned(recipe.text.neighbours)
    texts = raw.attuned(recipe.text.neighbours)
    return Prepared(recipe, features, split, rows, texts, raw, tuple(notes))
