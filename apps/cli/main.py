"""``ski COMMAND``: what a person wants to do, and which package or program does it.

Nothing here is imported before it is needed: the list of commands is there at once, and ``ski
doctor`` runs where everything else is missing.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence

DESCRIPTION = "Skeleton-induced models of daily activities: recognise, describe, train, measure."
COMMANDS: dict[str, str] = {
    "recognize": "apps.cli.recognize:recognize",
    "caption": "ski_lvlm.cli:caption",
    "train": "apps.cli.train:train",
    "demo": "apps.adl_mini.job:main_job",
}
"""Commands that are functions."""
VARIANTS: dict[tuple[str, str], str] = {
    ("recognize", "--stream"): "apps.cli.recognize:recognize_stream",
    ("train", "--list"): "apps.cli.train:list_recipes",
}
"""What a command is where one of its words is given; it then takes other options."""
PROGRAMS: dict[str, str] = {
    "bench": "apps.cli.delegated:bench",
    "serve": "apps.serve.command:main",
    "web": "apps.web.command:main",
    "doctor": "apps.cli.doctor:main",
    "completion": "apps.cli.completion:main",
}
"""Commands that read their arguments themselves."""
SUMMARIES: dict[str, str] = {
    "recognize": "name what happens in videos, by any class names",
    "caption": "describe videos, or answer a question about them",
    "train": "train by a recipe of any package; --list names them all",
    "demo": "train on generated actions and recognise new ones, in minutes on a CPU",
    "bench": "make the paper's tables: list, run, report",
    "serve": "answer over HTTP: recognise, embed, caption",
    "web": "the same with a web page: drop a video or use the webcam",
    "doctor": "say what is missing on this machine and how to get it",
    "completion": "print what makes bash, zsh or fish complete these commands",
}
"""The order of the overview."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``ski``; gives the exit code.

    0 done, 1 failed or, of ``doctor``, something needed is not there, 2 wrong usage or input.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(overview())
        return 0 if args else 2
    name, rest = args[0], args[1:]
    try:
        if name == "--version":
            return _version()
        if name in PROGRAMS:
            return _loaded(PROGRAMS[name])(rest)
        if name in COMMANDS:
            return _run(name, rest)
    except BrokenPipeError:  # the reader of our output went away, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        told = "this installation is not whole; `ski doctor` says what to do"
        print(f"ski {name}: no module {error.name}: {told}", file=sys.stderr)
        return 1
    near = difflib.get_close_matches(name, SUMMARIES, 1)
    told = f"did you mean {near[0]}" if near else f"there are {', '.join(SUMMARIES)}"
    print(f"ski: no command {name!r}; {told}; see ski --help", file=sys.stderr)
    return 2


def overview() -> str:
    """All commands, one a line."""
    width = max(map(len, SUMMARIES))
    lines = [f"  {name:<{width}}  {text}" for name, text in SUMMARIES.items()]
    usage = "usage: ski COMMAND ...    ski COMMAND --help    ski --version"
    return "\n".join([usage, "", DESCRIPTION, "", *lines])


def _run(name: str, rest: Sequence[str]) -> int:
    from ski_data import command

    words = list(rest)
    target = COMMANDS[name]
    for (owner, word), variant in VARIANTS.items():
        if owner == name and word in words:
            words = [each for each in words if each != word]
            target = variant
    return command.run(
        {name: target}, [name, *words], prog="ski", version="0", description=DESCRIPTION
    )


def _version() -> int:
    from importlib.metadata import version

    names = ("ski-data", "ski-eval", "ski-skeleton", "ski-vlm", "ski-lvlm")
    print("ski, with " + ", ".join(f"{name} {version(name)}" for name in names))
    return 0


def _loaded(target: str) -> Callable[[Sequence[str]], int]:
    import importlib

    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    sys.exit(main())
