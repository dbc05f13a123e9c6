"""How the golden cases of the language model part are run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from golden_kinds import Answer, Case, Result


def st_pooling(case: Case) -> Result:
    """Spatio-temporal pooling of patch features, and which frames of a video are taken."""
    from ski_lvlm.pooling import frame_indices, spatio_temporal_pool

    wanted, ours = case.wanted(), {}
    for key in list(wanted):
        name = key.removeprefix("out_").rpartition("_")[0]
        # The published numpy and torch functions; two units of float16 are rounding.
        features = case.arrays[f"in_{name}"]
        pool = spatio_temporal_pool
        made = pool(features) if key.endswith("saved") else pool(torch.tensor(features)).numpy()
        ours[key] = _units(made, wanted[key])
        wanted[key] = np.zeros_like(ours[key])
    for row in case.plain["frame_indices"]:
        key = f"frame indices {row['frames_in_video']}"
        wanted[key] = np.array(row["indices"])
        ours[key] = np.array(frame_indices(row["frames_in_video"], row["frames_taken"]))
    return wanted, ours


def _units(ours: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where two float16 arrays differ by more than two units in the last place."""
    if ours.shape != wanted.shape or ours.dtype != wanted.dtype:
        return np.ones(1)
    far = np.abs(ours.astype(np.float64) - wanted) > 2 * np.spacing(np.abs(wanted))
    return far.astype(np.float64)


def lvlm_prompt(case: Case) -> Result:
    """Prompts, token ids and labels of training and inference, and one padded batch."""
    from transformers import PreTrainedTokenizerFast

    from ski_lvlm import prompts
    from ski_lvlm.tokens import TokenStyle

    plain = case.plain
    tokenizer = PreTrainedTokenizerFast.from_pretrained(case.stem.parent / plain["tokenizer"])
    first = prompts.add_modality_tokens(tokenizer)
    wanted: dict[str, Answer] = {"vocabulary": np.array(plain["vocabulary"])}
    ours: dict[str, Answer] = {"vocabulary": np.array(len(tokenizer))}
    encoded = {}

    def render(
        row: dict[str, Any], messages: list[prompts.Message], template: str
    ) -> prompts.Rendered:
        return prompts.render(
            messages,
            tokenizer,
            template=template,  # type: ignore[arg-type]
            video_tokens=row["video_tokens"],
            skeleton_tokens=row.get("pose_tokens", 0),
            style=TokenStyle(
                row["use_vid_start_end"], row.get("use_modality_string_prefix", False)
            ),
        )

    for row in plain["cases"]:
        said = [prompts.Message(turn["from"], turn["value"]) for turn in row["conversations"]]
        rendered = render(row, said, "vicuna_v1_1")
        made = prompts.encode(rendered, tokenizer, max_length=row["model_max_length"])
        encoded[row["name"]] = made
        labels = row["reference_labels"] if row["reference_mask_is_right"] else row["right_labels"]
        for key, right, found in (
            ("prompt", _codes(row["prompt"]), _codes(rendered.text)),
            ("ids", np.array(row["input_ids"]), np.array(made.ids)),
            ("labels", np.array(labels), np.array(made.labels)),
        ):
            wanted[f"{row['name']} {key}"], ours[f"{row['name']} {key}"] = right, found
    for row in plain["inference"]:
        asked = prompts.question_with_placeholders(row["question"], video=True, skeleton=False)
        rendered = render(row, [prompts.Message("human", asked)], row["template"])
        made = prompts.encode(rendered, tokenizer)
        wanted[f"{row['name']} prompt"] = _codes(row["prompt"])
        ours[f"{row['name']} prompt"] = _codes(rendered.text)
        wanted[f"{row['name']} ids"] = np.array(row["input_ids"])
        ours[f"{row['name']} ids"] = np.array(made.ids)
    batch = plain["batch"]
    rows = [encoded[name] for name in batch["cases"]]
    ids, labels, mask = prompts.collate(rows, tokenizer.pad_token_id)
    made = {"input_ids": ids, "labels": labels, "attention_mask": mask}
    for key, found in made.items():
        wanted[f"batch {key}"] = np.array(batch[key]).astype(np.int64)
        ours[f"batch {key}"] = found.numpy()
    assert first == plain["vocabulary"] - len(plain["added_tokens"])
    return wanted, ours


def _codes(text: str) -> np.ndarray:
    """A text as numbers, for the comparison of answers."""
    return np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64)


def lvlm_forward(case: Case) -> Result:
    """Splice, logits, loss, gradients and greedy decoding of a small LLaMA."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from ski_lvlm.convert import from_published_file
    from ski_lvlm.model import Batch, SkiLvlm, next_tokens
    from ski_lvlm.tokens import ADDED_TOKENS, BOUNDARY_TOKENS

    c = case.config
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    more = ("max_position_embeddings", "rms_norm_eps", "rope_theta")
    settings = {name: c[name] for name in sizes + more}
    base = LlamaForCausalLM(
        LlamaConfig(vocab_size=c["vocabulary"], tie_word_embeddings=False, **settings)
    )
    state = case.tensors()
    published = {k: state[k] for k in state if "mm_projector" in k or "embed_tokens" in k}
    base.load_state_dict({k: v for k, v in state.items() if "mm_projector" not in k})
    vocabulary = c["vocabulary"] - len(ADDED_TOKENS)
    projectors = from_published_file(published, str(case.stem), vocabulary=vocabulary)
    model = SkiLvlm(base, projectors, vocabulary)

    def batch_of(name: str) -> Batch:
        found = {
            kind: case.input(f"{name}_{kind}") if f"in_{name}_{kind}" in case.arrays else None
            for kind in ("attention_mask", "labels", "video", "pose")
        }
        ids = case.input(f"{name}_input_ids").long()
        mask, labels = found["attention_mask"], found["labels"]
        mask = torch.ones_like(ids) if mask is None else mask.long()
        labels = None if labels is None else labels.long()
        return Batch(ids, mask, labels, found["video"], found["pose"])

    wanted: dict[str, Answer] = case.wanted()
    ours: dict[str, Answer] = {}
    for run in c["runs"]:
        name, prefix = run["name"], f"out_{run['name']}"
        batch = batch_of(name)
        model.zero_grad()
        loss = model(batch).mean
        loss.backward()
        ours[f"{prefix}_loss"] = loss.detach().numpy()
        wanted.setdefault(f"{prefix}_loss", np.float32(run["loss"]))
        with torch.no_grad():
            ours[f"{prefix}_inputs_embeds"] = model.embed(batch).numpy()
            logits = base.get_output_embeddings()(model.hidden(batch))
            rows, columns = next_tokens(batch.labels)[0]
            ours[f"{prefix}_logit_positions"] = torch.stack([rows, columns], 1).numpy()
            ours[f"{prefix}_logits"] = logits[rows, columns].numpy()
            kept = batch.mask.bool()
            key = f"{prefix}_logsumexp"
            ours[key] = logits.logsumexp(-1)[kept].numpy()
            wanted[key] = wanted[key][kept.numpy()]
        for layer, theirs in (("video", "mm_projector"), ("skeleton", "mm_projector_forpose")):
            for leaf in ("weight", "bias"):
                grad = projectors.get_parameter(f"{layer}.{leaf}").grad
                if grad is not None:
                    ours[f"{prefix}_grad_{theirs}_{leaf}"] = grad.numpy().copy()
        used = [BOUNDARY_TOKENS.index(token) for token in run["embedding_row_tokens"]]
        ours[f"{prefix}_grad_embedding_rows"] = projectors.boundary.grad[used].numpy().copy()
    for run in c["generation"]:
        made = base.generate(
            inputs_embeds=model.embed(batch_of(run["name"])).detach(),
            attention_mask=batch_of(run["name"]).mask,
            max_new_tokens=run["new_tokens"],
            do_sample=False,
            eos_token_id=2,
            pad_token_id=0,
        )
        ours[f"out_{run['name']}_generated"] = made[0].numpy()
    return wanted, ours


LVLM_KINDS: dict[str, Callable[[Case], Result]] = {
    "lvlm_forward": lvlm_forward,
    "lvlm_prompt": lvlm_prompt,
    "st_pooling": st_pooling,
}
"""Kinds of this module, for the runner."""
