"""What every video student has in common: RGB clips and class names in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from ski_data.video.transforms import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from ski_skeleton.text import PHOTO_TEMPLATE, ClipConfig, ClipTextTower, build_clip, class_prompts
from ski_skeleton.text.blocks import full_precision
from ski_vlm.errors import ConfigError

NORMALISATION = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "clip": (CLIP_MEAN, CLIP_STD)}


@dataclass(frozen=True)
class StudentConfig:
    """Towers, input and which of them train."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    frames: int = 16
    """Frames T sampled from a clip."""
    normalisation: Literal["imagenet", "clip"] = "imagenet"
    """Mean and deviation of the pixels; the released code uses ImageNet's, not CLIP's."""
    short_side: int = 256
    """Frames are resized to this short side before the centre crop to the tower's input."""
    template: str = PHOTO_TEMPLATE
    train: Literal["both", "image", "text"] = "both"
    """Towers that train, with the scale; the token embedding never does."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames must be at least 1, got {self.frames}")
        class_prompts(["any"], self.template)


class StudentOutput(NamedTuple):
    """What every student gives for a batch of clips and a list of classes."""

    cosines: Tensor
    """``(N, K)``, similarity of each clip with each class in [-1, 1]."""
    scale: Tensor
    """Scalar, exp of the learned logit scale."""
    video: Tensor
    """``(N, D)``, video features."""
    text: Tensor
    """``(K, D)`` unit text features; ``(N, K, D)`` where they depend on the clip."""

    @property
    def logits(self) -> Tensor:
        """``(N, K)``, scaled cosines."""
        return self.scale * self.cosines


class Student(nn.Module):
    """RGB clips and class names to logits; holds nothing of a skeleton.

    A student says in :meth:`encode_video` how the frames of a clip become one vector. One whose
    class texts depend on the clip overrides :meth:`score` as well.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: StudentConfig, clip: CLIP | None = None) -> None:
        super().__init__()
        clip = build_clip(config.clip) if clip is None else clip
        self.config = config
        self.image = clip.visual
        self.text = ClipTextTower(clip)
        self.logit_scale = nn.Parameter(clip.logit_scale.detach().clone())
        self.checkpointing = False
        mean, std = NORMALISATION[config.normalisation]
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        if config.train == "text":
            self.image.requires_grad_(False)
        if config.train == "image":
            self.text.freeze()

    @property
    def image_size(self) -> int:
        """Side of the square frames that the image tower takes, in pixels."""
        size = self.image.image_size
        return int(size[0] if isinstance(size, tuple) else size)

    def checkpoint_blocks(self) -> None:
        """From now on compute the image tower's blocks again in the backward pass, to save memory.

        Only blocks' inputs are kept; answers and gradients stay the same.

        Raises:
            ConfigError: a tower that cannot.
        """
        tower = getattr(self.image, "trunk", self.image)  # open_clip's wrapper of timm only warns
        try:
            tower.set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as error:
            raise ConfigError(
                f"{type(tower).__name__} cannot compute its blocks twice; leave out checkpointing"
            ) from error
        self.checkpointing = True

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 ``(N, T, H, W, 3)`` RGB to float ``(N, T, 3, H, W)``, on the frames' device."""
        scaled = (frames.to(self.mean.dtype) - self.mean) / self.std
        return scaled.permute(0, 1, 4, 2, 3)

    def frame_features(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to per-frame features ``(N, T, D)``, not unit length."""
        N, T = video.shape[:2]
        return self.image(video.flatten(0, 1)).view(N, T, -1)

    def encode_video(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to video features ``(N, D)``."""
        raise TypeError(f"{type(self).__name__} cannot encode {tuple(video.shape)}")

    def encode_classes(self, names: Sequence[str]) -> Tensor:
        """Unit text features ``(K, D)`` of class names under this model's prompt template."""
        return self.text.unit_text(class_prompts(names, self.config.template))

    def score(self, video: Tensor, text: Tensor) -> StudentOutput:
        """Normalised ``(N, T, 3, H, W)`` and unit class texts ``(K, D)`` to the output.

        Tensors alone go in, so this is the part that is exported and traced.
        """
        return self.compared(self.encode_video(video), text)

    def compared(self, features: Tensor, text: Tensor) -> StudentOutput:
        """Video features ``(N, D)`` and class texts ``(K, D)`` to the output.

        Under autocast, too, in full: half precision would round the cosines by more than all that
        comes before.
        """
        with full_precision(features):
            cosines = features @ text.to(features.dtype).T
            return StudentOutput(cosines, self.logit_scale.exp(), features, text)

    def forward(self, video: Tensor, names: Sequence[str]) -> StudentOutput:
        """Normalised ``(N, T, 3, H, W)`` and K class names to :class:`StudentOutput`."""
        return self.score(video, self.encode_classes(names))

    def forward_training(self, video: Tensor, names: Sequence[str]) -> StudentOutput:
        """:meth:`forward` in a training step, for students that draw their prompts in each."""
        return self(video, names)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the optimiser; ``scale`` multiplies the learning rate of a group."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "scale": 1.0}]
