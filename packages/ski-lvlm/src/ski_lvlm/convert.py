"""Key table of published projector files, both directions.

Video-ChatGPT, LLAVIDAL and SKI-LVLM save the projectors under the names of the whole language
model; their files of a training run also hold its token embedding, of which training changes only
the rows of the start and end tokens: these are kept. LLaVA's projectors of two or more layers
(``mlp2x_gelu``) are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ski_lvlm.errors import ConfigError
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_lvlm.tokens import ADDED_TOKENS, BOUNDARY_TOKENS
from ski_skeleton.convert.table import Table, from_published, same, to_published
from ski_skeleton.errors import CheckpointError

PUBLISHED = {"video": "model.mm_projector", "skeleton": "model.mm_projector_forpose"}
EMBEDDING = "model.embed_tokens.weight"
BASE_VOCABULARY = 32003
"""Tokens of the published base model, LLaVA-7B-Lightening-v1-1, before the added ones."""
_VIDEO_ALONE = ("<vid_patch>", "<vid_start>", "<vid_end>")
"""Tokens that Video-ChatGPT adds, in the order of their ids."""


def projector_table(config: ProjectorConfig) -> Table:
    """Our entries and the published ones for projectors of these sizes, without boundary rows."""
    channels = {"video": config.video_channels, "skeleton": config.skeleton_channels}
    table = []
    for ours, width in channels.items():
        if width is None:
            continue
        for layer in range(config.layers):
            place = f".{2 * layer}" if config.layers > 1 else ""
            shape = (config.width, config.width if layer else width)
            for leaf, size in (("weight", shape), ("bias", shape[:1])):
                name = f"{place}.{leaf}"
                table.append(same(ours + name, PUBLISHED[ours] + name, size))
    return table


def config_of(state: Mapping[str, Tensor], source: str) -> ProjectorConfig:
    """Sizes of the projectors in a published file.

    Raises:
        CheckpointError: no video projector in it, or a weight that is no matrix.
    """
    sizes: dict[str, tuple[int, ...] | None] = {}
    layers = 1
    for ours, theirs in PUBLISHED.items():
        name = next((n for n in (f"{theirs}.weight", f"{theirs}.0.weight") if n in state), None)
        sizes[ours] = None if name is None else tuple(state[name].shape)
        if name is not None and state[name].ndim != 2:
            raise CheckpointError(f"{source}: {name} is {sizes[ours]}, wanted a matrix")
        if ours == "video" and name == f"{theirs}.0.weight":
            found = [
                key for key in state if re.fullmatch(re.escape(theirs) + r"\.\d+\.weight", key)
            ]
            layers = len(found)
    if sizes["video"] is None:
        raise CheckpointError(
            f"{source}: no {PUBLISHED['video']}.weight in it; a projector file holds "
            f"{' and maybe '.join(PUBLISHED.values())}, each with weight and bias"
        )
    width, video = sizes["video"]
    skeleton = None if sizes["skeleton"] is None else sizes["skeleton"][1]
    try:
        return ProjectorConfig(
            width=width,
            video_channels=video,
            skeleton_channels=skeleton,
            layers=layers,
            boundary_rows=EMBEDDING in state,
        )
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}") from error


def from_published_file(
    state: Mapping[str, Tensor], source: str, *, vocabulary: int = BASE_VOCABULARY
) -> Projectors:
    """Projectors from the entries of a published file; ``source`` names it in errors.

    Args:
        state: entries by their published names.
        source: where they come from.
        vocabulary: tokens of the base model before the added ones, to find the start and end
            tokens' rows in a token embedding.

    Raises:
        CheckpointError: entries that are missing, unknown or of another shape.
    """
    config = config_of(state, source)
    ours = from_published(
        projector_table(config), {k: v for k, v in state.items() if k != EMBEDDING}, source
    )
    if EMBEDDING in state:
        ours["boundary"] = _boundary_rows(state[EMBEDDING], config.width, vocabulary, source)
    projectors = Projectors(config)
    projectors.load_state_dict(ours)
    return projectors


def to_published_state(projectors: Projectors) -> dict[str, Tensor]:
    """The published names for these projectors.

    The inverse of :func:`from_published_file`, but for the token embedding: published files hold
    the whole one, ours only its six trained rows, which are left out here.
    """
    table = projector_table(projectors.config)
    state = {k: v for k, v in projectors.state_dict().items() if k != "boundary"}
    return to_published(table, state, "projectors")


def _boundary_rows(embedding: Tensor, width: int, vocabulary: int, source: str) -> Tensor:
    """Rows of the six tokens; those that a file of Video-ChatGPT lacks are the mean of the rest."""
    tokens = {
        vocabulary + len(ADDED_TOKENS): ADDED_TOKENS,
        vocabulary + len(_VIDEO_ALONE): _VIDEO_ALONE,
    }
    if embedding.ndim != 2 or embedding.shape[1] != width or len(embedding) not in tokens:
        raise CheckpointError(
            f"{source}: {EMBEDDING} is {tuple(embedding.shape)}; with {vocabulary} tokens before "
            f"the added ones it must be {' or '.join(f'({n}, {width})' for n in tokens)}: give the "
            "right vocabulary"
        )
    known = tokens[len(embedding)]
    mean = embedding[:vocabulary].float().mean(0).to(embedding.dtype)
    return torch.stack(
        [
            embedding[vocabulary + known.index(token)] if token in known else mean
            for token in BOUNDARY_TOKENS
        ]
    )
