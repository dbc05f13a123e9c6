"""The rows on adl-mini: the main job's stages, its students, small runs of all other methods."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from apps.adl_mini.recipe import DEFAULT, AdlMiniRecipe
from benchmarks.adl_mini_vlm.rows import VIT
from benchmarks.bench.cells import Cell, Result
from benchmarks.bench.jobs import DEVICE, OUT, WORK, Job
from benchmarks.bench.paper import PaperTable, Row
from ski_data.config import from_plain, read_yaml, to_plain
from ski_data.errors import MissingFileError
from ski_data.synthetic.classes import ACTIONS, SEEN

NAME = "adl-mini"
Scale = Literal["full", "tiny"]
UNSEEN_COLUMN, PEOPLE_COLUMN = "unseen classes", "all classes, unseen people"
TEXT_COLUMNS = ("BLEU-4", "ROUGE-L", "CIDEr-D", "class named")
UNTRAINED = ("clip", "vificlip", f"{VIT}-clip")
"""Rows that need one seed only."""
Plain = dict[str, Any]


@dataclass(frozen=True)
class AdlMini:
    """adl-mini at one scale: settings of everything that runs on it."""

    scale: Scale

    @property
    def name(self) -> str:
        """Of the data, in tables."""
        return NAME if self.scale == "full" else f"{NAME}, {self.scale}"

    @functools.cached_property
    def settings(self) -> Plain:
        """The scale's file."""
        return read_yaml(Path(__file__).with_name(f"adl_mini_{self.scale}.yaml"))

    @functools.cached_property
    def recipe(self) -> AdlMiniRecipe:
        """Of the main job."""
        plain = self.settings["main"] if "main" in self.settings else read_yaml(DEFAULT)
        return from_plain(AdlMiniRecipe, plain, f"{NAME}, {self.scale}")

    @property
    def seeds(self) -> int:
        """How many a row has unless the user says."""
        return int(self.settings["seeds"])

    @property
    def train_subjects(self) -> list[int]:
        """People that train."""
        test = self.recipe.data.test_subjects
        return [number for number in range(1, self.recipe.data.subjects + 1) if number not in test]

    # the main job's stages

    @functools.cached_property
    def data(self) -> Job:
        """Clips, stores."""
        return self._stage("data", ())

    @property
    def run(self) -> str:
        """The main job's folder."""
        return f"{self.data.out}/run"

    @functools.cached_property
    def clip(self) -> Job:
        """Image-text pretraining."""
        return self._stage("clip", (self.data,))

    @functools.cached_property
    def vificlip(self) -> Job:
        """ViFi-CLIP on the seen classes."""
        return self._stage("vificlip", (self.clip,))

    @functools.cached_property
    def hyperformer(self) -> Job:
        """The skeleton encoder of action labels."""
        return self._stage("hyperformer", (self.data,))

    @functools.cached_property
    def skeleton_clip(self) -> Job:
        """The skeleton encoder aligned with text."""
        return self._stage("skeleton-clip", (self.clip, self.hyperformer))

    @functools.cached_property
    def ski_vificlip(self) -> Job:
        """The main job's own distillation, whose student is kept."""
        return self._stage("ski-vificlip", (self.vificlip, self.skeleton_clip))

    def _stage(self, name: str, needs: tuple[Job, ...]) -> Job:
        text = yaml.safe_dump(to_plain(self.recipe), sort_keys=False)
        own = name == "data"
        recipe = f"{OUT}/main.yaml" if own else f"{self.data.out}/main.yaml"
        run = f"{OUT}/run" if own else self.run
        return Job(
            name=f"{NAME} {self.scale} {name}",
            argv=(WORK, "stage", name, "--recipe", recipe, "--run", run),
            files={"main.yaml": text} if own else {},
            needs=needs,
            kind=f"{NAME} {self.scale} {name}",
            units=1,
            bytes=self._size(name),
        )

    def _size(self, name: str) -> int:
        clips = self.recipe.data.clips
        frames = self.recipe.stored_frames * self.recipe.short_side**2 * 3
        return clips * (frames + 40_000) if name == "data" else 8_000_000

    # rows of video students

    def _starts(self, *, transformer: bool) -> Job:
        what = "transformer starts" if transformer else "starts"
        settings = yaml.safe_dump(self.settings["students"])
        need = (self.clip, self.vificlip, self.skeleton_clip)
        extra = ("--transformer",) if transformer else ()
        own = OUT if not transformer else self.starts.out
        return Job(
            name=f"{NAME} {self.scale} {what}",
            argv=(
                *(WORK, "starts", "--run", self.run, "--out", f"{own}/students"),
                *("--settings", f"{own}/students.yaml", *extra),
            ),
            files={} if transformer else {"students.yaml": settings},
            needs=(self.starts,) if transformer else need,
            kind=f"{NAME} {self.scale} {what}",
            units=1,
        )

    @functools.cached_property
    def starts(self) -> Job:
        """Class list and CLIP under open_clip's names."""
        return self._starts(transformer=False)

    @functools.cached_property
    def transformer(self) -> Job:
        """The three students on the small transformer, before the rows."""
        return self._starts(transformer=True)

    def student_row(self, row: str, seed: int) -> Job:
        """One row of the benchmark of video students."""
        start = self.transformer if row.startswith(f"{VIT}-") else self.starts
        folder = self.starts.out
        return Job(
            name=f"{NAME} {self.scale} {row} seed {seed}",
            argv=(
                *(WORK, "row", row, "--seed", str(seed), "--run", self.run),
                *("--out", f"{folder}/students", "--settings", f"{folder}/students.yaml"),
            ),
            needs=(start,),
            kind=f"{NAME} {self.scale} row",
            units=0 if row in UNTRAINED else 1,
            bytes=200_000,
        )

    def student_results(self, row: Row, seeds: int) -> tuple[Result, ...]:
        """Answers of a row, a result per seed."""
        name = str(row.adl_mini)
        if name in UNTRAINED:
            seeds = 1
        answer = row.answer.replace(",", "").replace(" ", "-")
        place = f"{self.starts.out}/students/rows/{name}"
        return tuple(
            Result(self.student_row(name, seed), f"{place}/seed-{seed}/{answer}-unseen-classes.npz")
            for seed in range(seeds)
        )

    # skeleton methods

    @functools.cached_property
    def store(self) -> Job:
        """Skeletons with class names."""
        return Job(
            name=f"{NAME} {self.scale} store",
            argv=(WORK, "store", "--run", self.run, "--out", f"{OUT}/store"),
            needs=(self.data,),
            done=f"{OUT}/store/meta.json",
            bytes=self.recipe.data.clips * 12_000,
        )

    def encoder(self, kind: str) -> Job:
        """A classifier of the seen classes."""
        encoder = {"kind": kind, **self.settings["encoders"][kind]}
        split = {"train": {"subjects": self.train_subjects}, "unseen": self.unseen}
        plain = {
            "data": {"store": f"{self.store.out}/store", "split": split},
            "encoder": encoder,
            "feeder": self.settings["feeder"],
            "train": self.settings["classifier"],
        }
        return Job(
            name=f"{NAME} {self.scale} {kind}",
            argv=("ski-skeleton", "train-classifier", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
            files={"recipe.yaml": yaml.safe_dump(plain, sort_keys=False)},
            needs=(self.store,),
            done=f"{OUT}/run/model",
            kind=f"{NAME} {self.scale} classifier",
            units=1,
            bytes=4_000_000,
            distributed=True,
        )

    @property
    def unseen(self) -> list[str]:
        """Names of the unseen classes."""
        return [action.name for action in ACTIONS[len(SEEN) :]]

    def features(self, kind: str, *, maps: bool) -> Job:
        """Features of an encoder for every clip."""
        encoder = self.encoder(kind)
        extra = ("--extract.maps", "true") if maps else ()
        target = f"{OUT}/features.safetensors"
        return Job(
            name=f"{NAME} {self.scale} {kind} {'maps' if maps else 'features'}",
            argv=(
                *("ski-skeleton", "features", f"{encoder.out}/run/model"),
                *(f"{self.store.out}/store", target, "--device", DEVICE, *extra),
            ),
            needs=(encoder,),
            done=target,
            bytes=self.recipe.data.clips * (200_000 if maps else 400),
        )

    @property
    def _clip_plain(self) -> Plain:
        """The main job's CLIP, as recipes name it."""
        weights = f"{self.starts.out}/students/conv-clip.safetensors"
        sizes = to_plain(self.recipe.clip)
        return {"architecture": None, "pretrained": weights, "sizes": sizes}

    def zeroshot(self, method: str, seed: int) -> Job:
        """A skeleton-language method."""
        source = self.features("stgcn" if method == "smie" else "shift_gcn", maps=method == "star")
        plain = {
            "kind": method,
            "features": {"file": f"{source.out}/features.safetensors"},
            "text": {"clip": self._clip_plain},
            "unseen": self.unseen,
            "train": {"subjects": self.train_subjects},
            "seeds": [seed],
            method: self.settings["zeroshot"][method],
            "protocol": {"generalised": False, "unseen_clips": "all"},
        }
        return Job(
            name=f"{NAME} {self.scale} {method} seed {seed}",
            argv=("ski-skeleton", "zeroshot", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
            files={"recipe.yaml": yaml.safe_dump(plain, sort_keys=False)},
            needs=(source, self.starts),
            done=f"{OUT}/run/results",
            kind=f"{NAME} {self.scale} {method}",
            units=1,
            bytes=5_000_000,
        )

    # C2VL

    @functools.cached_property
    def concepts(self) -> Job:
        """Image vectors of all clips by the main job's CLIP, in the place of captions."""
        target = f"{OUT}/concepts.npz"
        clip = yaml.safe_dump(self._clip_plain, default_flow_style=True, width=10_000).strip()
        return Job(
            name=f"{NAME} {self.scale} concepts",
            argv=(
                *("ski-skeleton", "c2vl-concepts", "--out", target, "--frames", "4"),
                *("--videos", f"{self.run}/data/manifest.jsonl", "--clip", clip),
                *("--device", DEVICE),
            ),
            needs=(self.starts,),
            done=target,
            bytes=self.recipe.data.clips * 600,
        )

    def c2vl(self, seed: int) -> Job:
        """Label-free pretraining."""
        own = self.settings["c2vl"]
        width = self.recipe.clip.embed
        plain = {
            "data": {
                "store": f"{self.store.out}/store",
                "concepts": f"{self.concepts.out}/concepts.npz",
                "train": {"subjects": self.train_subjects},
            },
            "model": {**own["model"], "concepts": ["vision"], "concept_width": width},
            "feeder": own["feeder"],
            "train": own["train"],
        }
        return Job(
            name=f"{NAME} {self.scale} c2vl seed {seed}",
            argv=(
                *("ski-skeleton", "pretrain-c2vl", f"{OUT}/recipe.yaml"),
                *("--out", f"{OUT}/run", "--seed", str(seed)),
            ),
            files={"recipe.yaml": yaml.safe_dump(plain, sort_keys=False)},
            needs=(self.store, self.concepts),
            done=f"{OUT}/run/model",
            kind=f"{NAME} {self.scale} c2vl",
            units=1,
            bytes=4_000_000,
            distributed=True,
        )

    def probe(self, protocol: str, seed: int) -> Result:
        """A test of a C2VL encoder."""
        encoder = self.c2vl(seed)
        options: tuple[str, ...] = ("--protocol", protocol)
        if protocol == "knn":
            options += ("--k", "[1]")
        if protocol == "semi":
            options += ("--shares", "[0.1]")
        if protocol == "finetune":
            training = yaml.safe_dump(
                self.settings["c2vl"]["finetune"], default_flow_style=True, width=10_000
            )
            options += ("--training", training.strip())
        job = Job(
            name=f"{NAME} {self.scale} c2vl {protocol} seed {seed}",
            argv=(
                *("ski-skeleton", "probe", f"{encoder.out}/run/model", f"{self.store.out}/store"),
                *("--out", f"{OUT}/scores", "--subjects", str(self.train_subjects)),
                *("--seed", str(seed), "--device", DEVICE, *options),
            ),
            needs=(encoder,),
            kind=f"{NAME} {self.scale} probe",
            units=1,
        )
        return Result(job, f"{job.out}/scores/*.npz")

    # pictures and words

    def pictures(self, which: str) -> Result:
        """Relevance maps of one student."""
        job_of = {"vificlip": self.vificlip, "ski-vificlip": self.ski_vificlip}[which]
        folder = {"vificlip": "vificlip", "ski-vificlip": "ski-vificlip-seed0"}[which]
        labels = list(range(len(SEEN), len(ACTIONS)))
        job = Job(
            name=f"{NAME} {self.scale} pictures {which}",
            argv=(
                *(WORK, "pictures", f"{self.run}/data/manifest.jsonl"),
                *("--model", f"{self.run}/{folder}/model"),
                *("--classes", f"{self.run}/data/classes_unseen.csv"),
                *("--labels", str(labels), "--out", f"{OUT}/pictures", "--device", DEVICE),
            ),
            needs=(job_of,),
            bytes=2_000_000,
        )
        return Result(job, f"{job.out}/pictures/*/sheet.png", "pictures")

    @functools.cached_property
    def tokens(self) -> Job:
        """Features and training pairs of Table 3."""
        return Job(
            name=f"{NAME} {self.scale} tokens",
            argv=(
                *(WORK, "lvlm-features", "--run", self.run, "--out", f"{OUT}/tokens"),
                *("--window", str(self.settings["lvlm"]["window"])),
            ),
            needs=(self.vificlip, self.skeleton_clip),
            kind=f"{NAME} {self.scale} tokens",
            units=1,
            bytes=self.recipe.data.clips * 60_000,
        )

    @functools.cached_property
    def random_base(self) -> Job:
        """A language model that says nothing."""
        pairs = f"{self.tokens.out}/tokens/pairs.jsonl"
        return Job(
            name=f"{NAME} {self.scale} language model",
            argv=(WORK, "lvlm-base", f"{OUT}/base", "--texts", pairs),
            needs=(self.tokens,),
        )

    def lvlm_results(self, row: str, seeds: int) -> dict[str, tuple[Result, ...]]:
        """Results of a row of Table 3 by column, a result per seed.

        Raises:
            MissingFileError: the language model is not installed.
        """
        own = self.settings["lvlm"]
        base: Plain = {"name": f"{self.random_base.out}/base"}
        needs: tuple[Job, ...] = (self.random_base,)
        if own["base"] == "smollm2":
            from benchmarks.lvlm_smollm2.runs import base as smollm2

            base, needs = to_plain(smollm2()), (self.tokens,)
        data = {"pairs": f"{self.tokens.out}/tokens/pairs.jsonl"}
        data["video"] = f"{self.tokens.out}/tokens/video"
        modality = {"video": "absent", "zeros": "zeros"}.get(row, "features")
        if modality != "absent":
            store = "hyperformer" if row == "hyperformer" else "skeleton"
            data["skeleton"] = f"{self.tokens.out}/tokens/{store}"
        found: dict[str, tuple[Result, ...]] = dict.fromkeys(TEXT_COLUMNS, ())
        for seed in range(min(seeds, own["seeds"])):
            plain = {
                "base": base,
                "data": data,
                "prompts": {"system": "", "max_length": 160, "skeleton": modality},
                **own["train"],
                "seed": seed,
                "precision": "float32",
                "zero": "none",
            }
            train = Job(
                name=f"{NAME} {self.scale} lvlm {row} seed {seed}",
                argv=("ski-lvlm", "train", f"{OUT}/recipe.yaml", "--out", f"{OUT}/run"),
                files={"recipe.yaml": yaml.safe_dump(plain, sort_keys=False)},
                needs=needs,
                done=f"{OUT}/run/model",
                kind=f"{NAME} {self.scale} lvlm",
                units=1,
                bytes=30_000_000,
            )
            asked = () if own["questions"] is None else ("--questions", str(own["questions"]))
            answers = Job(
                name=f"{NAME} {self.scale} lvlm {row} answers seed {seed}",
                argv=(
                    *(WORK, "lvlm-answers", "--run", self.run, "--video", data["video"]),
                    *("--model", f"{train.out}/run/model", "--out", OUT, "--device", DEVICE),
                    *asked,
                ),
                needs=(train,),
                kind=f"{NAME} {self.scale} lvlm answers",
                units=1,
            )
            for metric in TEXT_COLUMNS:
                result = Result(answers, f"{answers.out}/metrics.json", "metrics", metric)
                found[metric] += (result,)
        return found

    # cells

    def cells(self, table: PaperTable, row: Row, seeds: int) -> list[Cell]:
        """The cells of a row; without results where the row has no counterpart here."""
        columns = self.columns(table)
        if row.adl_mini is None or row.method is None:
            return [Cell(table.id, row.id, column, self.name) for column in columns]
        if table.id == "figure5":
            seeds = 1
        try:
            results = self._results(row, columns[0], seeds)
        except MissingFileError as error:
            lacks = (str(error),)
            return [Cell(table.id, row.id, column, self.name, missing=lacks) for column in columns]
        return [Cell(table.id, row.id, column, self.name, results[column]) for column in columns]

    def columns(self, table: PaperTable) -> tuple[str, ...]:
        """What is measured on adl-mini in the place of the paper's columns."""
        kinds = {row.method for row in table.rows}
        if "lvlm" in kinds:
            return TEXT_COLUMNS
        return (PEOPLE_COLUMN,) if "c2vl" in kinds else (UNSEEN_COLUMN,)

    def _results(self, row: Row, column: str, seeds: int) -> Mapping[str, tuple[Result, ...]]:
        name = str(row.adl_mini)
        if row.method == "lvlm":
            return self.lvlm_results(name, seeds)
        if row.method == "attention":
            return {column: (self.pictures(name),)}
        if row.method == "c2vl":
            return {column: tuple(self.probe(name, seed) for seed in range(seeds))}
        if row.method == "zeroshot":
            jobs = [self.zeroshot(name, seed) for seed in range(seeds)]
            zero = "run/seed-{}/zero-shot.npz"
            return {
                column: tuple(
                    Result(job, f"{job.out}/{zero.format(seed)}") for seed, job in enumerate(jobs)
                )
            }
        return {column: self.student_results(row, seeds)}
