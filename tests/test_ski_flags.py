"""The same flags mean the same thing in every console program of this repository.

``RULES`` is the one table: a flag that two commands have stands there with its kind of value, the
defaults that it may have and what its help says. A second command that takes a flag of a known name
for something else fails, and so does a flag that a second command takes without a rule.
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
    "benchmarks.real_skeletons": "benchmarks.real_skeletons.__main__",
}
"""Programs with several commands, by the module that lists them in ``COMMANDS``."""
SINGLE = {
    "ski doctor": "apps.cli.doctor:doctor",
    "ski serve": "apps.serve.command:serve",
    "ski web": "apps.web.command:web",
    "apps.serve.load": "apps.serve.load:load",
    "benchmarks.adl_mini_vlm": "benchmarks.adl_mini_vlm.__main__:adl_mini_vlm",
    "benchmarks.c2vl_posture": "benchmarks.c2vl_posture.__main__:benchmark",
    "benchmarks.lvlm_smollm2": "benchmarks.lvlm_smollm2.__main__:lvlm_smollm2",
    "benchmarks.real": "benchmarks.real.__main__:benchmark",
    "benchmarks.speed": "benchmarks.speed.__main__:benchmark",
    "benchmarks.speed.data": "benchmarks.speed.data:benchmark",
    "benchmarks.speed.lvlm": "benchmarks.speed.lvlm:benchmark",
    "benchmarks.speed.skeleton": "benchmarks.speed.skeleton:benchmark",
    "benchmarks.speed.vlm": "benchmarks.speed.vlm:benchmark",
    "benchmarks.ui_prmd": "benchmarks.ui_prmd.__main__:benchmark",
}
"""Programs that do one thing. The jobs that the bench starts (``bench-work``) are not called by
people, and their options name results that are there."""
ROOT = Path(__file__).parents[1]


class Rule(NamedTuple):
    """What a flag of this name is wherever it stands."""

    kinds: str
    """text, int, float, switch, settings, or several of one (texts); "text texts" where some
    commands take one value and others several."""
    defaults: set[object]
    meaning: str
    """Pattern that its help fits, in lower case and without the full stop at its end."""


REQUIRED = inspect.Parameter.empty
NAMES = "..."
"""Stands for a text that only names or asks something, such as a sentence or a folder in runs/."""
RULES = {
    "architecture": Rule("text", {NAMES}, r"open_clip name of the (image )?towers?"),
    "attempts": Rule("int", {3, 6}, r" for each (prompt|question), at most$"),
    "base": Rule("text", {None}, r"base model|^clip weights"),
    "batch_size": Rule("int", {8, 16, 32}, r"at once$"),
    "cache": Rule("text", {None}, r"file (that|of) replies"),
    "calibration": Rule("text", {None}, r"^file of .*calibrate"),
    "cameras": Rule("ints", {()}, r"^or (the )?cameras whose clips train"),
    "cards": Rule("text", {None}, r"^folder to write a result card"),
    "classes": Rule("text", {REQUIRED, None}, r"names separated by commas|label file"),
    "clips": Rule("int", {4, 8, 16, 114_480}, r"^clips (of|that)"),
    "colour_height": Rule("int", {1080}, r"^its height"),
    "colour_width": Rule("int", {1920}, r"^width of the picture that .* refer to"),
    "concurrency": Rule("int", {4, 8}, r"at once$"),
    "copy": Rule("text", {None}, r"^name of a recipe to write"),
    "csv": Rule("switch", {False}, r"^print lines"),
    "data": Rule("text texts", {None, ()}, r"\bfolder\b"),
    "dataset": Rule("text", {NAMES, None}, r"^ntu60|^name of (the data|one)"),
    "descriptions": Rule("text", {None}, r"^csv id,name,description"),
    "device": Rule("text", {"cpu"}, r"^cpu, cuda or cuda:n"),
    "dry_run": Rule("switch", {False}, r"^print .* (train|do) nothing$"),
    "features": Rule("text", {None}, r"^feature store of video tokens"),
    "fit_memory": Rule("switch", {False}, r"^choose the accumulation"),
    "folder": Rule("text", {None}, r"^where to make files"),
    "frames": Rule("int", {None, 16, 64}, r"frames of (a clip|each video)"),
    "json": Rule("switch", {False}, r"^print .*(json|object)"),
    "level": Rule("float", {0.95}, r"^coverage"),
    "max_new_tokens": Rule("int", {256, 512, 1024}, r"^limit of an? (answer|reply)"),
    "method": Rule("text", {NAMES, None}, r"\bcards\b"),
    "model": Rule(
        "text texts", {REQUIRED, None, "ViT-B-16/openai"}, r"model|^name or folder|of transformers"
    ),
    "only": Rule("text", {None}, r"to run|commas between"),
    "out": Rule("text", {REQUIRED, None, NAMES}, r"file|folder"),
    "per_class": Rule("switch", {False}, r"^print the accuracy of each class"),
    "precision": Rule("text", {"float32", "bfloat16"}, r"^of the (base model|embeddings)"),
    "processes": Rule("int", {None, 1}, r"one for each gpu$"),
    "question": Rule("text", {NAMES}, r"\bask"),
    "quick": Rule("switch", {False}, r"^(a )?toy .*, to see that everything runs$"),
    "readme": Rule("switch", {False}, r"^train nothing; .*readme$"),
    "repeats": Rule("int", {2, 3, 15}, r"^runs of each way"),
    "requests_per_minute": Rule("float", {None, 60.0}, r"^limit for "),
    "samples": Rule("int", {1000, 2000}, r"^bootstrap resamples"),
    "scores": Rule("text", {None}, r"^json lines file to write .*scores? "),
    "seed": Rule("int", {0, None}, r"^of |^noted"),
    "seeds": Rule("int", {None, 1, 3}, r"seeds|^of (each|every) row"),
    "sentence": Rule("text", {None, REQUIRED}, r"sentence encoder"),
    "set": Rule("texts", {()}, r"^changes of single settings"),
    "setups": Rule("ints", {()}, r"^or (the )?setups whose clips train"),
    "skeleton_stream": Rule("text", {None}, r"^joint, bone, joint_motion or bone_motion"),
    "skip_bad": Rule("switch", {False}, r"out.rejected.jsonl"),
    "smoothing": Rule("text", {"exponential"}, r"^none, exponential or median"),
    "source": Rule("text", {REQUIRED, "official"}, r"of the (checkpoint|published file)"),
    "span": Rule("int", {3}, r"^windows over which is smoothed"),
    "split": Rule("text", {None, NAMES}, r"split|ntu60/xsub"),
    "stride": Rule("float", {0.75}, r"^seconds"),
    "subjects": Rule("ints", {()}, r"people whose clips train"),
    "temperature": Rule("float", {0.0}, r"0 takes the likeliest"),
    "template": Rule("text", {None}, r"^another prompt template"),
    "templates": Rule("text", {None}, r"^ways to name a class"),
    "threads": Rule("int", {2}, r"^threads of pytorch"),
    "threshold": Rule("float", {None}, r"^least probability"),
    "timeout": Rule("float", {10.0, 30.0, 60.0, 120.0}, r"^seconds"),
    "to": Rule("text", {"ours"}, r"^direction|^what to write"),
    "token_file": Rule("text", {None}, r"^file with (a|the server's) token"),
    "top_k": Rule("int", {5}, r"^how many classes to print"),
    "top_p": Rule("float", {1.0}, r"draw among the likeliest|^noted"),
    "videos": Rule("text", {None}, r"^folder |^manifest "),
    "window": Rule("float", {3.0}, r"^seconds"),
    "workers": Rule("int", {None, 0, 1, 2}, r"^processes.*(\b0 (works|decodes|reads)|at least 1)"),
}


class Flag(NamedTuple):
    """A flag of a command."""

    command: str
    name: str
    kind: str
    default: object
    help: str
    function: object
    """What the command runs; two programs may share it."""


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
    function = inspect.unwrap(command.load(target))
    hints = get_type_hints(function)
    text = docstring_parser.parse(function.__doc__)
    help_of = {one.arg_name: " ".join((one.description or "").split()) for one in text.params}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty:
            kind = kind_of(hints[parameter.name])
            told = help_of.get(parameter.name, "")
            yield Flag(name, parameter.name, kind, parameter.default, told, function)


def all_flags():
    targets = {
        f"{program} {name}": target
        for program, module in PROGRAMS.items()
        for name, target in importlib.import_module(module).COMMANDS.items()
    }
    targets |= {f"ski {name}": target for name, target in COMMANDS.items()}
    targets |= {f"ski {name} {word}": target for (name, word), target in VARIANTS.items()}
    targets |= SINGLE
    found = [flag for name, target in targets.items() for flag in flags_of(name, target)]
    for (name, word), target in VARIANTS.items():
        summary = str(command.describe(target).__doc__).partition("\n")[0]
        found.append(Flag(f"ski {name}", word.removeprefix("--"), "switch", False, summary, target))
    return found


def broken(flag):
    """What of its rule a flag does not keep."""
    rule = RULES[flag.name]
    default = flag.default
    if NAMES in rule.defaults and isinstance(default, str):
        default = NAMES
    told = flag.help.lower().rstrip(".")
    if flag.kind not in rule.kinds.split():
        return f"is {flag.kind}, elsewhere {rule.kinds}"
    if default not in rule.defaults:
        return f"has the default {default!r}, elsewhere {rule.defaults}"
    if re.search(rule.meaning, told) is None:
        return f"means {told!r}, elsewhere {rule.meaning!r}"
    return None


@pytest.fixture(scope="module")
def flags():
    return all_flags()


def test_every_program_is_walked(flags):
    scripts = {path.name for path in (ROOT / "packages").iterdir() if path.is_dir()}
    assert scripts <= set(PROGRAMS)
    modules = {path.parent.name for path in ROOT.glob("benchmarks/*/__main__.py")}
    walked = " ".join([*PROGRAMS.values(), *SINGLE.values()])
    assert {name for name in modules if f"benchmarks.{name}." not in walked} == set()
    calls = re.compile(r"\brun_one\((?:command\.)?(\w+)")
    for path in [*ROOT.glob("apps/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]:
        for function in calls.findall(path.read_text(encoding="utf-8")):
            known = [*SINGLE.values(), *COMMANDS.values()]
            assert any(target.endswith(f":{function}") for target in known), path
    assert len(flags) > 300
    assert len({flag.command for flag in flags}) > 65


def test_every_flag_says_what_it_is(flags):
    assert [f"{flag.command} --{flag.name}" for flag in flags if not flag.help] == []


def test_a_flag_means_one_thing(flags):
    wrong = [
        f"{flag.command} --{flag.name} {why}"
        for flag in flags
        if flag.name in RULES and (why := broken(flag))
    ]
    assert wrong == [], "choose another name, or the meaning that the others have"


def test_flags_of_several_commands_have_a_rule(flags):
    users = defaultdict(set)
    for flag in flags:
        users[flag.name].add(flag.function)
    several = {name for name, functions in users.items() if len(functions) > 1}
    assert several - set(RULES) == set(), "say in RULES what it is"
    assert set(RULES) - several == set(), "a rule for a flag of one command, or of none"


def test_a_deviation_is_told():
    usual = Flag("a b", "workers", "int", 1, "Processes that read; 0 reads without them.", None)
    assert broken(usual) is None
    assert "is text" in broken(usual._replace(kind="text"))
    assert "default 7" in broken(usual._replace(default=7))
    assert "means" in broken(usual._replace(help="Requests at once."))


def test_no_two_names_for_one_thing(flags):
    """Names that stand for a rule under another name."""
    other = {
        "batch": "batch_size",
        "readers": "workers",
        "num_workers": "workers",
        "output": "out",
        "fmt": "json",
        "jsonl": "json",
        "tries": "attempts",
        "timeout_s": "timeout",
        "gpu": "device",
        "rows": "only",
    }
    names = {flag.name for flag in flags}
    assert {name: other[name] for name in names & set(other)} == {}


def test_one_word_for_a_switch_between_positive_and_negative(flags):
    """``--no-NAME`` is made by the parser, so no flag begins with it."""
    assert [
        flag.name for flag in flags if flag.name.startswith(("no_", "disable_", "skip_no"))
    ] == []
