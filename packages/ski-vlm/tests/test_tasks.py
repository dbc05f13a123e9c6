from __future__ import annotations

import torch

from ski_vlm.tasks import ContrastImagesAndTexts, FineTuneVideo


def test_fine_tuning_is_cross_entropy(student, names, batch):
    losses = FineTuneVideo(student, names).eval()(batch)
    logits = student(student.normalise(batch["video"]), names).logits
    expected = torch.nn.functional.cross_entropy(logits, batch["label"])
    torch.testing.assert_close(losses["loss"], expected)


def test_contrast_of_distinct_captions_is_clips_loss(student, batch):
    task = ContrastImagesAndTexts(student).eval()
    captions = ["hand up", "hand down", "sit"]
    losses = task({"video": batch["video"][:, :1], "caption": captions})
    image = student.encode_video(student.normalise(batch["video"][:, :1]))
    text = student.text.unit_text(captions)
    logits = student.logit_scale.exp() * image @ text.T
    ce, own = torch.nn.functional.cross_entropy, torch.arange(3)
    torch.testing.assert_close(losses["loss"], (ce(logits, own) + ce(logits.T, own)) / 2)


def test_equal_captions_are_positives_of_each_other(student, batch):
    task = ContrastImagesAndTexts(student).eval()
    video = batch["video"][[0, 0, 1], :1]
    same = task({"video": video, "caption": ["sit", "sit", "stand"]})
    assert torch.isfinite(same["loss"])
    swapped = task({"video": video[[1, 0, 2]], "caption": ["sit", "sit", "stand"]})
    torch.testing.assert_close(same["loss"], swapped["loss"])
