from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ski_vlm.errors import ConfigError
from ski_vlm.students import ViFiClip, ViFiClipConfig


def test_raw_frame_features_are_averaged_then_normalised(student, batch, names):
    with torch.no_grad():
        video = student.normalise(batch["video"])
        frames = student.image(video[:, 1]), student.image(video[:, 3])
        mean = F.normalize((frames[0] + frames[1]) / 2, dim=-1)
        torch.testing.assert_close(student.encode_video(video[:, [1, 3]]), mean)


def test_logits_are_scaled_cosines(student, batch, names):
    output = student(student.normalise(batch["video"]), names)
    assert output.cosines.shape == (3, 3)
    assert output.cosines.abs().max() <= 1 + 1e-5
    torch.testing.assert_close(output.logits, student.logit_scale.exp() * output.cosines)


def test_order_of_frames_does_not_matter(student, batch, names):
    video = student.normalise(batch["video"])
    with torch.no_grad():
        torch.testing.assert_close(
            student(video, names).cosines, student(video.flip(1), names).cosines
        )


def test_normalisation_is_per_channel(student):
    frames = torch.zeros(1, 1, 2, 2, 3, dtype=torch.uint8)
    frames[..., 0], frames[..., 1], frames[..., 2] = 124, 116, 104
    normed = student.normalise(frames)
    assert normed.shape == (1, 1, 3, 2, 2)
    assert normed.abs().max() < 0.02


@pytest.mark.parametrize(
    ("train", "image", "text"),
    [("both", True, True), ("image", True, False), ("text", False, True)],
)
def test_which_tower_trains(config, train, image, text):
    model = ViFiClip(replace(config, train=train)).train()
    assert all(p.requires_grad for p in model.image.parameters()) is image
    assert any(p.requires_grad for p in model.text.parameters()) is text
    assert not model.text.token_embedding.weight.requires_grad


def test_no_skeleton_part(student):
    assert not any("skeleton" in k or "encoder" in k for k in student.state_dict())


def test_bad_settings(config):
    with pytest.raises(ConfigError, match="frames"):
        ViFiClipConfig(clip=config.clip, frames=0)
