"""Programs that pages call: where they are, which commands and options they have; running them."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tomllib
from docs_blocks.pages import ROOT

from ski_data import command

ALWAYS = {"config", "print_config", "help", "version"}
"""Options of every command."""
SHELL = {"cat", "cd", "cp", "curl", "echo", "export", "head", "ln", "ls", "mkdir", "mv", "unzip"}
"""What a shell brings."""


@cache
def scripts() -> dict[str, dict[str, str]]:
    """Scripts of each environment in pyproject.toml."""
    environments = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]
    return {name: found.get("scripts", {}) for name, found in environments["envs"].items()}


@cache
def programs() -> dict[str, str]:
    """Modules by how a program is called; ``ski-bench`` and ``ski`` have two names."""
    found = {f"ski-{p.name[4:]}": f"ski_{p.name[4:]}.cli" for p in ROOT.glob("packages/ski-*")}
    for path in (*ROOT.glob("apps/**/*.py"), *ROOT.glob("benchmarks/**/*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for prog in re.findall(r'prog="([^"]+)"', path.read_text(encoding="utf-8")):
            found[prog] = module
    for name, value in scripts()["default"].items():
        if name in found:
            found[value.removesuffix(" {args}")] = found[name]
    return found


def called(words: Sequence[str]) -> list[str] | None:
    """The words behind ``hatch run``, scripts put in their place; None: there is no such script."""
    if tuple(words[:2]) != ("hatch", "run"):
        return list(words)
    environment, _, script = words[2].rpartition(":")
    known = scripts()[environment or "default"]
    if script in known:
        return [*shlex.split(known[script].replace("{args}", "")), *words[3:]]
    ours = script in ("python", "ski") or script.startswith("ski-")
    return [script, *words[3:]] if ours else None


def split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The program's name, ``python -m MODULE`` in one, and its arguments."""
    if tuple(words[:2]) == ("python", "-m"):
        return " ".join(words[:3]), list(words[3:])
    return words[0], list(words[1:])


def signature_of(words: Sequence[str]) -> tuple[set[str], list[str]] | str:
    """Options that the called command takes and its arguments, or what is wrong with the call."""
    name, rest = split(words)
    if name in ("ski", "python -m apps"):
        return _of_ski(rest)
    known = programs()
    if name not in known:
        return f"no program {name}"
    module = importlib.import_module(known[name])
    if hasattr(module, "spread"):  # a list of values behind one option
        rest = module.spread(rest)
    if hasattr(module, "COMMANDS"):
        if not rest or rest[0].startswith("-"):
            return {"help", "version"}, rest
        chosen = rest[0]
        if (name, chosen) == ("ski-vlm", "predict") and "--stream" in rest:
            chosen, rest = "stream", [word for word in rest if word != "--stream"]
        if chosen not in module.COMMANDS:
            return f"no command {chosen}"
        function = command.load(module.COMMANDS[chosen])
    else:
        source = Path(module.__file__ or "").read_text(encoding="utf-8")
        found = re.search(r"run_one\((\w+)", source)
        assert found is not None, f"{module.__file__} calls no run_one"
        function = getattr(module, found[1])
    return {*inspect.signature(function).parameters, *ALWAYS}, rest


def _of_ski(rest: list[str]) -> tuple[set[str], list[str]] | str:
    from apps.cli import main as ski
    from apps.cli.completion import WRITERS

    if not rest or rest[0].startswith("-"):
        return {"help", "version"}, rest
    name = rest[0]
    if name in ("bench", "serve", "web"):
        program = {"bench": "ski-bench"}.get(name, "python -m apps.serve")
        return signature_of([*program.split(), *rest[1:]])
    if name == "completion":
        return (set(ALWAYS), []) if rest[1:] and rest[1] in WRITERS else "no such shell"
    if name == "doctor":
        function = command.load("apps.cli.doctor:doctor")
    elif name in ski.COMMANDS:
        target = ski.COMMANDS[name]
        for (owner, word), variant in ski.VARIANTS.items():
            if owner == name and word in rest:
                target, rest = variant, [each for each in rest if each != word]
        function = command.load(target)
    else:
        return f"no command {name}"
    return {*inspect.signature(function).parameters, *ALWAYS}, rest


def wrong_with(words: Sequence[str]) -> str | None:
    """What one of our programs would refuse: a command or an option that there is not.

    None as well for programs that are not ours.
    """
    name, _ = split(words)
    ours = name in programs() or name in ("ski", "python -m apps")
    if not ours and not name.startswith(("ski-", "python -m benchmarks", "python -m apps")):
        return None
    found = signature_of(words)
    if isinstance(found, str):
        return found
    options, rest = found
    for word in command.underscored(rest):
        option = re.match(r"--(?:no-)?(\w+)", word)
        if option and option[1] not in options and word.lstrip("-").split("=")[0] not in options:
            return f"no option {word}"
    return None


def is_ours(words: Sequence[str]) -> bool:
    """Whether the program runs in this process: a package's, ``python -m`` or a script."""
    name, rest = split(words)
    return name in programs() or name == "ski" or (words[0] == "python" and bool(rest))


def run_in_process(words: Sequence[str]) -> int:
    """Run a program of ours with ``sys.argv`` as its process would have it; its exit code."""
    work, rest = _main_of(words)
    before, sys.argv = sys.argv, [words[0], *rest]
    try:
        code = work()
        return code if isinstance(code, int) else 0
    except SystemExit as leave:
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
            return 1
        return int(leave.code or 0)
    finally:
        sys.argv = before


def _main_of(words: Sequence[str]) -> tuple[Callable[[], Any], list[str]]:
    name, rest = split(words)
    if name.startswith("ski"):
        module = "apps.cli.main" if name == "ski" else programs()[name]
        return importlib.import_module(module).main, rest
    if name.startswith("python -m "):
        module = name.removeprefix("python -m ")
        return lambda: runpy.run_module(module, run_name="__main__"), rest
    if rest[0] == "-c":
        return lambda: exec(rest[1], {"__name__": "__main__"}), rest[1:]
    path = rest[0] if Path(rest[0]).exists() else str(ROOT / rest[0])
    return lambda: runpy.run_path(path, run_name="__main__"), rest[1:]
