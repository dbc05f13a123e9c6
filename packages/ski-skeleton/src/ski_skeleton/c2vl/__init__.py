"""C2VL: label-free pretraining of skeleton encoders on a vision-language concept space."""

from ski_skeleton.c2vl.concepts import (
    Concepts,
    encode_captions,
    encode_videos,
    load_concepts,
    read_captions,
    save_concepts,
)
from ski_skeleton.c2vl.model import C2vl, C2vlConfig
from ski_skeleton.c2vl.recipe import C2vlRecipe, pretrain, read_recipe
from ski_skeleton.c2vl.task import PretrainC2vl

__all__ = [
    "C2vl",
    "C2vlConfig",
    "C2vlRecipe",
    "Concepts",
    "PretrainC2vl",
    "encode_captions",
    "encode_videos",
    "load_concepts",
    "pretrain",
    "read_captions",
    "read_recipe",
    "save_concepts",
]
