from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from ski_lvlm.errors import ConfigError, PromptError
from ski_lvlm.generation import RunningBatch, Sampling, new_cache
from ski_lvlm.model import Batch, SkiLvlm
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_lvlm.tokens import added_token_ids

BASE = 40
SIZES = {
    "vocab_size": BASE,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.6,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
TOKEN = added_token_ids(BASE)


def build(kind):
    torch.manual_seed(1)
    made = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=7)),
    }[kind]()
    projectors = Projectors(ProjectorConfig(width=16, video_channels=6, skeleton_channels=None))
    return SkiLvlm(made.eval(), projectors, BASE)


MODELS = {kind: build(kind) for kind in ("llama", "mistral")}


def prompt(seed, words, patches=3):
    rng = torch.Generator().manual_seed(seed)
    said = torch.randint(3, BASE, (words,), generator=rng).tolist()
    span = [TOKEN["<vid_start>"], *[TOKEN["<vid_patch>"]] * patches, TOKEN["<vid_end>"]]
    ids = torch.tensor([[1, *span, *said]])
    video = torch.randn(patches, 6, generator=rng)
    return Batch(ids, torch.ones_like(ids), video=[video])


def answers(model, prompts, size, **sampling):
    running = RunningBatch(
        model, size=size, sampling=Sampling(**sampling), ends=frozenset({2, 7, 11})
    )
    return list(running.answers(iter(prompts)))


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    size=st.integers(1, 5),
    limit=st.integers(1, 24),
    kind=st.sampled_from(sorted(MODELS)),
)
@settings(max_examples=25, deadline=None)
def test_batched_answers_are_those_of_transformers_one_by_one(lengths, size, limit, kind):
    model = MODELS[kind]
    prompts = [prompt(n, length) for n, length in enumerate(lengths)]
    made = answers(model, prompts, size, max_new_tokens=limit)
    assert sorted(answer.number for answer in made) == list(range(len(prompts)))
    for answer in made:
        (alone,) = model.generate(
            prompts[answer.number], max_new_tokens=limit, eos_token_id=[2, 7, 11]
        )
        assert answer.ids == alone
        assert answer.finished == (len(alone) < limit)


def test_draws_do_not_depend_on_the_batch():
    prompts = [prompt(n, 4 + n % 3) for n in range(7)]
    many = {"max_new_tokens": 9, "temperature": 1.5, "top_p": 0.9}
    found = [sorted(answers(MODELS["llama"], prompts, size, **many)) for size in (1, 3, 7)]
    assert found[0] == found[1] == found[2]
    assert sorted(answers(MODELS["llama"], prompts, 3, **many, seed=1)) != found[0]
    greedy = sorted(answers(MODELS["llama"], prompts, 3, max_new_tokens=9))
    cold = {"max_new_tokens": 9, "temperature": 1.0, "top_p": 1e-9}
    assert sorted(answers(MODELS["llama"], prompts, 3, **cold)) == greedy


def test_own_settings_of_the_base_model_are_not_used():
    model = build("llama")
    before = model.generate(prompt(0, 5), max_new_tokens=20, eos_token_id=None)
    model.language_model.generation_config.repetition_penalty = 9.0
    assert model.generate(prompt(0, 5), max_new_tokens=20, eos_token_id=None) == before


def test_prompts_are_taken_when_there_is_room():
    taken = []

    def prompts():
        for n in range(6):
            taken.append(n)
            yield prompt(n, 3)

    running = RunningBatch(
        MODELS["llama"], size=2, sampling=Sampling(max_new_tokens=5), ends=frozenset()
    )
    found = running.answers(prompts())
    next(found)
    assert taken == [0, 1]


def test_the_context_limits_answers_and_refuses_prompts():
    (answer,) = answers(MODELS["llama"], [prompt(0, 120)], 2, max_new_tokens=50)
    assert len(answer.ids) + 120 + 6 <= 128
    with pytest.raises(PromptError, match="131 tokens and the language model a context of 128"):
        answers(MODELS["llama"], [prompt(0, 125)], 1)


def test_what_is_refused():
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(ConfigError, match="max_new_tokens from 1"):
            Sampling(**wrong)
    with pytest.raises(ConfigError, match="1 prompt or more"):
        answers(MODELS["llama"], [], 0)
    odd = build("llama").language_model
    odd.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ConfigError, match="linear_attention"):
        new_cache(odd)
