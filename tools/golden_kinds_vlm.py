"""How the golden cases of the video students are run: X-CLIP and FROSTER."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from golden_kinds import Case, Result, _clip_sizes, arrays


def xclip(case: Case) -> Result:
    """Frame, patch and video features, texts, what the video adds to them, and logits."""
    from ski_skeleton.convert.table import from_published
    from ski_skeleton.text import ClipConfig, tokenize
    from ski_skeleton.weights import load_strictly
    from ski_vlm.convert.xclip import xclip_table
    from ski_vlm.students import XClip, XClipConfig

    c = case.config
    clip = ClipConfig(architecture=None, sizes=_clip_sizes(c, c["vision_heads"], c["text_heads"]))
    config = XClipConfig(
        clip=clip,
        frames=c["frames"],
        integration_layers=c["mit_layers"],
        prompt_layers=c["prompt_layers"],
    )
    student = XClip(config)
    state = from_published(xclip_table(student), case.tensors(), str(case.stem))
    load_strictly(student, state, case.stem)
    student.eval()
    with torch.no_grad():
        video, text = case.input("video"), student.encode_classes(c["texts"])
        tokens = student.tokens(video)
        frames = student.class_features(tokens)
        patches = student.prompts.patches(tokens[:, :, 1:])
        answers = {
            "out_frame_features": frames,
            "out_video_features": student.integration(frames),
            "out_patch_features": patches,
            "out_text_features": text,
            "out_text_prompts": student.prompts(text, patches),
            "out_logits": student(video, c["texts"]).logits,
        }
    wanted, ours = dict(case.wanted()), arrays(answers)
    wanted["in_tokens"] = case.arrays["in_tokens"]
    ours["in_tokens"] = tokenize(c["texts"]).numpy()
    return wanted, ours


def froster(case: Case) -> Result:
    """Prompts, logits and classifier of evaluation; features, logits and losses of training."""
    from ski_skeleton.text import ClipConfig, tokenize
    from ski_skeleton.weights import load_strictly
    from ski_vlm.convert.froster import from_froster_task
    from ski_vlm.distill import ResidualConfig, ResidualDistillation
    from ski_vlm.students import Froster, FrosterConfig, ViFiClip, ViFiClipConfig
    from ski_vlm.students.templates import TEMPLATES

    c = case.config
    sizes = _clip_sizes(c["clip"], c["vision_heads"], None)
    clip = ClipConfig(architecture=None, sizes=sizes)
    names = c["rephrased_labels"]
    student = Froster(FrosterConfig(clip=clip, frames=c["frames"]))
    teacher = ViFiClip(ViFiClipConfig(clip=clip, frames=c["frames"]))
    config = ResidualConfig(share=c["residual_alpha"], weight=c["distillation_ratio"])
    task = ResidualDistillation(student, teacher, names, config)
    load_strictly(task, from_froster_task(task, case.tensors(), str(case.stem)), case.stem)

    video = case.input("video")
    task.train()
    training = student.prompts(names, [TEMPLATES[c["template_index"]]])
    logits, features, losses = task.parts(video, case.input("labels"), training)
    task.eval()
    with torch.no_grad():
        classifier = student.encode_classes(names)
        evaluated = student.score(video, classifier).logits
    answers = {
        "out_train_logits": logits,
        "out_train_frame_features": features.frames,
        "out_train_text_features": features.text,
        "out_teacher_frame_features": features.teacher_frames,
        "out_teacher_text_features": features.teacher_text,
        "out_loss_ce": losses["video_cross_entropy"],
        "out_loss_distill_video": losses["video_distance"],
        "out_loss_distill_text": losses["text_distance"],
        "out_loss_total": losses["loss"],
        "out_eval_logits": evaluated,
        "out_eval_classifier": F.normalize(classifier, dim=-1),
    }
    wanted, ours = dict(case.wanted()), arrays(answers)
    for key, prompts in (("in_tokens_eval", student.prompts(names)), ("in_tokens_train", training)):
        # the case keeps ids modulo 2 ** 16, ids from 32768 on as negative numbers
        wanted[key] = case.arrays[key] % 2**16
        ours[key] = np.stack([tokenize(each, truncate=True).numpy() for each in prompts])
    return wanted, ours


VLM_KINDS: dict[str, Callable[[Case], Result]] = {"froster": froster, "xclip": xclip}
"""Kind to the function that runs it."""
