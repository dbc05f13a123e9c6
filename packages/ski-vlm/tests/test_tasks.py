from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_data.video.mixing import MixConfig
from ski_vlm.errors import ConfigError
from ski_vlm.tasks import ContrastImagesAndTexts, FineTuneConfig, FineTuneVideo, contrast


def test_fine_tuning_is_cross_entropy(student, names, batch):
    losses = FineTuneVideo(student, names).eval()(batch)
    logits = student(student.normalise(batch["video"]), names).logits
    expected = torch.nn.functional.cross_entropy(logits, batch["label"])
    torch.testing.assert_close(losses["loss"], expected)


def test_contrast_of_distinct_captions_is_clips_loss(student, batch):
    task = ContrastImagesAndTexts(student).eval()
    captions = ["hand up", "hand down", "sit"]
    losses = task({"video": batch["video"][:, :1], "captions": [[text] for text in captions]})
    image = student.encode_video(student.normalise(batch["video"][:, :1]))
    text = student.text.unit_text(captions)
    logits = student.logit_scale.exp() * image @ text.T
    ce, own = torch.nn.functional.cross_entropy, torch.arange(3)
    torch.testing.assert_close(losses["loss"], (ce(logits, own) + ce(logits.T, own)) / 2)


def test_frames_that_share_a_caption_may_be_exchanged(student, batch):
    task = ContrastImagesAndTexts(student).eval()
    video = batch["video"][[0, 0, 1], :1]
    captions = [["sit"], ["sit"], ["stand", "up"]]
    same = task({"video": video, "captions": captions})
    swapped = task({"video": video[[1, 0, 2]], "captions": captions})
    torch.testing.assert_close(same["loss"], swapped["loss"])


def test_what_holds_can_be_told(student, batch):
    asked = []

    def everything(batch, captions):
        asked.append(list(captions))
        return torch.ones(len(batch["captions"]), len(captions), dtype=torch.bool)

    video = batch["video"][:, :1]
    task = ContrastImagesAndTexts(student, everything).eval()
    losses = task({"video": video, "captions": [["sit", "up"], ["sit"], ["down"]]})
    assert asked == [["sit", "up", "down"]]
    assert losses["loss"].item() == 0  # nothing false is left to tell apart
    assert losses["accuracy"].item() == 1


@given(seed=st.integers(0, 99), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_contrast_equals_its_formula(seed, rows, columns):
    rng = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(rows, columns, generator=rng, dtype=torch.float64)
    logits.requires_grad_()
    holds = torch.rand(rows, columns, generator=rng) < 0.5
    holds[:, 0] = True
    expected = []
    for row, true in zip(logits.detach(), holds, strict=True):
        false = row[~true].exp().sum()
        expected.append(torch.stack([-torch.log(e / (e + false)) for e in row[true].exp()]).mean())
    loss = contrast(logits, holds)
    torch.testing.assert_close(loss.detach(), torch.stack(expected).mean())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(gradient).all()


def test_finetuning_on_mixed_videos(student, batch, names):
    plain = FineTuneVideo(student, names).eval()(batch)
    torch.testing.assert_close(
        plain["loss"],
        torch.nn.functional.cross_entropy(
            student(student.normalise(batch["video"]), names).logits, batch["label"]
        ),
    )
    config = FineTuneConfig(label_smoothing=0.1, mix=MixConfig())
    task = FineTuneVideo(student, names, config).train()
    torch.manual_seed(3)
    first = task(batch)["loss"]
    torch.manual_seed(3)
    torch.testing.assert_close(task(batch)["loss"], first)
    assert first != plain["loss"]
    with pytest.raises(ConfigError, match="label_smoothing"):
        FineTuneConfig(label_smoothing=1.0)
