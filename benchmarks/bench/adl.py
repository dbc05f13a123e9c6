"""adl-mini at one scale: settings, the main job's stages, and what all rows begin with."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from apps.adl_mini.recipe import DEFAULT, AdlMiniRecipe
from benchmarks.bench.jobs import OUT, WORK, Job
from benchmarks.bench.recipes import Plain
from ski_data.config import from_plain, read_yaml, to_plain
from ski_data.synthetic.classes import ACTIONS, SEEN

NAME = "adl-mini"
Scale = Literal["full", "tiny"]
UNSEEN = [action.name for action in ACTIONS[len(SEEN) :]]
"""Names of the unseen classes."""


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

    @property
    def all_clips(self) -> int:
        """Clips of people that train."""
        data = self.recipe.data
        return len(ACTIONS) * len(self.train_subjects) * data.repetitions * data.cameras

    @property
    def seen_clips(self) -> int:
        """Of these, the clips of seen classes."""
        return self.all_clips * len(SEEN) // len(ACTIONS)

    def label(self, what: str) -> str:
        """A job's name or kind, which no other scale has."""
        return f"{NAME} {self.scale} {what}"

    def job(
        self,
        what: str,
        argv: tuple[str, ...],
        *,
        kind: str | None = None,
        units: int | None = 1,
        **more: Any,
    ) -> Job:
        """A job of this scale.

        Args:
            what: it does, in words.
            argv: program and arguments.
            kind: which rate its time is estimated by; ``what`` by default.
            units: amount of work.
            **more: of :class:`Job`.
        """
        label, of_kind = self.label(what), self.label(kind or what)
        return Job(name=label, argv=argv, kind=of_kind, units=units, **more)

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
        return self.job(
            name,
            (WORK, "stage", name, "--recipe", recipe, "--run", run),
            files={"main.yaml": text} if own else {},
            needs=needs,
            steps=self._steps(name),
            bytes=self._size(name),
        )

    def _steps(self, name: str) -> int | None:
        """Of stages that train on clips; how many captions pretraining takes, the data say."""
        trains = {
            "vificlip": self.recipe.finetune,
            "hyperformer": self.recipe.classify,
            "skeleton-clip": self.recipe.align,
            "ski-vificlip": self.recipe.distil,
        }
        if name not in trains:
            return None
        return steps(self.seen_clips, trains[name].batch_size, trains[name].epochs)

    def _size(self, name: str) -> int:
        clips = self.recipe.data.clips
        frames = self.recipe.stored_frames * self.recipe.short_side**2 * 3
        return clips * (frames + 40_000) if name == "data" else 8_000_000

    # what rows begin with

    @functools.cached_property
    def starts(self) -> Job:
        """Class list and CLIP under open_clip's names."""
        return self.job(
            "starts",
            (
                *(WORK, "starts", "--run", self.run, "--out", f"{OUT}/students"),
                *("--settings", f"{OUT}/students.yaml"),
            ),
            files={"students.yaml": yaml.safe_dump(self.settings["students"])},
            needs=(self.clip, self.vificlip, self.skeleton_clip),
        )

    @functools.cached_property
    def students(self) -> tuple[str, ...]:
        """Options of commands that work on the rows of video students."""
        folder = f"{self.starts.out}/students"
        return ("--run", self.run, "--out", folder, "--settings", f"{folder}.yaml")

    @functools.cached_property
    def transformer(self) -> Job:
        """The three students on the small transformer, before the rows."""
        return self.job(
            "transformer starts",
            (WORK, "starts", *self.students, "--transformer"),
            needs=(self.starts,),
        )

    @functools.cached_property
    def store(self) -> Job:
        """Skeletons with class names."""
        return self.job(
            "store",
            (WORK, "store", "--run", self.run, "--out", f"{OUT}/store"),
            needs=(self.data,),
            done=f"{OUT}/store/meta.json",
            bytes=self.recipe.data.clips * 12_000,
        )

    @property
    def clip_plain(self) -> Plain:
        """The main job's CLIP, as recipes name it."""
        weights = f"{self.starts.out}/students/conv-clip.safetensors"
        sizes = to_plain(self.recipe.clip)
        return {"architecture": None, "pretrained": weights, "sizes": sizes}


def steps(clips: int, batch: int, epochs: int) -> int:
    """Optimiser steps of a training; what does not fill a batch waits for the next epoch."""
    return max(1, clips // batch) * epochs
