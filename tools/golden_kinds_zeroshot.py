"""How golden cases of the zero-shot baselines are run: SynSE, SMIE and STAR with their encoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from golden_kinds import Case, Result, arrays
from torch import Tensor

if TYPE_CHECKING:
    from ski_skeleton.encoder import MapEncoder
    from ski_skeleton.encoders import EncoderConfig


def synse(case: Case) -> Result:
    """Autoencoders, losses by schedule, classifier of words, zero-shot answers and the gate."""
    from ski_skeleton.convert.table import from_published
    from ski_skeleton.weights import load_strictly
    from ski_skeleton.zeroshot import synse as ours
    from ski_skeleton.zeroshot.checkpoints import synse_classifier_table, synse_table

    c = case.config
    config = ours.official_preset(ours.SynseConfig(latent=c["latent"]))
    model = ours.Synse(config, c["visual_size"], c["text_size"])
    head = ours.LatentClassifier(c["latent"], c["unseen"], relu=config.classifier_relu)
    state, theirs = case.tensors(), "classifier."
    own = {k: v for k, v in state.items() if not k.startswith(theirs)}
    rest = {k: v for k, v in state.items() if k.startswith(theirs)}
    load_strictly(model, from_published(synse_table(model), own, str(case.stem)), case.stem)
    load_strictly(head, from_published(synse_classifier_table(head), rest, "classifier"), case.stem)

    feature, labels = case.input("feature"), case.input("labels")
    nouns, verbs = (F.normalize(case.input(k), dim=-1) for k in ("nouns", "verbs"))
    noise = ours.Noise(*(case.input(f"eps_{k}") for k in ("skeleton", "noun", "verb")))
    found = model(feature, nouns[labels], verbs[labels], noise)
    answers: dict[str, Tensor] = {}
    for name in ("skeleton", "noun", "verb"):
        for kind, value in zip(("mu", "logvar", "z", "recon"), getattr(found, name), strict=True):
            answers[f"out_{name}_{kind}"] = value
    answers |= {
        "out_noun_from_skeleton": found.noun_from_skeleton,
        "out_verb_from_skeleton": found.verb_from_skeleton,
        "out_skeleton_from_text": found.skeleton_from_text,
    }
    terms = model.losses(feature, nouns[labels], verbs[labels], noise)
    for name, value in terms.items():
        negated = name.startswith("kl_")
        answers["out_loss_" + ("neg" * negated) + name] = -value if negated else value
    rows, totals = [], []
    for cycle, length, step in case.arrays["in_schedule"].tolist():
        rows.append(
            ours.factors(ours.SynseConfig(latent=c["latent"], cycle_steps=length), cycle, step)
        )
        totals.append(ours.total_loss(terms, rows[-1]))
    totals[-1].backward()
    answers["out_factors"] = torch.tensor(rows)
    answers["out_loss_total"] = torch.stack(totals)
    answers["out_grad_skeleton_mu_weight"] = model.skeleton.mu.weight.grad
    answers["out_grad_verb_decoder_bias"] = model.verb.decoder.bias.grad

    unseen = case.input("unseen").repeat(c["repeats"])
    words = ours.Noise(noise[0], case.input("eps_cls_noun"), case.input("eps_cls_verb"))
    latents = model.text_latents(nouns[unseen], verbs[unseen], words)
    logits = head(latents)
    target = torch.arange(c["unseen"]).repeat(c["repeats"])
    probability = ours.class_probabilities(model, head, feature)
    answers |= {
        "out_cls_train_logits": logits,
        "out_cls_train_loss": F.cross_entropy(logits, target),
        "out_zsl_logits": head(model.skeleton.encode(feature)[0]),
        "out_zsl_prob": probability,
        "out_zsl_pred": case.input("unseen")[probability.argmax(1)],
    }
    return case.wanted(), arrays(answers) | _synse_gate(case)


def _synse_gate(case: Case) -> dict[str, np.ndarray]:
    from ski_eval import harmonic_mean
    from ski_skeleton.zeroshot import gate as ours

    c, a = case.config, case.arrays
    unseen = list(c["gate_unseen"])
    seen = [k for k in range(c["gate_classes"]) if k not in unseen]
    temperature = c["gate_temperature"]
    gate = ours.Gate(
        a["in_gate_weight"],
        float(a["in_gate_bias"]),
        temperature,
        c["gate_threshold"],
        rule="official",
    )
    prob, logits, labels = a["in_gate_unseen_prob"], a["in_gate_seen_logits"], a["in_gate_labels"]
    p_seen = gate.seen_probability(prob, logits)
    is_seen = gate.is_seen(prob, logits)
    whole = ours.softmax(logits / temperature)
    best = np.where(
        is_seen, np.array(seen)[whole[:, seen].argmax(1)], np.array(unseen)[prob.argmax(1)]
    )
    rows = np.isin(labels, unseen)
    accuracy = [float((best == labels)[which].mean()) for which in (~rows, rows)]
    soft_seen = (whole + (1 - p_seen)[:, None] / whole.shape[1]) * p_seen[:, None]
    soft_unseen = (prob + p_seen[:, None] / len(unseen)) * (1 - p_seen)[:, None]
    return {
        "out_gate_features": ours.gate_features(prob, logits, temperature, len(unseen)),
        "out_gate_prob": np.stack([1 - p_seen, p_seen], 1),
        "out_gate_is_seen": is_seen,
        "out_gate_pred": best,
        "out_gate_seen_acc": np.asarray(accuracy[0]),
        "out_gate_unseen_acc": np.asarray(accuracy[1]),
        "out_gate_harmonic": np.asarray(harmonic_mean(*accuracy)),
        "out_gate_soft_seen": soft_seen,
        "out_gate_soft_unseen": soft_unseen,
    }


def smie(case: Case) -> Result:
    """The ST-GCN, motion masking, the critic's losses and gradients, unseen scores."""
    from ski_skeleton.convert.table import from_published
    from ski_skeleton.weights import load_strictly
    from ski_skeleton.zeroshot import smie as ours
    from ski_skeleton.zeroshot.checkpoints import SMIE_CRITIC, smie_table

    c, state = case.config, case.tensors()
    clips = case.arrays["in_skeleton"]
    attention = np.stack([ours.motion_attention(clip) for clip in clips])
    kept = np.stack([ours.still_frames(row, c["mask_frames"]) for row in attention])
    masked = np.stack(
        [
            clip[:, frames[case.arrays["in_random_frames"]]]
            for clip, frames in zip(clips, kept, strict=True)
        ]
    )
    config = ours.official_preset(ours.SmieConfig(temporal=True, margin=c["margin"]))
    critic = ours.Smie(config, c["visual_size"], c["language_size"])
    own = {k: v for k, v in state.items() if k.startswith(SMIE_CRITIC)}
    load_strictly(critic, from_published(smie_table(critic), own, str(case.stem)), case.stem)

    language, labels = case.input("language"), case.input("labels")
    task = ours.SmieTask(critic, language)
    batch = {
        "feature": case.input("feature"),
        "masked": case.input("masked_feature"),
        "label": labels,
    }
    losses = task.losses(batch)
    losses["loss"].backward()
    x = ours.normalise(batch["feature"])
    text = task.text[labels]
    unseen = case.input("unseen")
    scores = critic.scores(batch["feature"], language[unseen])
    prediction = unseen[scores.argmax(1)]
    answers = {
        "out_layernorm_feature": x,
        "out_critic_joint": critic(x, text),
        "out_critic_marginal": critic(x.roll(-1, 0), text),
        "out_mi_global": losses["information"],
        "out_mi_temporal": losses["masked_information"],
        "out_loss_mi": -losses["information"],
        "out_loss_temporal": losses["temporal"],
        "out_loss_total": losses["loss"],
        "out_grad_l2_weight": critic.l2.weight.grad,
        "out_grad_l0_bias": critic.l0.bias.grad,
        "out_unseen_scores": scores,
        "out_unseen_pred": prediction,
        "out_unseen_acc": (prediction == case.input("true_unseen")).float().mean(),
    }
    found = {
        "out_motion_attention": attention,
        "out_kept_frames": kept,
        "out_masked_skeleton": masked,
    }
    return case.wanted(), arrays(answers | _stgcn(case, masked)) | found


def _stgcn(case: Case, masked: np.ndarray) -> dict[str, Tensor]:
    """Features of the clips and of the masked ones."""
    from ski_skeleton.stgcn import StgcnConfig
    from ski_skeleton.zeroshot.checkpoints import SMIE_ENCODER

    h, width = case.config["hidden_channels"], case.config["visual_size"]
    channels = (h, h, h, h, 2 * h, 2 * h, 2 * h, 4 * h, 4 * h, width)
    encoder = _encoder(case, SMIE_ENCODER, StgcnConfig(channels=channels))
    with torch.no_grad():
        return {
            "out_encoder_feature": encoder.encode(case.input("skeleton")).features,
            "out_encoder_masked_feature": encoder.encode(torch.from_numpy(masked)).features,
        }


def _encoder(case: Case, prefix: str, config: EncoderConfig) -> MapEncoder:
    """The case's encoder, from its entries under ``prefix``."""
    from ski_skeleton.convert.published import PUBLISHED, encoder_from_published, entries_under
    from ski_skeleton.encoders import build_encoder
    from ski_skeleton.weights import load_strictly

    own = entries_under(prefix, case.tensors(), str(case.stem))
    built, state = encoder_from_published(PUBLISHED[config.kind], config, own, str(case.stem))
    encoder = build_encoder(built)
    load_strictly(encoder, state, case.stem)
    return encoder.eval()


def star_head(case: Case) -> Result:
    """The Shift-GCN; the head's outputs, losses, gradients and answers, on a given encoder map."""
    from ski_skeleton.convert.table import from_published
    from ski_skeleton.weights import load_strictly
    from ski_skeleton.zeroshot import star as ours
    from ski_skeleton.zeroshot.checkpoints import star_head_state, star_table

    c = case.config
    config = ours.official_preset(
        ours.StarConfig(
            part_names=tuple(c["parts"]),
            part_joints=tuple(map(tuple, c["part_joints"])),
            attributes=c["attributes"],
            heads=c["attention_heads"],
        )
    )
    model = ours.Star(config, c["encoder_channels"], c["text_size"], c["classes"])
    own = star_head_state(case.tensors())
    load_strictly(model, from_published(star_table(model), own, str(case.stem)), case.stem)
    labels, unseen = case.input("labels"), case.input("unseen")
    part_text, name_text = case.input("part_text"), case.input("name_text")
    seen = [k for k in range(c["classes"]) if k not in unseen.tolist()]
    task = ours.StarTask(model, part_text, name_text, seen)
    batch = {"map": case.input("features"), "label": labels}
    losses = task.losses(batch)
    losses["loss"].backward()
    found = model(batch["map"])
    scores = model.scores(batch["map"], name_text)
    mapped, names = model.map_parts(part_text), model.name_map(name_text)
    own_parts = mapped[:, labels].transpose(0, 1)
    state = case.tensors()
    pooled = batch["map"].mean((2, 3))
    classes = F.linear(
        pooled, state["gcn_flobal_classifier.weight"], state["gcn_flobal_classifier.bias"]
    )
    answers = {
        "out_part_attention": found.evidence,
        "out_part_semantic": found.parts,
        "out_global_semantic": found.whole,
        "out_part_text_mapped": own_parts,
        "out_name_text_mapped": names[labels],
        "out_loss_global_ce": losses["global_ce"],
        "out_loss_part_ce": losses["part_ce"],
        "out_loss_pd_label": losses["pd_label"],
        # computed by the release, never trained on
        "out_loss_mse_align": F.mse_loss(
            F.normalize(found.parts, dim=-1), F.normalize(own_parts, dim=-1)
        ),
        "out_loss_mse_lb_pd": F.mse_loss(
            F.normalize(mapped, dim=-1), F.normalize(names, dim=-1).expand_as(mapped)
        ),
        "out_loss_gcn_cls": F.cross_entropy(classes, labels),
        "out_loss_total": losses["loss"],
        "out_grad_crossmodal_align2_bias": model.name_map.second.bias.grad,
        "out_gzsl_cosine": scores,
        "out_gzsl_pred": scores.argmax(1),
        "out_zsl_pred": unseen[scores[:, unseen].argmax(1)],
    }
    for i, name in enumerate(c["parts"]):
        answers[f"out_grad_prompt_{name}"] = model.parts[i].prompt.grad
        answers[f"out_grad_pd_prompt_{name}"] = model.parts[i].text_prompt.grad
    return case.wanted(), arrays(answers | _shift_gcn(case))


def _shift_gcn(case: Case) -> dict[str, Tensor]:
    """The pooled feature, and the map with bodies merged as the release does."""
    from ski_skeleton.shift_gcn import ShiftGcnConfig
    from ski_skeleton.zeroshot.checkpoints import STAR_ENCODER
    from ski_skeleton.zeroshot.extract import merge_bodies

    encoder = _encoder(case, STAR_ENCODER, ShiftGcnConfig())
    clips = case.input("skeleton")
    with torch.no_grad():
        return {
            "out_encoder_pooled": encoder.encode(clips).features,
            "out_encoder_map": merge_bodies(encoder.activations(clips), "reference"),
        }


ZEROSHOT_KINDS: dict[str, Callable[[Case], Result]] = {
    "smie": smie,
    "star_head": star_head,
    "synse": synse,
}
"""Kind to the function that runs it."""
