"""Rows of Table 3: features, trainings, answers on Charades, and what a judge says of them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import recipes
from benchmarks.bench.cells import AVERAGE, METRICS, Result
from benchmarks.bench.commands import by_recipe
from benchmarks.bench.jobs import DEVICE, OUT, WORK, Job
from benchmarks.bench.places import Given, Place
from benchmarks.bench.recipes import Plain, Split, recipe, weights, with_clip
from benchmarks.bench.skeleton_rows import skeleton_clip

SKELETON_FEATURES = {
    "sk-vcgpt_ntu120_paper": "hyperformer",
    "ski-lvlm_ntu120_paper": "skeletonclip",
    "ski-lvlm_ntu120_zero-skeleton": "skeletonclip",
}
"""Which encoder's tokens a recipe of Table 3 trains with."""
TOKENS = 256


def lvlm_results(row: str, given: Given, judge: str | None) -> list[Result]:
    """A model of Table 3, its answers on Charades, and the judge's scores, the mean last."""
    charades = given.needed("charades")
    vision: list[Job] = []
    tower = with_clip(recipes.CLIP_L, given, vision)
    plain = recipe("ski_lvlm", row)
    base = plain["base"]["name"]
    needs = [weights("llm", base)]
    if row == "vcgpt_activitynet":
        file = given.weight_file("video_chatgpt-7B")
        train = Job(
            name="video-chatgpt, public projector",
            argv=(
                *("ski-lvlm", "convert", str(file), f"{OUT}/run"),
                *("--to", "model", "--base", base),
            ),
            needs=tuple(needs),
            done=f"{OUT}/run",
        )
        folder = f"{train.out}/run"
    else:
        ntu = given.needed("ntu120")
        video = video_tokens(ntu, tower, vision)
        data = {"pairs": str(ntu.path("pairs")), "video": f"{video.out}/tokens"}
        needs.append(video)
        if row in SKELETON_FEATURES:
            skeletons = skeleton_tokens(Split("ntu120/110-10", ntu, given), SKELETON_FEATURES[row])
            data["skeleton"] = f"{skeletons.out}/tokens"
            needs.append(skeletons)
        plain |= {"data": data, "start": str(given.weight_file("mm_projector"))}
        train = by_recipe(
            f"lvlm {row}",
            ("ski-lvlm", "train"),
            plain,
            kind="lvlm",
            needs=needs,
            size=60_000_000,
            distributed=True,
        )
        folder = f"{train.out}/run/model"
    seen = video_tokens(charades, tower, vision)
    questions = str(charades.path("questions"))
    answers = Job(
        name=f"answers of {train.name}",
        argv=(
            *(WORK, "judge-input", questions, "--video", f"{seen.out}/tokens"),
            *("--model", folder, "--out", f"{OUT}/answers.jsonl", "--device", DEVICE),
        ),
        needs=(train, seen),
        kind="lvlm answers",
        units=1,
    )
    asked = () if judge is None else judge_options(judge)
    scores = Job(
        name=f"judge of {train.name}",
        argv=(
            *("ski-eval", "judge", f"{answers.out}/answers.jsonl", questions, *asked),
            *("--cards", f"{OUT}/cards", "--device", DEVICE),
        ),
        needs=(answers,),
        kind="judge",
        units=1,
    )
    place = f"{scores.out}/cards"
    return [Result(scores, place, "cards", metric) for metric in (*METRICS, AVERAGE)]


def judge_options(judge: str) -> tuple[str, ...]:
    """``MODEL`` of transformers, or ``URL=MODEL`` of a server."""
    url, equals, model = judge.rpartition("=")
    return ("--url", url, "--model", model) if equals else ("--model", judge)


def video_tokens(place: Place, tower: Plain, needs: Sequence[Job]) -> Job:
    """Video tokens of all clips of a data set."""
    return Job(
        name=f"video tokens {place.dataset}",
        argv=(
            *("ski-lvlm", "features", "video", place.manifest, f"{OUT}/tokens"),
            *("--architecture", tower["architecture"], "--pretrained", tower["pretrained"]),
        ),
        needs=tuple(needs),
        done=f"{OUT}/tokens/meta.json",
        kind="video tokens",
        units=1,
        bytes=83_000_000_000 if place.dataset == "ntu120" else 7_000_000_000,
        distributed=True,
    )


def skeleton_tokens(split: Split, encoder: str) -> Job:
    """Skeleton tokens by SkeletonCLIP of the split, or by a Hyperformer of action labels alone."""
    if encoder == "skeletonclip":
        train = skeleton_clip(split)
    else:
        plain = recipe("ski_skeleton", "hyperformer_ntu120_xsub")
        plain["data"]["store"] = split.place.skeletons
        train = by_recipe(
            "hyperformer ntu120",
            ("ski-skeleton", "train-classifier"),
            plain,
            kind="hyperformer",
            size=20_000_000,
            distributed=True,
        )
    return Job(
        name=f"skeleton tokens {encoder}",
        argv=(
            *("ski-lvlm", "features", "skeleton", split.place.skeletons, f"{OUT}/tokens"),
            *("--model", f"{train.out}/run/model", "--tokens", str(TOKENS)),
        ),
        needs=(train,),
        done=f"{OUT}/tokens/meta.json",
        kind="skeleton tokens",
        units=1,
        bytes=13_000_000_000,
        distributed=True,
    )
