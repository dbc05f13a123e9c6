"""Pages of the project and their fenced blocks: what is a command, and what it is to print."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("", "docs/", "docs/**/", "packages/*/", "benchmarks/*/", "apps/", "apps/**/", "tools/")
COMMANDS = ("", "bash", "console")
"""Languages of blocks of commands; ``console`` shows what they print, too."""
DATA = ("yaml", "json", "jsonl", "toml", "csv")
LANGUAGES = (*COMMANDS, *DATA, "python", "text", "diff")
SETTING = re.compile(r"[A-Za-z_]\w*=\S*$")
FILE_ABOVE = re.compile(r"`([^`\s]+\.\w+)`:$")
"""A paragraph that is this names the file that the block below it is saved as."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path of its page from the root.
        line: Of its fence, from 1.
        language: Behind the fence; empty for none.
        text: Its lines, without the fence's own indentation.
        file: What the paragraph above says it is saved as; empty for nothing.
        section: Line of the heading above it.
    """

    page: str
    line: int
    language: str
    text: str
    file: str = ""
    section: int = 0

    @property
    def where(self) -> str:
        """``docs/cli.md:7``."""
        return f"{self.page}:{self.line}"


@dataclass
class Command:
    """A command line of a block, with the lines that it is shown to print."""

    block: Block
    text: str
    shown: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        """Page, line and the command."""
        return f"{self.block.where}: {self.text}"


@cache
def pages() -> tuple[str, ...]:
    """All pages, as paths from the root."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in ROOT.glob(f"{folder}*.md")
        if path.name != "CHANGELOG.md"
    }
    return tuple(sorted(found))


@cache
def page_text(page: str) -> str:
    """A page as it stands."""
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """Fenced blocks of a page, in order.

    Raises:
        ValueError: A fence that nothing closes.
    """
    found, section, above = [], 0, ""
    lines = iter(enumerate(page_text(page).splitlines(), 1))
    for number, line in lines:
        fence = re.match(r"( *)(```+)\s*(\S*)", line)
        if fence is None:
            if line.startswith("#"):
                section, above = number, ""
            elif line.strip():
                above = line.strip()
            continue
        inner = []
        for _, within in lines:
            if within.strip() == fence[2]:
                break
            inner.append(within.removeprefix(fence[1]))
        else:
            raise ValueError(f"{page}:{number}: nothing closes this block")
        named = FILE_ABOVE.match(above)
        text = "".join(f"{each}\n" for each in inner)
        found.append(Block(page, number, fence[3], text, named[1] if named else "", section))
        above = ""
    return tuple(found)


def every_block() -> list[Block]:
    """Blocks of all pages."""
    return [block for page in pages() for block in blocks(page)]


def commands(block: Block) -> list[Command]:
    """Command lines of a block; continued lines are one, comments are none.

    In a ``console`` block commands stand behind ``$``, other lines are what is printed.
    """
    found: list[Command] = []
    open_line = ""
    for raw in block.text.splitlines():
        line = raw
        if block.language == "console" and not open_line:
            if not raw.startswith("$ "):
                if not found:
                    raise ValueError(f"{block.where}: printed before any command: {raw}")
                found[-1].shown.append(raw)
                continue
            line = raw[2:]
        open_line += line.removeprefix("> ").lstrip() if open_line else line
        if open_line.endswith("\\"):
            open_line = open_line[:-1].rstrip() + " "
            continue
        if open_line.strip() and not open_line.lstrip().startswith("#"):
            found.append(Command(block, open_line.strip()))
        open_line = ""
    return found


@dataclass(frozen=True)
class Step:
    """One program of a command line: settings of its environment, words, file for its output."""

    text: str
    settings: dict[str, str]
    words: tuple[str, ...]
    into: str = ""


def steps(text: str) -> list[Step]:
    """Programs of a command line that run one after another (``&&``).

    Words are not made of a part that ``bash`` would fill in (``$(...)``) or that a person does
    (``<TAB>``).

    Raises:
        ValueError: A pipe or another thing of the shell that is not read here.
    """
    return [_step(part.strip()) for part in text.split(" && ")]


def _step(text: str) -> Step:
    if "$(" in text or "<TAB>" in text:
        return Step(text, {}, ())
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|;<>&")
    lexer.whitespace_split = True
    words = list(lexer)
    odd = [word for word in words if word in ("|", ";", "<", "&", "&&", ">>", "<<")]
    if odd:
        raise ValueError(f"{odd[0]} is not read by the test of code blocks: {text}")
    settings = {}
    while words and SETTING.match(words[0]):
        name, _, settings[name] = words.pop(0).partition("=")
    into = ""
    if ">" in words:
        at = words.index(">")
        into = words[at + 1]
        words = [*words[:at], *words[at + 2 :]]
    return Step(text, settings, tuple(words), into)


def shown_below(page: str) -> dict[Block, Block]:
    """Blocks of commands or Python whose output is the ``text`` block below, in their section."""
    found = {}
    for above, below in zip(blocks(page), blocks(page)[1:], strict=False):
        runs = above.language in COMMANDS or (above.language == "python" and not above.file)
        if below.language == "text" and runs and above.section == below.section:
            found[above] = below
    return found
