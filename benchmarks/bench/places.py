"""Data that a user gives: which folders, what must be in them, and what to say where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ski_data.classes import ClassSet, read_classes
from ski_data.config import read_yaml
from ski_data.errors import InputError, MissingFileError

ADL_MINI = "adl-mini"
NAMED = ("ntu60", "ntu120", "charades")
MANIFESTS = ("manifest.jsonl", "manifest.csv", "manifest.parquet")
NTU_FORM = "https://rose1.ntu.edu.sg/dataset/actionRecognition"
CHARADES_PAGE = "https://prior.allenai.org/projects/charades"
HOW = {
    "ntu60": f"ask for NTU RGB+D by the form at {NTU_FORM}, run `ski-data prepare ntu60 RAW "
    "FOLDER/skeletons`, list the videos in FOLDER/manifest.jsonl and give --data ntu60=FOLDER",
    "ntu120": f"ask for NTU RGB+D 120 by the form at {NTU_FORM}, run `ski-data prepare ntu120 RAW "
    "FOLDER/skeletons`, list the videos in FOLDER/manifest.jsonl and give --data ntu120=FOLDER",
    "charades": f"fetch the videos from {CHARADES_PAGE}, run `ski-data prepare-charades`, write "
    "FOLDER/manifest.csv and FOLDER/questions.json and give --data charades=FOLDER",
}
"""How to get a data set."""
PARTS = {
    "manifest": "manifest.jsonl, manifest.csv or manifest.parquet: a line per clip with video, "
    "skeleton and label",
    "skeletons": "skeletons: a store made by `ski-data prepare DATASET RAW FOLDER/skeletons`",
    "pairs": "pairs.jsonl: question-answer pairs made by `ski-lvlm curate-qa` and curate-convert",
    "questions": "questions.json: the judged questions with references (name, Q, A; for "
    "consistency Q1, Q2, A)",
    "captions": "captions.jsonl: lines {name, captions} of each clip by an image-text model, never "
    "from class names",
}
"""What may be in a folder, in words."""


@dataclass(frozen=True)
class Own:
    """Classes and people of a folder that is no published data set."""

    classes: ClassSet
    unseen: tuple[str, ...]
    train_subjects: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """A data set in a folder."""

    dataset: str
    """ntu60, ntu120, charades, or the folder's name."""
    folder: Path
    own: Own | None = None
    """Of folders that are no published data set."""

    @property
    def manifest(self) -> str:
        """Its list of clips."""
        found = [self.folder / name for name in MANIFESTS if (self.folder / name).is_file()]
        return str(found[0] if found else self.folder / MANIFESTS[0])

    @property
    def videos(self) -> str | None:
        """Its store of decoded videos, if there is one."""
        return str(self.folder / "videos") if (self.folder / "videos").is_dir() else None

    @property
    def skeletons(self) -> str:
        """Its skeleton store."""
        return str(self.folder / "skeletons")

    def path(self, part: str) -> Path:
        """Where a part must be."""
        names = {
            "manifest": Path(self.manifest).name,
            "skeletons": "skeletons",
            "pairs": "pairs.jsonl",
            "questions": "questions.json",
            "captions": "captions.jsonl",
        }
        return self.folder / names[part]

    def lacks(self, parts: Sequence[str]) -> tuple[str, ...]:
        """What of some parts is not there, and what it is."""
        return tuple(
            f"{self.path(part)} is not there; {self.dataset}'s folder needs {PARTS[part]}"
            for part in parts
            if not self.path(part).exists()
        )


@dataclass(frozen=True)
class Given:
    """All that a run may use."""

    adl_mini: bool = False
    places: tuple[Place, ...] = ()
    weights: Path | None = field(default=None)
    """Folder of weights that are not to be fetched."""

    def place(self, dataset: str) -> Place | None:
        """Where a data set is."""
        return next((place for place in self.places if place.dataset == dataset), None)

    def needed(self, dataset: str) -> Place:
        """Where a data set is that was looked for before.

        Raises:
            InputError: not given.
        """
        place = self.place(dataset)
        if place is None:
            raise InputError(f"{dataset}: not given")
        return place

    def weight_file(self, stem: str) -> Path | None:
        """A file of weights by its name without ending, if it is there."""
        if self.weights is None:
            return None
        found = sorted(path for path in self.weights.glob(f"{stem}.*") if path.is_file())
        return found[0].resolve() if found else None


def read_given(data: Sequence[str], weights: str | None) -> Given:
    """What ``--data`` and ``--weights_folder`` name.

    Args:
        data: ``adl-mini``, ``ntu60=FOLDER`` and the like, or folders of one's own.
        weights: folder of weights.

    Raises:
        InputError: a data set twice, or an own folder whose data.yaml cannot be used.
        MissingFileError: no such folder.
    """
    if weights is not None and not Path(weights).is_dir():
        raise MissingFileError(f"--weights_folder {weights}: no such folder")
    if not data:
        raise InputError(
            f"--data is missing: give {ADL_MINI}, {', '.join(f'{n}=FOLDER' for n in NAMED)}, or a "
            "folder of your own"
        )
    places: list[Place] = []
    for word in data:
        if word == ADL_MINI:
            continue
        name, equals, folder = word.partition("=")
        if equals and name not in NAMED:
            raise InputError(f"--data {word!r}: {name!r} is none of {', '.join(NAMED)}")
        path = Path(folder if equals else word).resolve()
        if not path.is_dir():
            raise MissingFileError(f"--data {word}: no such folder")
        place = Place(name, path) if equals else Place(path.name, path, read_own(path))
        if place.dataset in {other.dataset for other in places} | {ADL_MINI}:
            raise InputError(f"--data {word!r}: {place.dataset} is given already")
        places.append(place)
    folder_of_weights = None if weights is None else Path(weights).resolve()
    return Given(ADL_MINI in data, tuple(places), folder_of_weights)


def read_own(folder: Path) -> Own:
    """Classes of a folder of one's own, from its classes.csv and data.yaml.

    Raises:
        MissingFileError, InputError: no such files, unknown names, or fewer than two unseen ones.
    """
    settings = folder / "data.yaml"
    if not settings.is_file():
        raise MissingFileError(
            f"{folder}: no data.yaml in it; write `unseen: [names]` and `train_subjects: [numbers]`"
            ", beside classes.csv (id,name), a manifest and a store skeletons"
        )
    classes, plain = read_classes(folder / "classes.csv"), read_yaml(settings)
    known = {"unseen", "train_subjects"}
    if not isinstance(plain, dict) or set(plain) != known:
        raise InputError(f"{settings}: must say {' and '.join(sorted(known))}, and nothing else")
    unseen, people = plain["unseen"], plain["train_subjects"]
    odd = sorted(set(map(str, unseen)) - set(classes.names))
    if odd or len(unseen) < 2:
        raise InputError(f"{settings}: unseen must name two or more of classes.csv; not {odd}")
    if not people or not all(isinstance(number, int) for number in people):
        raise InputError(f"{settings}: train_subjects must list the people that train, as numbers")
    return Own(classes, tuple(map(str, unseen)), tuple(people))
