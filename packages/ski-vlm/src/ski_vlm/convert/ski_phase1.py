"""Key table of SKI's phase-1 checkpoints: a skeleton encoder and CLIP's text tower."""

from __future__ import annotations

from ski_skeleton.convert.hyperformer import SKI_HEAD, hyperformer_table
from ski_skeleton.convert.table import Table, with_prefix
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_vlm.convert.vificlip import text_table


def ski_phase1_table(model: SkeletonClip) -> Table:
    """SkeletonCLIP checkpoints, with ``token_embedding.weight`` of the base CLIP added."""
    return [
        *text_table(model.text, "text.", "text_encoder."),
        *with_prefix(
            hyperformer_table(model.config.encoder, SKI_HEAD), "encoder.", "hyperformer_model."
        ),
    ]
