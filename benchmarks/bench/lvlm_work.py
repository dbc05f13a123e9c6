"""Jobs of Table 3: a stand-in language model, features, answers, and their scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench.adl_words import COLUMNS, NAMED, PARTS
from benchmarks.bench.jobs import write_text
from benchmarks.lvlm_smollm2 import runs as smollm2
from benchmarks.lvlm_smollm2.pairs import named, phrase
from ski_data.manifest import Record
from ski_data.progress import Progress
from ski_data.store import SkeletonStore
from ski_eval import bootstrap_interval, score_captions
from ski_eval.text_files import NAMES, read_records
from ski_lvlm.caption import load_captioner
from ski_lvlm.feature_store import FeatureStore, finish
from ski_lvlm.features import SkeletonTokens, skeleton_features

VOCABULARY = 400
_QUESTIONS = (("Q", "q", "question"), ("Q1", "cons_Q1"), ("Q2", "cons_Q2"))


def random_base(out: str, *, texts: str) -> None:
    """A small LLaMA of random weights with a tokenizer of its own: a stand-in that says nothing.

    Args:
        out: folder to write, as of a hub.
        texts: JSON lines of training pairs, whose words the tokenizer learns.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(Path(texts).read_text(encoding="utf-8").splitlines(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(out)
    fast.save_pretrained(out)


def features(*, run: str, out: str, window: int = 32) -> None:
    """Video tokens, skeleton tokens of both encoders, and training pairs of adl-mini.

    Args:
        run: the main job's folder.
        out: folder of the feature stores (video, skeleton, hyperformer) and pairs.jsonl.
        window: frames that Hyperformer sees; SkeletonCLIP sees those of its benchmark.
    """
    smollm2.prepare(smollm2.Bench(Path(run), Path(out)))
    target = Path(out) / "hyperformer"
    if not (target / "meta.json").exists():
        store = SkeletonStore(Path(run) / "skeletons")
        settings = SkeletonTokens(smollm2.SKELETON_TOKENS, window)
        with Progress("skeleton tokens", 1) as progress:
            encoder = Path(run) / "hyperformer" / "model"
            skeleton_features(store, target, encoder, settings, report=progress.report)
        finish(target, store.names)


def answers(
    *,
    run: str,
    video: str,
    model: str,
    out: str,
    parts: str,
    questions: int | None = None,
    device: str = "cpu",
) -> None:
    """Answers about adl-mini's held-out clips, from video alone, and their scores.

    Args:
        run: the main job's folder.
        video: feature store of video tokens.
        model: model folder of a training.
        out: folder that gets answers.jsonl and metrics.json.
        parts: lists of clips to ask about, commas between them.
        questions: clips of each part to ask about; all by default.
        device: where the model runs.
    """
    bench = smollm2.Bench(Path(run), Path(out))
    names_of = {part: name for name, part in PARTS.items()}
    asked = {names_of[part]: bench.records(part)[:questions] for part in parts.split(",")}
    captioner = load_captioner(model, precision="float32", device=device)
    names = [clip.name for clips in asked.values() for clip in clips]
    said = list(smollm2.answers(captioner, FeatureStore(video), names, names))
    write_text(Path(out) / "answers.jsonl", _lines(said))
    texts = {line["clip"]: line["answer"] for line in said}
    write_text(Path(out) / "metrics.json", json.dumps(scores(asked, texts), indent=1) + "\n")


def scores(
    parts: Mapping[str, Sequence[Record]], texts: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Value, interval and number of clips of each column, from answers by clip.

    Views of one performance are not independent: intervals draw whole performances.
    """
    of_part = {part: _part_scores(clips, texts) for part, clips in parts.items()}
    return {column: of_part[part][metric] for column, (metric, part) in COLUMNS.items()}


def _part_scores(clips: Sequence[Record], texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    names = [clip.name for clip in clips]
    groups = [smollm2.performance(name) for name in names]
    references = {clip.name: [f"The person is {phrase(str(clip.caption))}."] for clip in clips}
    found = score_captions(
        {name: texts[name] for name in names},
        references,
        rng=np.random.default_rng(0),
        groups=dict(zip(names, groups, strict=True)),
        allow_empty=True,
    )
    told = {one.metric: (one.value, one.interval) for one in found}
    right = np.array([named(texts[clip.name]) == clip.caption for clip in clips])
    interval = bootstrap_interval(right, groups, rng=np.random.default_rng(0))
    told[NAMED] = (float(right.mean()), interval)
    return {
        metric: {
            "value": value,
            "interval": None if interval is None else [interval.low, interval.high],
            "method": None if interval is None else interval.method,
            "n": len(clips),
        }
        for metric, (value, interval) in told.items()
    }


def judge_input(
    questions: str,
    *,
    video: str,
    model: str,
    out: str,
    base: str | None = None,
    device: str = "cpu",
) -> None:
    """Answers to the questions of a judged set, from video alone; goes on after a kill.

    Args:
        questions: JSON or JSON lines of records with a video's name, Q, and Q1 and Q2.
        video: feature store of video tokens.
        model: model folder of a training.
        out: JSON lines file to write, as ``ski-eval judge`` reads it.
        base: where the base model is, if not where it was in training.
        device: where the model runs.
    """
    asked: dict[str, list[str]] = {}
    for record in read_records(questions):
        name = next(str(record[key]) for key in NAMES if key in record)
        for keys in _QUESTIONS:
            for key in keys:
                if key in record and name not in asked.setdefault(str(record[key]), []):
                    asked[str(record[key])].append(name)
    path = Path(out)
    done = set()
    if path.exists():
        kept = path.read_text(encoding="utf-8").rpartition("\n")[0]
        write_text(path, f"{kept}\n" if kept else "")  # a line that was cut off by a kill goes
        done = {(line["video_name"], line["Q"]) for line in map(json.loads, kept.splitlines())}
    captioner = load_captioner(model, base=base, precision="bfloat16", device=device)
    store, total = FeatureStore(video), sum(map(len, asked.values()))
    with Progress("answers", total) as progress, path.open("a", encoding="utf-8") as file:
        for question, names in asked.items():
            left = [name for name in names if (name, question) not in done]
            for begin in range(0, len(left), smollm2.AT_ONCE):
                part = left[begin : begin + smollm2.AT_ONCE]
                said = captioner.answer([store[n] for n in part], question, max_new_tokens=1024)
                lines = [
                    {"video_name": name, "Q": question, "pred": text}
                    for name, (text, _) in zip(part, said, strict=True)
                ]
                file.write(_lines(lines))
                file.flush()
                done |= {(name, question) for name in part}
                progress.report(len(done), total, "")


def _lines(records: Iterable[dict[str, object]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
