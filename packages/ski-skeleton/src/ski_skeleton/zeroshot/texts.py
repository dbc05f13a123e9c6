"""Class texts: names, verbs and nouns, and descriptions of body parts, as vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ski_data.errors import InputError, MissingFileError
from ski_data.folders import usual_permissions
from ski_data.text import read_text
from ski_skeleton.errors import ConfigError
from ski_skeleton.text.clip import ClipConfig, ClipTextTower, build_clip
from ski_skeleton.text.prompts import NAME_TEMPLATE, class_prompts
from ski_skeleton.text.sentence import SentenceConfig, SentenceTextTower
from ski_skeleton.zeroshot.neighbours import NeighbourConfig, mixing_matrix

DESCRIPTIONS_EXAMPLE = "one sentence about the action"
PHRASES_EXAMPLE = {"verb": "drink", "noun": "water"}
_AXES = {"name": 2, "noun": 2, "verb": 2, "parts": 3, "tokens": 3, "lengths": 1}
"""Arrays of a file of vectors, in the order of :class:`ClassTexts`."""


@dataclass(frozen=True)
class TextConfig:
    """Where the vectors of the classes come from: a file, a CLIP, or a sentence encoder."""

    file: str | None = None
    """A .safetensors of vectors, see :func:`read_vectors`."""
    clip: ClipConfig | None = None
    sentence: SentenceConfig | None = None
    template: str = NAME_TEMPLATE
    """Prompt of a class name."""
    descriptions: str | None = None
    """JSON, class name to a sentence that stands in for the prompt."""
    phrases: str | None = None
    """JSON, class name to {"verb": ..., "noun": ...}. None: the first word of a name is its verb,
    the others its noun; a single word stands for both."""
    parts: str | None = None
    """JSON, class name to a description per part. None: the part's name alone."""
    neighbours: NeighbourConfig | None = None
    """Let every text lean towards its nearest among the classes that are known; None: off."""

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.file, self.clip, self.sentence)) != 1:
            raise ConfigError("text: give one of file, clip and sentence")
        if "{name}" not in self.template:
            raise ConfigError(f"text: the template {self.template!r} has no {{name}} in it")
        if self.file is not None and (self.descriptions or self.phrases or self.parts):
            raise ConfigError("text: a file holds vectors already; texts need clip or sentence")


class ClassTexts(NamedTuple):
    """Vectors of K classes; those that a method does not need may be None."""

    names: Tensor
    """``(K, E)``."""
    nouns: Tensor | None = None
    verbs: Tensor | None = None
    parts: Tensor | None = None
    """``(K, P, E)``."""
    tokens: Tensor | None = None
    """``(K, L, E)``, zeros behind the end of a text."""
    lengths: Tensor | None = None
    """``(K,)``, how many tokens are real."""

    def subset(self, rows: Sequence[int]) -> ClassTexts:
        """The texts of some classes, in this order."""
        index = torch.as_tensor(list(rows))
        return ClassTexts(*(None if value is None else value[index] for value in self))

    def to(self, device: torch.device | str) -> ClassTexts:
        """The texts on a device."""
        return ClassTexts(*(None if value is None else value.to(device) for value in self))

    def attuned(self, config: NeighbourConfig | None) -> ClassTexts:
        """Every vector with a share of its class's neighbours, which the names' vectors tell.

        Tokens lean position by position, as released. None: the texts as they are.

        Raises:
            InputError: fewer classes than neighbours.
        """
        if config is None:
            return self
        matrix = mixing_matrix(self.names, config)
        mixed = [
            None if value is None else torch.einsum("kj,j...->k...", matrix, value)
            for value in self[:-1]
        ]
        lengths = None if self.lengths is None else ((matrix != 0) * self.lengths).amax(-1)
        return ClassTexts(*mixed, lengths)


def class_texts(
    config: TextConfig,
    names: Sequence[str],
    *,
    words: bool,
    part_names: Sequence[str] = (),
    tokens: bool = False,
) -> ClassTexts:
    """Vectors of the classes by name; neighbours, if any, are looked for among these classes.

    Args:
        config: where they come from.
        names: the classes.
        words: verbs and nouns too, for SynSE.
        part_names: parts to describe, for STAR.
        tokens: tokens too, for TDSM; a file may lack them.

    Raises:
        InputError, MissingFileError, ConfigError: a file that lacks a class, or a tower that
            cannot be built.
    """
    if config.file is not None:
        count = len(part_names)
        found = read_vectors(config.file, names, words=words, parts=count, tokens=tokens)
        return found.attuned(config.neighbours)
    prompts = class_prompts(names, config.template)
    if config.descriptions is not None:
        table = _read_table(config.descriptions, names, DESCRIPTIONS_EXAMPLE)
        prompts = [table[name] for name in names]
    phrases: dict[str, list[str]] = {}
    if words:
        table = None
        if config.phrases is not None:
            table = _read_table(config.phrases, names, PHRASES_EXAMPLE)
        pairs = [
            verb_and_noun(name)
            if table is None
            else _entries(config.phrases, name, table[name], ("verb", "noun"))
            for name in names
        ]
        phrases = {"verb": [verb for verb, _ in pairs], "noun": [noun for _, noun in pairs]}
    described: list[str] = []
    if part_names:
        example = {part: f"what the {part} does" for part in part_names}
        table = None if config.parts is None else _read_table(config.parts, names, example)
        for name in names:
            told = (
                list(part_names)
                if table is None
                else _entries(config.parts, name, table[name], part_names)
            )
            described += [f"{name}, {text}" for text in told]
    tower = _tower(config)
    with torch.no_grad():

        def encode(texts: list[str]) -> Tensor:
            pieces = [tower.encode_text(texts[i : i + 64]) for i in range(0, len(texts), 64)]
            return torch.cat(pieces).float().cpu().clone()

        nouns = encode(phrases["noun"]) if words else None
        verbs = encode(phrases["verb"]) if words else None
        parts = encode(described).reshape(len(names), len(part_names), -1) if described else None
        local = _token_vectors(tower, prompts) if tokens else (None, None)
        found = ClassTexts(encode(prompts), nouns, verbs, parts, *local)
    return found.attuned(config.neighbours)


def _token_vectors(
    tower: ClipTextTower | SentenceTextTower, prompts: list[str]
) -> tuple[Tensor, Tensor]:
    """Tokens ``(K, L, E)`` of prompts, zeros behind the end, and how many are real ``(K,)``."""
    vectors, lengths = tower.token_text(prompts)
    real = torch.arange(vectors.shape[1], device=vectors.device) < lengths[:, None]
    return (vectors * real[..., None]).float().cpu(), lengths.cpu()


def _tower(config: TextConfig) -> ClipTextTower | SentenceTextTower:
    if config.sentence is not None:
        return SentenceTextTower(config.sentence)
    assert config.clip is not None
    return ClipTextTower(build_clip(config.clip)).freeze()


def verb_and_noun(name: str) -> tuple[str, str]:
    """The first word of a class name and the others; a single word stands for both."""
    verb, _, noun = name.strip().partition(" ")
    return verb, noun.strip() or verb


def read_vectors(
    path: str | Path,
    names: Sequence[str],
    *,
    words: bool,
    parts: int = 0,
    tokens: bool = False,
) -> ClassTexts:
    """Vectors from a .safetensors file.

    The file holds ``name`` ``(K, E)`` and, as needed, ``noun``, ``verb`` ``(K, E)``, ``parts``
    ``(K, P, E)``, ``tokens`` ``(K, L, E)`` and whole ``lengths`` ``(K,)`` in 1..L; the header's
    entry ``names`` is the JSON list of the K class names. A file without tokens gives none.

    Raises:
        MissingFileError: no such file.
        InputError: damaged, or without what is needed.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of text vectors")
    try:
        with safetensors.safe_open(path, "pt") as file:
            known = json.loads((file.metadata() or {})["names"])
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: no file of text vectors with class names, or damaged ({error})"
        ) from error
    needed = ["name", *(["noun", "verb"] if words else []), *(["parts"] if parts else [])]
    if tokens and {"tokens", "lengths"} & set(found):
        needed += ["tokens", "lengths"]
    absent = [key for key in needed if key not in found]
    lost = [name for name in names if name not in known]
    if absent or lost:
        raise InputError(
            f"{path}: lacks vectors {absent} and classes {lost[:6]}; it has {sorted(found)} of "
            f"{len(known)} classes"
        )
    for key in needed:
        shape = tuple(found[key].shape)
        if len(shape) != _AXES[key] or shape[0] != len(known):
            raise InputError(f"{path}: {key} has shape {shape} for {len(known)} classes")
        found[key] = found[key].long() if key == "lengths" else found[key].float()
        if not torch.isfinite(found[key]).all():
            raise InputError(f"{path}: {key} holds NaN or infinity")
    if parts and found["parts"].shape[1] != parts:
        raise InputError(f"{path}: {found['parts'].shape[1]} parts, the model has {parts}")
    if "lengths" in needed:
        lengths, longest = found["lengths"], found["tokens"].shape[1]
        if not 1 <= int(lengths.min()) <= int(lengths.max()) <= longest:
            raise InputError(f"{path}: lengths must be in 1..{longest}, the tokens of a text")
    rows = [known.index(name) for name in names]
    return ClassTexts(*(found[key][rows] if key in needed else None for key in _AXES))


def write_vectors(path: str | Path, names: Sequence[str], texts: ClassTexts) -> None:
    """Write what :func:`read_vectors` reads."""
    content = {
        key: value.contiguous().clone()
        for key, value in zip(_AXES, texts, strict=True)
        if value is not None
    }
    with usual_permissions(path):
        safetensors.torch.save_file(content, path, {"names": json.dumps(list(names))})


def _read_table(
    path: str, names: Sequence[str], example: str | Mapping[str, str]
) -> Mapping[str, Any]:
    """A JSON file of texts by class name, each like the example."""
    wanted = f"write JSON such as {json.dumps({names[0]: example}, ensure_ascii=False)}"
    try:
        table = json.loads(read_text(path, "file of class texts"))
    except MissingFileError as error:
        raise MissingFileError(f"{error}; {wanted}, with an entry for every class") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected texts by class name; {wanted}")
    lost = [name for name in names if name not in table]
    if lost:
        raise InputError(f"{path}: no texts for {lost[:6]}; every class needs them; {wanted}")
    kind = str if isinstance(example, str) else dict
    wrong = [name for name in names if not isinstance(table[name], kind)]
    if wrong:
        what = "a text" if kind is str else "texts by name"
        raise InputError(f"{path}: {wrong[0]!r} must have {what}; {wanted}")
    return table


def _entries(
    path: str | None, name: str, entry: Mapping[str, Any], keys: Sequence[str]
) -> list[str]:
    """The texts of ``keys``; a verb or noun may be absent or empty, and is then the whole name."""
    known = set(keys)
    if not set(entry) <= known or not all(isinstance(v, str) for v in entry.values()):
        raise InputError(f"{path}: {name!r} must have texts for {sorted(known)}")
    if known != {"verb", "noun"} and set(entry) != known:
        raise InputError(f"{path}: {name!r} has no text for {sorted(known - set(entry))}")
    return [entry.get(key, "").strip() or name for key in keys]
