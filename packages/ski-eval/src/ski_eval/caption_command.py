"""Command ``ski-eval captions``: caption metrics as a table and as result cards."""

from __future__ import annotations

import json as json_format
from pathlib import Path

from ski_eval import files
from ski_eval.caption_java import meteor, spice
from ski_eval.captions import (
    CaptionScore,
    cider_d,
    mean_score,
    rouge_l,
    score_captions,
    tokenized_captions,
)
from ski_eval.provenance import environment
from ski_eval.results import ResultCard, write_card
from ski_eval.tables import format_interval
from ski_eval.terminal import (
    generator,
    headline,
    print_json,
    print_missing_intervals,
    print_table,
)
from ski_eval.text_files import file_hash, read_predictions, read_references

PROTOCOL = "captions against references"


def captions(
    predictions: Path,
    references: Path,
    meteor_jar: Path | None = None,
    spice_jar: Path | None = None,
    allow_empty: bool = False,
    scores: Path | None = None,
    cards: Path | None = None,
    method: str = "captions",
    dataset: str = "unnamed data",
    split: str = "as given",
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Print BLEU-1 to 4, ROUGE-L and CIDEr-D of captions with intervals over clips.

    Args:
        predictions: JSON of one text per clip ({clip: text}), or JSON or JSON lines of records
            with a name and a text (pred, caption).
        references: the same with one or more texts per clip; records may name their group.
        meteor_jar: meteor-1.5.jar; given, METEOR is added (needs Java 8 or later).
        spice_jar: spice-1.0.jar; given, SPICE is added (needs Java 8 to 14 and CoreNLP).
        allow_empty: count predictions without a word as wrong rather than refuse them.
        scores: JSON lines file to write each clip's scores to (all but BLEU), for compare.
        cards: folder to write a result card per metric into.
        method: name of the model on the cards.
        dataset: name of the data on the cards.
        split: name of the split on the cards.
        level: coverage of the intervals.
        samples: bootstrap resamples.
        seed: of the resampling.
        json: print JSON instead of a table.
    """
    rng = generator(seed)
    own, theirs = read_predictions(predictions), read_references(references)
    found = score_captions(
        own,
        theirs.texts,
        rng=rng,
        groups=theirs.groups,
        level=level,
        samples=samples,
        allow_empty=allow_empty,
    )
    names, mine, others = tokenized_captions(own, theirs.texts, allow_empty=allow_empty)
    groups = None if theirs.groups is None else [theirs.groups[name] for name in names]
    each: dict[str, list[float]] = {}
    for title, jar, run in (("METEOR", meteor_jar, meteor), ("SPICE", spice_jar, spice)):
        if jar is not None:
            values = run(mine, others, jar)
            each[title] = values.tolist()
            found.append(mean_score(title, values, groups, rng=rng, level=level, samples=samples))
    if scores is not None:
        each["ROUGE-L"] = [rouge_l(p, r) for p, r in zip(mine, others, strict=True)]
        each["CIDEr-D"] = cider_d(mine, others).tolist()
        lines = [
            json_format.dumps({"name": name, "metric": metric, "score": value}, ensure_ascii=False)
            for metric, values in each.items()
            for name, value in zip(names, values, strict=True)
        ]
        files.write_bytes(scores, "".join(f"{line}\n" for line in lines).encode("utf-8"))
    if cards is not None:
        made_with = environment(Path.cwd())
        for score in found:
            card = ResultCard(
                name=f"{method} {dataset} {split} {score.metric}",
                method=method,
                dataset=dataset,
                split=split,
                protocol=PROTOCOL,
                metric=score.metric,
                value=score.value,
                interval=score.interval,
                unit=unit_of(score),
                n=score.n,
                data_hash=file_hash(references),
                config={
                    "tokens": "PTB-like, lower case, no punctuation",
                    "predictions": file_hash(predictions),
                    "allow_empty": allow_empty,
                    "resamples": samples,
                    "resampling_seed": seed,
                },
                environment=made_with,
            )
            write_card(card, cards)
    if json:
        print_json(found)
        return
    rows = [
        (
            score.metric,
            format_interval(score.value, score.interval, unit_of(score)),
            score.n,
            score.interval.method if score.interval else "",
        )
        for score in found
    ]
    headers = ("metric", headline("value", level), "clips", "interval from")
    print_table(headers, rows)
    print_missing_intervals([(score.value, score.interval) for score in found])
    print("\nAll but CIDEr-D in percent; CIDEr-D from 0 to 10.")


def unit_of(score: CaptionScore) -> str:
    """Unit of a caption metric on cards: CIDEr-D exceeds 1, all others are fractions."""
    return "score" if score.metric == "CIDEr-D" else "fraction"
