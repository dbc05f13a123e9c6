"""Tables between our entries and those of published SynSE, SMIE and STAR checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ski_skeleton.convert.table import Table, same
from ski_skeleton.zeroshot.smie import Smie
from ski_skeleton.zeroshot.star import Star
from ski_skeleton.zeroshot.synse import LatentClassifier, Synse

SMIE_CRITIC = "mi.global_D."
"""Prefix of the critic in a published SMIE state dict."""
SMIE_ENCODER = "encoder."
"""Prefix of the frozen ST-GCN in a state dict of SMIE with its encoder."""
STAR_ENCODER = "pretraining_model."
"""Prefix of the frozen Shift-GCN in a published STAR state dict."""
STAR_UNUSED = (
    "part_weights_factor",
    "body_part_index_list.",
    "gcn_part_classifier.",
    "gcn_flobal_classifier.",
    "global_fc1.",
    "global_fc2.",
)
"""Beginnings of entries of a published STAR head that none of its trained outputs depends on."""

_VAES = {"skeleton": "sequence", "noun": "n_text", "verb": "v_text"}


def _renamed(module: Mapping[str, Tensor], names: Mapping[str, str]) -> Table:
    return [same(ours, theirs, module[ours].shape) for ours, theirs in names.items()]


def _linear(ours: str, theirs: str) -> Iterable[tuple[str, str]]:
    return ((f"{ours}.{kind}", f"{theirs}.{kind}") for kind in ("weight", "bias"))


def synse_table(model: Synse) -> Table:
    """SynSE: the release keeps each module in a file of its own; here each is a prefix."""
    names: dict[str, str] = {}
    for ours, theirs in _VAES.items():
        names |= _linear(f"{ours}.mu", f"{theirs}_encoder.mu_transformation.0")
        names |= _linear(f"{ours}.logvar", f"{theirs}_encoder.logvar_transformation.0")
        names |= _linear(f"{ours}.decoder", f"{theirs}_decoder.model.0")
    return _renamed(model.state_dict(), names)


def synse_classifier_table(classifier: LatentClassifier) -> Table:
    """The classifier of unseen classes."""
    return _renamed(classifier.state_dict(), dict(_linear("linear", "classifier.model.0")))


def smie_table(model: Smie) -> Table:
    """SMIE's critic, whose layers have the published names."""
    state = model.state_dict()
    return [same(name, SMIE_CRITIC + name, value.shape) for name, value in state.items()]


def star_table(model: Star) -> Table:
    """STAR's head, without its encoder and :data:`STAR_UNUSED`."""
    names: dict[str, str] = {}
    attention = ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias")
    if model.parts[0].attention.in_proj_weight is not None:  # all three of one width
        attention = ("in_proj_weight", "in_proj_bias")
    for i in range(len(model.config.part_names)):
        part, theirs = f"parts.{i}", f"body_part_st_attention_networks.{i}"
        names |= {f"{part}.attention.{k}": f"{theirs}.{k}" for k in attention}
        names |= _linear(f"{part}.attention.out_proj", f"{theirs}.out_proj")
        names[f"{part}.prompt"] = f"body_part_prompts.{i}"
        names[f"{part}.bilinear"] = f"body_part_w.{i}"
        names[f"{part}.text_prompt"] = f"pd_prompt.{i}"
        names |= _linear(f"{part}.first", f"body_part_mapping_matrix1.{i}")
        names |= _linear(f"{part}.second", f"body_part_mapping_matrix2.{i}")
        names |= _linear(f"{part}.text_map.first", f"pd_mapping_matrix1.{i}")
        names |= _linear(f"{part}.text_map.second", f"pd_mapping_matrix2.{i}")
    names |= _linear("name_map.first", "crossmodal_align1")
    names |= _linear("name_map.second", "crossmodal_align2")
    return _renamed(model.state_dict(), names)


def star_head_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a published STAR state dict that :func:`star_table` is about."""
    return {k: v for k, v in state.items() if not k.startswith((STAR_ENCODER, *STAR_UNUSED))}
