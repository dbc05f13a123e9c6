"""Projectors and splice under a language model, against the published implementation."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ski_lvlm.convert import from_published_file
from ski_lvlm.tokens import ADDED_TOKENS, BOUNDARY_TOKENS, splice, with_boundary_rows

pytestmark = pytest.mark.golden
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def weights(case):
    """The reference's weights, which follow from names and shapes."""
    state = {}
    for entry in case["state"]:
        shape = entry["shape"]
        rng = np.random.default_rng(zlib.crc32((case["salt"] + entry["name"]).encode()))
        draw = rng.standard_normal(tuple(shape))
        draw = {
            "fan_in": draw / np.sqrt(np.prod(shape[1:])),
            "near_one": 1 + 0.1 * draw,
            "small": 0.05 * draw,
        }[entry["kind"]]
        state[entry["name"]] = torch.from_numpy(draw.astype(np.float32))
    return state


@pytest.fixture
def reference(golden):
    case, arrays = golden("lvlm_forward")
    sizes = case["config"]
    state = weights(case)
    theirs = {k: state.pop(k) for k in list(state) if "mm_projector" in k}
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        "rope_theta",
    )
    config = LlamaConfig(
        vocab_size=sizes["vocabulary"],
        tie_word_embeddings=False,
        attn_implementation="eager",
        **{name: sizes[name] for name in names},
    )
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict(state)
    model.requires_grad_(False)
    return case, arrays, model, from_published_file(theirs, "case")


def inputs(arrays, name, model, projectors, rows, base):
    """Embeddings that enter the language model for one run of the case."""
    video, skeleton = (
        torch.from_numpy(arrays[key]) if (key := f"in_{name}_{kind}") in arrays else None
        for kind in ("video", "pose")
    )
    ids = torch.from_numpy(arrays[f"in_{name}_input_ids"]).long()
    embeddings = with_boundary_rows(model.model.embed_tokens(ids), ids, rows, base)
    return splice(embeddings, ids, projectors(video, skeleton), base)


def test_loss_logits_and_gradients(reference):
    case, arrays, model, projectors = reference
    base = case["config"]["vocabulary"] - len(ADDED_TOKENS)
    for run in case["config"]["runs"]:
        name = run["name"]
        projectors.zero_grad()
        rows = model.model.embed_tokens.weight[base + 3 :].clone().requires_grad_()
        embeddings = inputs(arrays, name, model, projectors, rows, base)
        wanted = torch.from_numpy(arrays[f"out_{name}_inputs_embeds"])
        torch.testing.assert_close(embeddings, wanted, **CLOSE)

        mask = torch.from_numpy(arrays[f"in_{name}_attention_mask"]).long()
        labels = torch.from_numpy(arrays[f"in_{name}_labels"]).long()
        out = model(inputs_embeds=embeddings, attention_mask=mask, labels=labels)
        assert out.loss.item() == pytest.approx(run["loss"], rel=1e-4)
        at = torch.from_numpy(arrays[f"out_{name}_logit_positions"]).long()
        logits = torch.from_numpy(arrays[f"out_{name}_logits"])
        torch.testing.assert_close(out.logits[at[:, 0], at[:, 1]], logits, **CLOSE)

        out.loss.backward()
        for layer, theirs in (("video", "mm_projector"), ("skeleton", "mm_projector_forpose")):
            for leaf in ("weight", "bias"):
                key = f"out_{name}_grad_{theirs}_{leaf}"
                grad = projectors.get_parameter(f"{layer}.{leaf}").grad
                if key in arrays:
                    torch.testing.assert_close(grad, torch.from_numpy(arrays[key]), **CLOSE)
                else:
                    assert grad is None
        used = [BOUNDARY_TOKENS.index(token) for token in run["embedding_row_tokens"]]
        wanted = torch.zeros_like(rows)
        wanted[used] = torch.from_numpy(arrays[f"out_{name}_grad_embedding_rows"])
        torch.testing.assert_close(rows.grad, wanted, **CLOSE)


@torch.no_grad()
def test_greedy_decoding(reference):
    case, arrays, model, projectors = reference
    base = case["config"]["vocabulary"] - len(ADDED_TOKENS)
    rows = model.model.embed_tokens.weight[base + 3 :]
    for run in case["config"]["generation"]:
        embeddings = inputs(arrays, run["name"], model, projectors, rows, base)
        ids = model.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
            max_new_tokens=run["new_tokens"],
            do_sample=False,
            eos_token_id=2,
            pad_token_id=0,
        )
        assert ids[0].tolist() == arrays[f"out_{run['name']}_generated"].tolist()
