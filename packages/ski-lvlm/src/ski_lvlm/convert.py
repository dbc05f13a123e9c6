"""Key table of published projector files, both directions.

Video-ChatGPT, LLAVIDAL and SKI-LVLM save the projectors under the names of the whole language
model; their files of a training run also hold its token embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ski_lvlm.errors import ConfigError
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_skeleton.convert.table import Table, from_published, same, to_published
from ski_skeleton.errors import CheckpointError

PUBLISHED = {"video": "model.mm_projector", "skeleton": "model.mm_projector_forpose"}
EMBEDDING = "model.embed_tokens.weight"
"""Saved beside the projectors by training runs, and no part of them."""


def projector_table(config: ProjectorConfig) -> Table:
    """Our entries and the published ones for projectors of these sizes."""
    channels = {"video": config.video_channels, "skeleton": config.skeleton_channels}
    return [
        same(f"{ours}.{leaf}", f"{PUBLISHED[ours]}.{leaf}", shape)
        for ours, width in channels.items()
        if width is not None
        for leaf, shape in (("weight", (config.width, width)), ("bias", (config.width,)))
    ]


def config_of(state: Mapping[str, Tensor], source: str) -> ProjectorConfig:
    """Sizes of the projectors in a published file.

    Raises:
        CheckpointError: no video projector in it, or a weight that is no matrix.
    """
    sizes: dict[str, tuple[int, ...] | None] = {}
    for ours, theirs in PUBLISHED.items():
        weight = state.get(f"{theirs}.weight")
        sizes[ours] = None if weight is None else tuple(weight.shape)
        if weight is not None and weight.ndim != 2:
            raise CheckpointError(f"{source}: {theirs}.weight is {sizes[ours]}, wanted a matrix")
    if sizes["video"] is None:
        raise CheckpointError(
            f"{source}: no {PUBLISHED['video']}.weight in it; a projector file holds "
            f"{' and maybe '.join(PUBLISHED.values())}, each with weight and bias"
        )
    width, video = sizes["video"]
    skeleton = None if sizes["skeleton"] is None else sizes["skeleton"][1]
    try:
        return ProjectorConfig(width=width, video_channels=video, skeleton_channels=skeleton)
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}") from error


def from_published_file(
    state: Mapping[str, Tensor], source: str, *, drop_embedding: bool = False
) -> Projectors:
    """Projectors from the entries of a published file; ``source`` names it in errors.

    Args:
        state: entries by their published names.
        source: where they come from.
        drop_embedding: leave the token embedding of a training run out; without this, it is an
            error like any other unknown entry.

    Raises:
        CheckpointError: entries that are missing, unknown or of another shape.
    """
    kept = {k: v for k, v in state.items() if not (drop_embedding and k == EMBEDDING)}
    if EMBEDDING in kept:
        raise CheckpointError(
            f"{source}: also holds {EMBEDDING}, whose start and end rows may be trained; ask for "
            "drop_embedding to convert the projectors without it"
        )
    config = config_of(kept, source)
    projectors = Projectors(config)
    projectors.load_state_dict(from_published(projector_table(config), kept, source))
    return projectors


def to_published_state(projectors: Projectors) -> dict[str, Tensor]:
    """The published names for these projectors; the inverse of :func:`from_published_file`."""
    table = projector_table(projectors.config)
    return to_published(table, projectors.state_dict(), "projectors")
