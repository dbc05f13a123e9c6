"""How each kind of golden case is run: one function per kind, from a case to our answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Answer = Any


class Case(NamedTuple):
    """A case as read from its files."""

    stem: Path
    plain: dict[str, Any]
    arrays: dict[str, np.ndarray]
    state: dict[str, np.ndarray]

    @property
    def config(self) -> dict[str, Any]:
        """The reference's settings."""
        return self.plain["config"]

    def input(self, name: str) -> Tensor:
        """Input ``in_NAME`` as a tensor."""
        return torch.tensor(self.arrays["in_" + name])

    def tensors(self) -> dict[str, Tensor]:
        """The reference's state dict."""
        return {k: torch.tensor(v) for k, v in self.state.items()}

    def wanted(self) -> dict[str, Answer]:
        """Every ``out_*`` array."""
        return {k: v for k, v in self.arrays.items() if k.startswith("out_")}


Result = tuple[Mapping[str, Answer], Mapping[str, Answer]]
"""Wanted answers and ours, by name."""


def arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors as numpy arrays."""
    return {k: v.detach().numpy() for k, v in tensors.items()}


def hyperformer(case: Case) -> Result:
    """Official class (head ``fc``) or SKI's copy (``fc2``), told by the state's names."""
    from ski_skeleton.convert.hyperformer import OFFICIAL_HEAD, SKI_HEAD, hyperformer_table
    from ski_skeleton.convert.table import from_published
    from ski_skeleton.hyperformer import Hyperformer
    from ski_skeleton.weights import load_strictly

    c = case.config
    head = SKI_HEAD if f"{SKI_HEAD}.weight" in case.state else OFFICIAL_HEAD
    weight = case.state.get(f"{head}.weight")
    config = _hyperformer_config(
        heads=c["heads"],
        strides=c["strides"],
        persons=c["persons"],
        joints=c["joints"],
        groups=c["joint_label"],
        output=None if weight is None else int(weight.shape[0]),
        kernel=c.get("tcn_kernel", 5),
        dilations=c.get("tcn_dilations", (1, 2)),
    )
    model = Hyperformer(config).eval()
    state = from_published(hyperformer_table(config, head), case.tensors(), str(case.stem))
    load_strictly(model, state, case.stem)
    clips = case.input("skeleton")
    model.train("train" in str(c.get("mode", "eval")))
    with torch.no_grad():
        x = model.embed(clips)
        layers: list[Tensor] = []
        for block in model.blocks:
            x = block(x)
            layers.append(x.permute(0, 3, 1, 2))
        encoded = model.encode(clips)
        answers = {"out_features": encoded.features, "out_tokens": encoded.tokens}
        if model.head is not None:
            answers["out_embedding"] = answers["out_logits"] = model.head(encoded.features)
    for name, value in case.wanted().items():
        found = re.fullmatch(r"out_l(\d+)(_mean)?", name)
        if found:  # (N*M, W, T, V), or means over joints, or over joints and time
            layer = layers[int(found[1]) - 1]
            answers[name] = {4: layer, 3: layer.mean(-1), 2: layer.mean((2, 3))}[value.ndim]
    return case.wanted(), arrays(answers)


def _hyperformer_config(
    *,
    heads: int,
    strides: Any,
    persons: int,
    joints: int,
    groups: Any,
    output: int | None,
    kernel: int = 5,
    dilations: Any = (1, 2),
) -> Any:
    from ski_skeleton.errors import ConfigError
    from ski_skeleton.hyperformer import HyperformerConfig

    if joints != 25:
        raise ConfigError(f"golden Hyperformers use the 25 NTU joints, this one has {joints}")
    return HyperformerConfig(
        heads=heads,
        strides=tuple(strides),
        persons=persons,
        layout="kinect25",
        groups=tuple(groups),
        output=output,
        kernel=kernel,
        dilations=tuple(dilations),
    )


def _clip_sizes(c: Mapping[str, Any], vision_heads: int | None, text_heads: int | None) -> Any:
    from ski_skeleton.text import ClipSizes

    return ClipSizes(
        embed=c["emb"],
        image=c["res"],
        patch=c["patch"],
        vision_width=c["vw"],
        vision_layers=c["vl"],
        vision_head=c["vw"] // vision_heads if vision_heads else 64,
        text_width=c["tw"],
        text_layers=c["tl"],
        text_heads=text_heads or c["tw"] // 64,
    )


def clip_vit(case: Case) -> Result:
    """OpenAI's dual encoder, through the image and text halves that the students use."""
    from ski_skeleton.text import ClipConfig, build_clip, tokenize
    from ski_skeleton.weights import load_strictly
    from ski_vlm.students import ViFiClip, ViFiClipConfig

    c = case.config
    sizes = _clip_sizes(c, c.get("vision_heads"), c.get("text_heads"))
    clip = build_clip(ClipConfig(architecture=None, sizes=sizes))
    load_strictly(clip, case.tensors(), case.stem)
    student = ViFiClip(ViFiClipConfig(), clip).eval()
    with torch.no_grad():
        image = student.frame_features(case.input("images")[:, None])[:, 0]
        text = student.text.encode_tokens(case.input("tokens"))
        cosine = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        logits = student.logit_scale.exp() * cosine
    answers = {
        "out_image_features": image,
        "out_text_features": text,
        "out_logits_per_image": logits,
        "out_logits_per_text": logits.T,
    }
    wanted = dict(case.wanted())
    ours = arrays(answers)
    if "texts" in c:
        wanted["in_tokens"] = case.arrays["in_tokens"]
        ours["in_tokens"] = tokenize(c["texts"], truncate=True).numpy()
    return wanted, ours


def tokenizer(case: Case) -> Result:
    """CLIP's byte-pair ids, one answer per text."""
    from ski_skeleton.text import tokenize

    wanted, ours = {}, {}
    for number, entry in enumerate(case.plain["cases"]):
        ids = tokenize(
            [entry["text"]],
            context=case.plain.get("context_length", 77),
            truncate=bool(entry.get("truncate", True)),
        )[0].tolist()
        while ids and ids[-1] == case.plain.get("pad_id", 0):
            ids.pop()
        name = f"{number:03d} {entry['text'][:40]!r}"
        wanted[name], ours[name] = np.asarray(entry["ids"]), np.asarray(ids)
    return wanted, ours


def vificlip_scd(case: Case) -> Result:
    """SKI's phase 2: both logits, losses for every alpha, evaluation and training mode."""
    from ski_skeleton.hyperformer import HEAD_WIDTH
    from ski_skeleton.skeleton_clip import (
        SkeletonClip,
        SkeletonClipConfig,
        official_preset,
    )
    from ski_skeleton.text import ClipConfig, tokenize
    from ski_skeleton.weights import load_strictly
    from ski_vlm.convert.vificlip import from_ski_phase2, ski_phase2_table
    from ski_vlm.distill import ScdConfig, SkeletonDistillation
    from ski_vlm.students import ViFiClip, ViFiClipConfig

    c = case.config
    clip = ClipConfig(architecture=None, sizes=_clip_sizes(c["clip"], None, None))
    prefix = "hyperformer_model."
    blocks = sum(bool(re.fullmatch(prefix + r"l\d+\.vit1\.attn\.alpha", k)) for k in case.state)
    skeleton = case.input("skeleton")
    heads = case.state[f"{prefix}l1.vit1.attn.w1"].shape[0]
    strided = [
        i > 1 and f"{prefix}l{i}.residual.conv.weight" in case.state for i in range(1, blocks + 1)
    ]
    label = re.search(r"partition labels (\[[\d, ]+\])", c.get("skeleton", ""))
    encoder = _hyperformer_config(
        heads=heads,
        strides=[2 if s else 1 for s in strided],
        persons=skeleton.shape[-1],
        joints=skeleton.shape[3],
        groups=[int(x) for x in re.findall(r"\d+", label[1])] if label else _kinect_groups(),
        output=case.state[f"{prefix}fc2.weight"].shape[0],
    )
    assert case.state[f"{prefix}l1.vit1.attn.w1"].shape[1] == HEAD_WIDTH
    template, names = c["prompt"], c["class_names"]
    student = ViFiClip(ViFiClipConfig(clip=clip, frames=c["frames"], template=template))
    teacher = SkeletonClip(official_preset(SkeletonClipConfig(encoder, clip, template=template)))
    task = SkeletonDistillation(student, teacher, names, ScdConfig(logits="released"))
    load_strictly(
        task, from_ski_phase2(student, teacher, case.tensors(), str(case.stem)), case.stem
    )
    video = case.input("video").requires_grad_()
    skeleton.requires_grad_()
    soft = case.input("soft_labels")
    hard = F.one_hot(case.input("labels"), len(names)).float()

    answers: dict[str, Tensor] = {}
    for mode, suffix in (("eval", ""), ("train", "_train")):
        task.train(mode == "train")
        output = student(video, names)
        embedding = teacher.embed(skeleton)
        pose = embedding @ teacher.text.unit_text([template.replace("{name}", n) for n in names]).T
        parts = {}
        for alpha in c["alphas"]:
            task.config = ScdConfig(alpha=alpha, logits="released")
            task.eval() if mode == "eval" else task.train()
            parts[alpha] = task.scd(video, skeleton, soft)
        some = next(iter(parts.values()))
        answers |= {
            f"out_image_text_logits{suffix}": output.cosines,
            f"out_text_pose_logits{suffix}": pose,
            f"out_pose_embedding{suffix}": embedding,
            f"out_image_text_loss{suffix}": some.video,
            f"out_pose_text_loss{suffix}": some.skeleton,
            f"out_dist_loss{suffix}": some.distance,
            f"out_total_loss{suffix}": torch.stack([p.total for p in parts.values()]),
        }
        if mode == "eval":
            task.config = ScdConfig(alpha=1.0, logits="released")
            hard_parts = task.scd(video, skeleton, hard)
            answers["out_hard_image_text_loss"] = hard_parts.video
            answers["out_hard_pose_text_loss"] = hard_parts.skeleton
            gradients = [k for k in case.wanted() if "grad" in k]
            if gradients:
                total = parts[10.0 if 10.0 in parts else max(parts)].total
                table = ski_phase2_table(student, teacher)
                published = _published_gradients(task, total, table)
                published |= {"video": video.grad, "skeleton": skeleton.grad}
                answers |= {k: _named_gradient(published, k) for k in gradients}
    wanted, ours = dict(case.wanted()), arrays(answers)
    wanted["in_tokens"] = case.arrays["in_tokens"]
    ours["in_tokens"] = tokenize([template.replace("{name}", n) for n in names]).numpy()
    return wanted, ours


def _kinect_groups() -> tuple[int, ...]:
    from ski_data.layouts import get_layout

    return get_layout("kinect25").groups


def _published_gradients(task: torch.nn.Module, loss: Tensor, table: Any) -> dict[str, Tensor]:
    """Gradients of ``loss`` under the reference's names; fused entries are split as weights are."""
    task.zero_grad()
    loss.backward()
    ours = {k: p.grad for k, p in task.named_parameters() if p.grad is not None}
    published: dict[str, Tensor] = {}
    for entry in table:
        if entry.name not in ours:
            continue
        rows = [part.shape[0] if part.shape else 1 for part in entry.parts]
        pieces = [ours[entry.name]] if len(entry.parts) == 1 else ours[entry.name].split(rows)
        for part, piece in zip(entry.parts, pieces, strict=True):
            published[part.name] = piece.reshape(part.shape)
    return published


def _named_gradient(gradients: Mapping[str, Tensor], wanted: str) -> Tensor:
    """The gradient that an answer's name means: a state name with underscores, or its ending."""
    name = re.sub(r"^out_(.*_)?grad_", "", wanted)
    flat = {re.sub(r"\W", "_", k): v for k, v in gradients.items()}
    if name in flat:
        return flat[name]
    name = re.sub(r"\W", "_", name)
    found = [v for k, v in flat.items() if k == name or k.endswith("_" + name)]
    if len(found) != 1:
        raise KeyError(f"{wanted}: {len(found)} parameters end so")
    return found[0]


def feeder(case: Case) -> Result:
    """The skeleton feeder: crops with given draws, resize, rotation, streams."""
    from ski_data import skeleton

    c = case.config
    clips = {
        k.removeprefix("in_rows_"): skeleton.row_to_clip(v)
        for k, v in case.arrays.items()
        if k.startswith("in_rows_")
    }
    angles = case.arrays["in_angles"]
    ours: dict[str, np.ndarray] = {}

    def centre_crop(name: str, window: str | None, p: str | None) -> np.ndarray:
        clip = clips[name]
        share = float(p) if p else c["p_test"][0]
        begin, end = skeleton.test_crop(skeleton.valid_frames(clip), share)
        return skeleton.resize_time(clip[:, begin:end], int(window or c["windows"][0]))

    def drawn_crop(name: str, draw: str, window: str | None) -> np.ndarray:
        clip, crop = clips[name], c["crops"][f"{name}_{draw}"]
        begin, end = skeleton.train_crop_at(
            skeleton.valid_frames(clip), crop["p"], crop["begin"], c["min_crop"]
        )
        resized = skeleton.resize_time(clip[:, begin:end], int(window or c["windows"][0]))
        return skeleton.rotate(resized, skeleton.rotation_matrix(angles[int(draw)]))

    known = "|".join(map(re.escape, sorted(clips, key=len, reverse=True)))
    size = r"(?:_w(\d+))?(?:_p([\d.]+))?"
    streams = "|".join(sorted(skeleton.STREAMS, key=len, reverse=True))
    for key in case.wanted():
        if key == "out_rotation_matrices":
            ours[key] = np.stack([skeleton.rotation_matrix(a) for a in angles])
        elif found := re.fullmatch(rf"out_resized_({known}){size}", key):
            ours[key] = centre_crop(*found.groups())
        elif found := re.fullmatch(rf"out_test_({known}){size}_({streams})", key):
            ours[key] = skeleton.STREAMS[found[4]](centre_crop(*found.groups()[:3]))
        elif found := re.fullmatch(rf"out_train(\d+)_({known})(?:_w(\d+))?_({streams})", key):
            ours[key] = skeleton.STREAMS[found[4]](drawn_crop(found[2], found[1], found[3]))
        elif found := re.fullmatch(rf"out_ctrgcn_bone_({known}){size}", key):
            ours[key] = skeleton.ctrgcn_bone(centre_crop(*found.groups()))
    return case.wanted(), ours


def ntu_preprocess(case: Case) -> Result:
    """Raw NTU text files through reading, denoising, alignment and every official protocol."""
    from ski_data.ntu.align import align
    from ski_data.ntu.archive import PROTOCOLS, build_archive
    from ski_data.ntu.denoise import DenoiseConfig, denoise
    from ski_data.ntu.skeleton_file import read_skeleton

    c = case.config
    folder = case.stem.parent / c["raw_folder"]
    denoised = {
        name: denoise(read_skeleton(folder / f"{name}.skeleton"), DenoiseConfig(**c["thresholds"]))
        for name in c["files"]
    }
    ours: dict[str, np.ndarray] = {f"out_denoised_{k}": v for k, v in denoised.items()}
    sets = {"ntu60": sorted(c["ntu60_files"]), "ntu120": sorted(c["files"])}
    for name, files in sets.items():
        ours[f"out_{name}_frames"] = np.array([len(denoised[f]) for f in files])
        aligned = {f: align(denoised[f], f) for f in files}
        longest = max(len(rows) for rows in aligned.values())
        for protocol in PROTOCOLS.values():
            if protocol.name.startswith(f"{name}/"):
                short = protocol.archive.split("_")[1]
                for key, value in build_archive(aligned, protocol, longest).items():
                    ours[f"out_{name}_{short}_{key}"] = value
    wanted = dict(case.wanted())
    for key, value in case.wanted().items():
        if "_x_" in key and key in ours and ours[key].shape == value.shape:
            wanted[f"{key} zeros"], ours[f"{key} zeros"] = value == 0, ours[key] == 0
    return wanted, ours


KINDS: dict[str, Callable[[Case], Result]] = {
    "clip_vit": clip_vit,
    "feeder": feeder,
    "hyperformer": hyperformer,
    "ntu_preprocess": ntu_preprocess,
    "tokenizer": tokenizer,
    "vificlip_scd": vificlip_scd,
}
"""Kind (the stem up to the first hyphen) to the function that runs it."""
