"""Table 3 on adl-mini: tokens, a language model, trainings, answers about held-out clips."""

from __future__ import annotations

from benchmarks.bench.adl import AdlMini, steps
from benchmarks.bench.cells import Result
from benchmarks.bench.commands import by_recipe
from benchmarks.bench.jobs import DEVICE, OUT, WORK, Job
from benchmarks.bench.recipes import Plain
from ski_data.config import to_plain

NAMED = "class named"
"""Share of answers that name the right class and no other."""
PARTS = {"unseen people": "test_seen", "unseen classes": "test_unseen"}
"""Clips that are asked about: seen classes by people who did not train, and unseen classes."""
COLUMNS = {
    f"{metric}, {part}": (metric, part)
    for part, metrics in {
        "unseen people": (NAMED, "BLEU-4", "ROUGE-L", "CIDEr-D"),
        "unseen classes": (NAMED,),
    }.items()
    for metric in metrics
}
"""What is measured of answers: metric and clips of each column."""
PAIRS = 2
"""Questions and answers of each clip that trains."""


def tokens(adl: AdlMini) -> Job:
    """Features and training pairs."""
    return adl.job(
        "tokens",
        (
            *(WORK, "lvlm-features", "--run", adl.run, "--out", f"{OUT}/tokens"),
            *("--window", str(adl.settings["lvlm"]["window"])),
        ),
        needs=(adl.vificlip, adl.skeleton_clip),
        bytes=adl.recipe.data.clips * 60_000,
    )


def language_model(adl: AdlMini) -> tuple[Plain, Job]:
    """What recipes say of it, and the job that must be done before.

    Raises:
        MissingFileError: the language model is not installed.
    """
    source = tokens(adl)
    if adl.settings["lvlm"]["base"] == "smollm2":
        from benchmarks.lvlm_smollm2.runs import base as smollm2

        return to_plain(smollm2()), source
    made = adl.job(
        "language model",
        (WORK, "lvlm-base", f"{OUT}/base", "--texts", f"{source.out}/tokens/pairs.jsonl"),
        needs=(source,),
    )
    return {"name": f"{made.out}/base"}, made


def results(adl: AdlMini, row: str, seeds: int) -> dict[str, tuple[Result, ...]]:
    """Results of a row by column, a result per seed.

    Raises:
        MissingFileError: the language model is not installed.
    """
    found: dict[str, tuple[Result, ...]] = dict.fromkeys(COLUMNS, ())
    for seed in range(min(seeds, adl.settings["lvlm"]["seeds"])):
        job = _answers(adl, row, seed)
        for column in COLUMNS:
            found[column] += (Result(job, f"{job.out}/metrics.json", "metrics", column),)
    return found


def _answers(adl: AdlMini, row: str, seed: int) -> Job:
    own, folder = adl.settings["lvlm"], f"{tokens(adl).out}/tokens"
    base, ready = language_model(adl)
    data = {"pairs": f"{folder}/pairs.jsonl", "video": f"{folder}/video"}
    modality = {"video": "absent", "zeros": "zeros"}.get(row, "features")
    if modality != "absent":
        data["skeleton"] = f"{folder}/{'hyperformer' if row == 'hyperformer' else 'skeleton'}"
    plain = {
        "base": base,
        "data": data,
        "prompts": {"system": "", "max_length": 160, "skeleton": modality},
        **own["train"],
        "seed": seed,
        "precision": "float32",
        "zero": "none",
    }
    train = by_recipe(
        adl.label(f"lvlm {row} seed {seed}"),
        ("ski-lvlm", "train"),
        plain,
        kind=adl.label("lvlm"),
        needs=(ready,),
        steps=steps(PAIRS * adl.seen_clips, own["train"]["batch_size"], own["train"]["epochs"]),
        size=30_000_000,
    )
    asked = () if own["questions"] is None else ("--questions", str(own["questions"]))
    return adl.job(
        f"lvlm {row} answers seed {seed}",
        (
            *(WORK, "lvlm-answers", "--run", adl.run, "--video", data["video"]),
            *("--model", f"{train.out}/run/model", "--out", OUT, "--device", DEVICE),
            *("--parts", ",".join(PARTS.values())),
            *asked,
        ),
        kind="lvlm answers",
        needs=(train,),
    )
