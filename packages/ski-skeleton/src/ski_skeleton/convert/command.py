"""The command that converts encoder checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ski_data.errors import ExistingOutputError, InputError
from ski_skeleton.convert.published import (
    PUBLISHED,
    encoder_from_published,
    encoder_to_published,
    entries_under,
)
from ski_skeleton.encoders import EncoderConfig, encoder_config
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.shift_gcn import ShiftGcnConfig
from ski_skeleton.stgcn import StgcnConfig
from ski_skeleton.train import read_model, write_model
from ski_skeleton.weights import read_weights, write_weights


def convert(
    weights: str,
    out: str,
    *,
    to: Literal["ours", "published"] = "ours",
    source: Literal["official", "ski", "stgcn", "shift_gcn"] = "official",
    prefix: str = "",
    hyperformer: HyperformerConfig = HyperformerConfig(output=None),  # noqa: B008 (frozen)
    stgcn: StgcnConfig = StgcnConfig(output=None),  # noqa: B008
    shift_gcn: ShiftGcnConfig = ShiftGcnConfig(output=None),  # noqa: B008
) -> None:
    """Convert encoder checkpoints between the published names and ours.

    Args:
        weights: published weight file, or one of our model folders with to=published.
        out: model folder to write, or with to=published a safetensors file.
        to: direction.
        source: class of the checkpoint: official (Hyperformer, head to classes), ski (Hyperformer,
            head to the text width), stgcn or shift_gcn.
        prefix: what the encoder's entries begin with in a larger model, such as encoder. in SMIE
            or pretraining_model. in STAR; other entries are left out.
        hyperformer: sizes of a Hyperformer; the output width is taken from the file.
        stgcn: sizes of an ST-GCN, likewise.
        shift_gcn: sizes of a Shift-GCN, likewise.
    """
    published = PUBLISHED[source]
    target = Path(out)
    if target.exists():
        raise ExistingOutputError(f"{target}: already there; choose another name or remove it")
    if to == "published":
        if target.suffix != ".safetensors":
            raise InputError(f"{target}: is written as safetensors; give such a name")
        _, plain, state, _ = read_model(weights, published.kind)
        built = encoder_config(published.kind, plain, weights)
        theirs = encoder_to_published(published, built, state, weights)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_weights(target, {prefix + name: value for name, value in theirs.items()})
    else:
        sizes: dict[str, EncoderConfig] = {
            "hyperformer": hyperformer,
            "stgcn": stgcn,
            "shift_gcn": shift_gcn,
        }
        state = entries_under(prefix, read_weights(weights), weights)
        built, ours = encoder_from_published(published, sizes[published.kind], state, weights)
        note = {"classes_seen": None, "converted_from": f"{source} checkpoint"}
        write_model(target, published.kind, built, ours, note)
    print(target)
