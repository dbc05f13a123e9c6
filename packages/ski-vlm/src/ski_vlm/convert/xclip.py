"""Key table of published X-CLIP checkpoints, which hold a whole CLIP and the new parts."""

from __future__ import annotations

from ski_skeleton.convert.table import Table, same
from ski_vlm.convert.vificlip import module_table
from ski_vlm.students.xclip import XClip

MESSAGE = {"fc": "message_fc", "norm": "message_ln", "attn": "message_attn"}
PROMPT_LAYER = {
    "query": "cross_attn.q_proj",
    "key": "cross_attn.k_proj",
    "value": "cross_attn.v_proj",
    "out": "cross_attn.proj",
    "norm_1": "norm1",
    "norm_2": "norm3",
    "mlp.0": "mlp.0",
    "mlp.2": "mlp.3",
}
"""Ours to the published names of a prompt layer; what has no weights is left out."""


def xclip_table(student: XClip) -> Table:
    """X-CLIP checkpoints, both directions; nothing is dropped.

    The token embedding is in the file, beside the text tower.
    """
    table = [
        *module_table(student.text, "text.", ""),
        *module_table(student.image, "image.", "visual."),
        same("logit_scale", "logit_scale", ()),
    ]
    for i, message in enumerate(student.messages):
        for ours, theirs in MESSAGE.items():
            published = f"visual.transformer.resblocks.{i}.{theirs}."
            part = message.get_submodule(ours)
            table += module_table(part, f"messages.{i}.{ours}.", published)
    table.append(
        same("integration.position", "mit.positional_embedding", student.integration.position.shape)
    )
    table += module_table(student.integration.blocks, "integration.blocks.", "mit.resblocks.")
    prompts = student.prompts
    table += [
        same("prompts.image_proj", "prompts_visual_proj", prompts.image_proj.shape),
        same("prompts.alpha", "prompts_generator.alpha", prompts.alpha.shape),
        *module_table(prompts.image_norm, "prompts.image_norm.", "prompts_visual_ln."),
        *module_table(prompts.norm, "prompts.norm.", "prompts_generator.norm."),
    ]
    for i, layer in enumerate(prompts.layers):
        for ours, theirs in PROMPT_LAYER.items():
            published = f"prompts_generator.decoder.{i}.{theirs}."
            part = layer.get_submodule(ours)
            table += module_table(part, f"prompts.layers.{i}.{ours}.", published)
    return table
