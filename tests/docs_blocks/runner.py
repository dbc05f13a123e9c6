"""Runs the blocks of a page as a reader would: in order, in one folder that is empty at first."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml
from docs_blocks import settings, tables
from docs_blocks.pages import (
    COMMANDS,
    DATA,
    ROOT,
    Block,
    Command,
    Step,
    blocks,
    commands,
    shown_below,
    steps,
)
from docs_blocks.programs import SHELL, called, is_ours, programs, run_in_process, wrong_with
from docs_blocks.servers import Server, is_server
from docs_blocks.shown import missing
from docs_blocks.workshop import MAKERS, Workshop

ANSWERS = "What is the person doing?\n"
"""What is typed where a command asks."""


class BlockError(AssertionError):
    """A block that does not do what its page says."""


class Page:
    """One page, its folder and what its blocks left there.

    Attributes:
        counts: Blocks by what was done with them.
    """

    def __init__(self, page: str, folder: Path, workshop: Workshop) -> None:
        self.page = page
        self.folder = folder
        self.workshop = workshop
        self.module = types.ModuleType("__main__")
        self.counts: Counter[str] = Counter()
        self.servers: list[Server] = []
        self.dry = False

    def run(self) -> Counter[str]:
        """Run every block.

        Raises:
            BlockError: A block that does not run, or shows what does not come.
        """
        own = tables.PROPS.get(self.page, {})
        common = {
            name: what
            for name, what in tables.PROPS[""].items()
            if name not in own and any(name in block.text for block in blocks(self.page))
        }
        for name, what in {**common, **own}.items():  # whole folders first, then what is in them
            self.workshop.put(what, self.folder / name.rstrip("/"))
        below = shown_below(self.page)
        before = dict(os.environ)
        try:
            with contextlib.chdir(self.folder):
                for block in blocks(self.page):
                    self.dry = False
                    done, said = self.one(block)
                    self.counts[done] += 1
                    if block in below and not self.dry:
                        self.compare(below[block], below[block].text.splitlines(), said)
        finally:
            for server in self.servers:
                server.stop()
            os.environ.clear()
            os.environ.update(before)
        return self.counts

    def one(self, block: Block) -> tuple[str, str]:
        """What was done with a block, and what it printed."""
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.language in DATA:
            settings.read(block)
            return "parsed", ""
        if block.language == "text":
            return "output or picture", ""
        if block.language == "python":
            return self.python(block)
        assert block.language in COMMANDS, f"{block.where}: no language {block.language!r}"
        said = []
        ways = set()
        for command in commands(block):
            done, text = self.command(command)
            ways |= done
            said.append(text)
            if command.shown and done == {"run"}:
                self.compare(block, command.shown, text)
        self.dry = ways != {"run"}
        return " and ".join(sorted(ways)), "".join(said)

    def python(self, block: Block) -> tuple[str, str]:
        code = compile(block.text, block.where, "exec")
        if any(line in block.text for line in tables.PYTHON_LISTED):
            return "listed", ""
        if block.file:
            return "saved for a command", ""
        with captured() as output:
            try:
                exec(code, self.module.__dict__)
            except Exception as error:
                raise BlockError(f"{block.where}: {type(error).__name__}: {error}") from error
        return "run", output.text

    def command(self, command: Command) -> tuple[set[str], str]:
        """How a command line was run, and what it printed."""
        ways, said = set(), ""
        for step in steps(command.text):
            if listed(step) is not None:
                check_listed(command, step)
                ways.add("listed")
                continue
            way, code, text = self.step(command, step)
            ways.add(way)
            said += text
            wanted = tables.EXITS.get(command.text, 0) if way == "run" else 0
            if code != wanted:
                raise BlockError(f"{command.where}: exit code {code}, not {wanted}\n{text[-3000:]}")
        return ways, said

    def step(self, command: Command, step: Step) -> tuple[str, int, str]:
        os.environ.update(step.settings)
        words = called(replaced(step.words))
        if words is None:
            raise BlockError(f"{command.where}: no such script in pyproject.toml")
        if words[0] in SHELL:
            words = [self.placed(word) for word in words]
            code, text = self.shell(step, words)
            return "run", code, text
        if not is_ours(words):
            raise BlockError(f"{command.where}: no program {words[0]}; is it to be listed?")
        words, way = smaller(words, self.placed)
        words = [self.placed(word) for word in words]
        if is_server(words):
            self.servers.append(Server(words, self.folder))
            return "run", 0, f"{self.servers[-1].said}"
        with captured() as output:
            try:
                code = run_in_process(words)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                raise BlockError(f"{command.where}: {told}\n{output.read()[-3000:]}") from error
        text = output.text
        if step.into:
            (self.folder / step.into).write_text(text, encoding="utf-8")
            text = ""
        return way, code, text

    def placed(self, word: str) -> str:
        """A word with the path of a stand-in where ``@@`` names one."""
        word = re.sub(r"@@([\w.-]+)", self._of_workshop, word)
        for server in self.servers:
            address = rf"(?:http://)?(?:localhost|127\.0\.0\.1):{server.port}\b"
            word = re.sub(address, server.address, word)
        return word

    def _of_workshop(self, match: re.Match[str]) -> str:
        return str(self.workshop.get(match[1])) if match[1] in MAKERS else match[0]

    def shell(self, step: Step, words: list[str]) -> tuple[int, str]:
        if words[0] == "export":
            os.environ.update(word.split("=", 1) for word in words[1:])
            return 0, ""
        if words[0] == "cd":
            os.chdir(words[1])
            return 0, ""
        if words[0] == "curl":
            words = ["curl", "--fail-with-body", "-sS", *words[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if step.into:
            Path(step.into).write_text(done.stdout, encoding="utf-8")
            return done.returncode, done.stderr
        return done.returncode, done.stdout + done.stderr

    def compare(self, block: Block, shown: list[str], said: str) -> None:
        lost = missing(shown, said)
        if lost:
            raise BlockError(f"{block.where}: shown, but did not come:\n{lost}\ncame:\n{said}")


def listed(step: Step) -> tables.Listed | None:
    """The entry that says why a command is not run."""
    text = step.text.removeprefix(" ".join(f"{k}={v}" for k, v in step.settings.items())).strip()
    return next((entry for entry in tables.LISTED if text.startswith(entry.begins)), None)


def check_listed(command: Command, step: Step) -> None:
    """What can be seen of a command that is not run.

    Raises:
        BlockError: Wrong syntax, a local path that is not there, wrong options of our programs.
    """
    if "<TAB>" in step.text:
        return
    bash = shutil.which("bash")
    assert bash is not None
    syntax = subprocess.run([bash, "-n"], input=step.text, text=True, capture_output=True)
    if syntax.returncode:
        raise BlockError(f"{command.where}: {syntax.stderr}")
    words = ["ski-lvlm" if word == "ski_lvlm" else word for word in step.words]
    for word in words:
        if word.startswith("./") and not (ROOT / word.split("[")[0]).exists():
            raise BlockError(f"{command.where}: no {word}")
    inner = next((n for n, word in enumerate(words) if n and word in programs()), None)
    if inner is not None and (told := wrong_with(words[inner:])):
        raise BlockError(f"{command.where}: {told}")


def smaller(words: list[str], placed: Callable[[str], str]) -> tuple[list[str], str]:
    """The same command in little, or its dry run; and which of both."""
    text = " ".join(words) + " "
    for begins, changes in tables.RECIPES.items():
        if text.startswith(begins):
            words = [*words[:2], small_recipe(words[2], changes, placed), *words[3:]]
    for begins, option in tables.DRY.items():
        if text.startswith(begins):
            return ([*words, option], "dry") if option not in words else (words, "run")
    for begins, more in tables.SHRINK.items():
        if text.startswith(f"{begins} "):
            words = [*words, *more]
    return words, "run"


def replaced(words: Sequence[str]) -> list[str]:
    """Words with what stands for what is not here."""
    joined = "\0".join(words)
    for absent, own in tables.SUBSTITUTES.items():
        joined = joined.replace(absent.replace(" ", "\0"), own.replace(" ", "\0"))
    return joined.split("\0")


def small_recipe(
    recipe: str, changes: Mapping[str, Any], placed: Callable[[str], str] = str
) -> str:
    """A recipe that comes with a package, in little; a page's own recipe stays as it is."""
    path = Path(recipe)
    coming = shipped()
    if path.stem not in coming:
        return recipe
    source = path if path.is_file() else coming[path.stem]
    plain = merged(yaml.safe_load(source.read_text(encoding="utf-8")), changes)
    small = path.with_name(f"small-{path.stem}.yaml")
    small.write_text(placed(yaml.safe_dump(plain, sort_keys=False)), encoding="utf-8")
    return str(small)


def shipped() -> dict[str, Path]:
    """Recipes that come with the packages, by name."""
    return {path.stem: path for path in ROOT.glob("packages/*/src/*/recipes/*.yaml")}


def merged(plain: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes at any depth; of a part that is not there nothing is changed.

    A key with ``!`` in front replaces its part as a whole.
    """
    found = dict(plain)
    for key, value in changes.items():
        if key.startswith("!"):
            found[key[1:]] = value
        elif isinstance(value, Mapping):
            if isinstance(found.get(key), Mapping):
                found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


class Output:
    """What was printed, whole once its block is over."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.text = ""

    def read(self) -> str:
        """What was printed so far."""
        self.file.flush()
        self.file.seek(0)
        self.text = self.file.read()
        return self.text


@contextlib.contextmanager
def captured() -> Iterator[Output]:
    """Standard output and error in one file, the log of commands too; answers as input."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    stdin, sys.stdin = sys.stdin, io.StringIO(ANSWERS)
    try:
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            output = Output(file)
            yield output
            output.read()
    finally:
        root.handlers, sys.stdin = handlers, stdin
