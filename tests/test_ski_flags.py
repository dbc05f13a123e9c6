"""The same flags mean the same thing in every console program of this repository.

A flag of one name has one kind of value everywhere, and the common ones one default and one
meaning. What differs stands in ``KINDS`` and ``MEANINGS`` with its reason; a line that is no
longer needed fails too, so the lists only shrink.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import types
from collections import defaultdict
from pathlib import Path
from typing import Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import docstring_parser
import pytest

from apps.cli.main import COMMANDS, VARIANTS
from ski_data import command

PROGRAMS = {
    "ski-data": "ski_data.cli",
    "ski-eval": "ski_eval.cli",
    "ski-skeleton": "ski_skeleton.cli",
    "ski-vlm": "ski_vlm.cli",
    "ski-lvlm": "ski_lvlm.cli",
    "ski-bench": "benchmarks.bench.__main__",
}
ROOT = Path(__file__).parents[1]

KINDS = {
    "model": (
        {"text", "settings", "texts"},
        "convert of ski-skeleton means the sizes of a Hyperformer; serve takes several, with names",
    ),
    "stream": (
        {"text", "switch"},
        "video that goes on, or what of a skeleton is shown; both usual",
    ),
    "window": ({"int", "float"}, "frames of a skeleton, seconds of a stream"),
    "skeletons": ({"text", "switch"}, "curate-convert says whether there are places for them"),
    "subjects": ({"int", "ints"}, "synthesize says how many, evaluations which"),
    "cameras": ({"int", "ints"}, "synthesize says how many, evaluations which"),
    "weights": ({"text", "floats"}, "of streams in an ensemble; files of ski-bench"),
    "clip": ({"text", "settings"}, "features of ski-lvlm has its weights as another option"),
    "data": ({"text", "texts"}, "ski-bench takes several data sets, the doctor one folder"),
    "caption": ({"texts"}, "serve's models that talk about videos"),
}
"""Flags of several kinds: the kinds, and why."""


class Common(NamedTuple):
    """What a flag that many programs have must be."""

    defaults: set[object]
    meaning: str


REQUIRED = inspect.Parameter.empty
COMMON = {
    "json": Common({False}, r"JSON"),
    "out": Common({REQUIRED, None, "runs/..."}, r"file|folder"),
    "device": Common({"cpu"}, r"cpu|cuda|where the encoder runs"),
    "seed": Common({0, None}, r"^of |seed|noted"),
    "seeds": Common({None, 1}, r"seeds|of each row"),
    "model": Common({REQUIRED, None, "ViT-B-16/openai"}, r"model|folder|of transformers"),
    "batch": Common({8, 32}, r"at once$"),
    "batch_size": Common({8, 16}, r"at once$"),
    "workers": Common({0, 1, 2}, r"process"),
    "level": Common({0.95}, r"^coverage"),
    "samples": Common({1000, 2000}, r"^bootstrap resamples"),
    "timeout": Common({10.0, 30.0, 60.0}, r"^seconds"),
    "classes": Common({REQUIRED, None}, r"names separated by commas|label file"),
    "templates": Common({None}, r"^ways to name a class"),
    "descriptions": Common({None}, r"^csv id,name,description"),
    "copy": Common({None}, r"^name of a recipe to write"),
    "dry_run": Common({False}, r"^print .* (train|do) nothing$"),
    "temperature": Common({0.0}, r"0 takes the likeliest"),
    "max_new_tokens": Common({256, 512, 1024}, r"^limit of an? (answer|reply)"),
    "top_k": Common({5}, r"classes"),
    "question": Common({"..."}, r"ask"),
}
"""Help is compared in lower case and without the full stop at its end."""
MEANINGS = {
    ("ski-eval judge", "workers"): "its work is a server's, so requests at a time",
    ("ski-skeleton convert", "model"): "sizes, see KINDS",
}
"""Flags whose default or help is another one in a command, and why."""


class Flag(NamedTuple):
    """A flag of a command."""

    command: str
    name: str
    kind: str
    default: object
    help: str


def kind_of(annotation):
    """A family of types: text, int, float, switch, settings, or several of one."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = [one for one in get_args(annotation) if one is not type(None)]
    origin = get_origin(annotation)
    if origin is Literal:
        return kind_of(type(get_args(annotation)[0]))
    if origin is not None:
        return kind_of(get_args(annotation)[0]) + "s"
    if dataclasses.is_dataclass(annotation):
        return "settings"
    return {str: "text", Path: "text", int: "int", float: "float", bool: "switch"}[annotation]


def flags_of(name, target):
    function = command.load(target)
    hints = get_type_hints(function)
    text = docstring_parser.parse(function.__doc__)
    help_of = {one.arg_name: " ".join((one.description or "").split()) for one in text.params}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty:
            kind = kind_of(hints[parameter.name])
            told = help_of.get(parameter.name, "")
            yield Flag(name, parameter.name, kind, parameter.default, told)


def all_flags():
    targets = {
        f"{program} {name}": target
        for program, module in PROGRAMS.items()
        for name, target in importlib.import_module(module).COMMANDS.items()
    }
    targets |= {f"ski {name}": target for name, target in COMMANDS.items()}
    targets |= {f"ski {name} {word}": target for (name, word), target in VARIANTS.items()}
    targets["ski doctor"] = "apps.cli.doctor:doctor"
    targets["ski serve"] = "apps.serve.command:serve"
    found = [flag for name, target in targets.items() for flag in flags_of(name, target)]
    for (name, word), target in VARIANTS.items():
        summary = str(command.describe(target).__doc__).partition("\n")[0]
        found.append(Flag(f"ski {name}", word.removeprefix("--"), "switch", False, summary))
    return found


@pytest.fixture(scope="module")
def flags():
    return all_flags()


def test_every_package_is_walked(flags):
    scripts = {path.name for path in (ROOT / "packages").iterdir() if path.is_dir()}
    assert scripts <= set(PROGRAMS)
    assert len(flags) > 200
    assert len({flag.command for flag in flags}) > 50


def test_every_flag_says_what_it_is(flags):
    assert [f"{flag.command} --{flag.name}" for flag in flags if not flag.help] == []


def test_a_flag_has_one_kind_of_value(flags):
    kinds = defaultdict(lambda: defaultdict(list))
    for flag in flags:
        kinds[flag.name][flag.kind].append(flag.command)
    several = {name: dict(found) for name, found in kinds.items() if len(found) > 1}
    beyond = {n: found for n, found in several.items() if set(found) - KINDS.get(n, (set(),))[0]}
    assert beyond == {}, "one kind of value for a flag; a reason for another stands in KINDS"


def test_common_flags_have_one_default_and_one_meaning(flags):
    wrong = []
    for flag in flags:
        if flag.name in COMMON and not fits(flag) and (flag.command, flag.name) not in MEANINGS:
            wrong.append(f"{flag.command} --{flag.name} ({flag.default!r}): {flag.help}")
    assert wrong == []


def fits(flag):
    common = COMMON[flag.name]
    default = flag.default
    if isinstance(default, str) and flag.name in ("out", "question"):
        default = "runs/..." if default.startswith("runs/") else "..."
    told = flag.help.lower().rstrip(".")
    return default in common.defaults and re.search(common.meaning.lower(), told) is not None


def test_reasons_are_still_needed(flags):
    kinds = defaultdict(set)
    for flag in flags:
        kinds[flag.name].add(flag.kind)
    stale = [n for n, (wanted, _) in KINDS.items() if len(wanted) > 1 and kinds[n] != wanted]
    known = {(flag.command, flag.name): flag for flag in flags}
    stale += [key for key in MEANINGS if key not in known or fits(known[key])]
    assert stale == [], "no longer different: take these out of KINDS and MEANINGS"


def test_one_word_for_a_switch_between_positive_and_negative(flags):
    """``--no-NAME`` is made by the parser, so no flag begins with it."""
    assert [
        flag.name for flag in flags if flag.name.startswith(("no_", "disable_", "skip_no"))
    ] == []
