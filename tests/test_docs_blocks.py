"""Every code block of every page runs, or one short table says why it does not and what is checked.

Fences without a language, ``bash`` and ``console`` (commands behind ``$``, the rest is what they
print) hold commands. ``python`` blocks of a page run in order in one namespace. A block below a
paragraph that is a file's name in backquotes and a colon is saved as that file. ``text`` is output
of the block above or a picture. ``yaml``, ``json``, ``toml`` and ``csv`` are read by what they are
for. Each page has a folder of its own, with small stand-ins for the data and models it speaks of.
"""

from __future__ import annotations

import ast
import os
import shlex

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a model that is not here is told at once

from docs_blocks import settings, tables
from docs_blocks.pages import (
    COMMANDS,
    DATA,
    LANGUAGES,
    Block,
    Command,
    blocks,
    commands,
    every_block,
    page_text,
    pages,
    steps,
)
from docs_blocks.programs import SHELL, called, is_ours, wrong_with
from docs_blocks.runner import Page, check_listed, listed
from docs_blocks.shown import missing
from docs_blocks.workshop import Workshop

OWN = {"docs/extending.md": "tests/test_extending.py"}
"""Pages whose blocks change the packages themselves: a test of their own runs them in a copy."""


def every_command() -> list[Command]:
    return [
        command
        for block in every_block()
        if block.language in COMMANDS
        for command in commands(block)
    ]


def test_all_blocks_have_a_language_that_says_what_they_are():
    odd = [f"{b.where}: {b.language}" for b in every_block() if b.language not in LANGUAGES]
    assert odd == []
    assert len(pages()) >= 25
    assert len(every_block()) >= 120


@pytest.mark.parametrize("page", [page for page in pages() if page not in OWN])
def test_commands_and_their_options_exist(page):
    wrong = []
    for block in blocks(page):
        if block.language not in COMMANDS:
            continue
        for command in commands(block):
            for step in steps(command.text):
                words = called(step.words)
                if listed(step):
                    check_listed(command, step)
                elif words is None:
                    wrong.append(f"{command.where}: no such script in pyproject.toml")
                elif words[0] not in SHELL and not is_ours(words):
                    wrong.append(f"{command.where}: a program that is not known: {words[0]}")
                elif told := wrong_with(words):
                    wrong.append(f"{command.where}: {told}")
    assert wrong == []


@pytest.mark.parametrize("page", pages())
def test_python_compiles_and_data_is_data(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text, block.where)
        if block.language in DATA and page not in OWN:
            settings.read(block)


def test_no_entry_of_the_tables_is_dead():
    text = {page: "\n".join(block.text for block in blocks(page)) for page in pages()}
    typed = [command.text for command in every_command()]
    found = [step for line in typed for step in steps(line)]
    run = [" ".join(called(step.words) or ()) + " " for step in found if not listed(step)]
    used = [listed(step) for step in found]
    dead = [entry.begins for entry in tables.LISTED if entry not in used]
    dead += [line for line in tables.PYTHON_LISTED if not any(line in t for t in text.values())]
    shrunk = (*tables.DRY, *tables.SHRINK, *tables.RECIPES)
    dead += [begins for begins in shrunk if not any(line.startswith(begins) for line in run)]
    dead += [word for word in tables.SUBSTITUTES if not any(word in t for t in text.values())]
    dead += [command for command in tables.EXITS if command not in typed]
    for page, names in tables.PROPS.items():
        of_page = "\n".join(text.values()) if page == "" else page_text(page)
        dead += [
            f"{page}: {name}"
            for name in names
            if name not in of_page and tables.IMPLIED.get(name, name) not in of_page
        ]
    dead += [page for page in OWN if page not in pages()]
    assert dead == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("hatch run ski-bench run --all --data adl-mini --out runs", None),
        ("hatch run python -m benchmarks.bench run table1 --data a=A b=B --dry-run --out R", None),
        ("hatch run ski-bench go --out runs", "no command go"),
        ("hatch run ski-bench run --all --outt runs", "no option --outt"),
        ("python -m benchmarks.bench report --data adl-mini", "no option --data="),
        ("hatch run bench:ui-prmd FILE --seed 3", "no option --seed"),
        ("python -m benchmarks.speed --quick --only data", None),
        ("python -m benchmarks.slow", "no program python -m benchmarks.slow"),
        ("hatch run main --out R --fast", "no option --fast"),
        ("ski-data check FILE --loud", "no option --loud"),
        ("ski recognize --stream 0 --model M --classes C --stride 1", None),
        ("ski recognize 0 --model M --classes C --stride 1", "no option --stride"),
        ("ski serve --modell a=A", "no option --modell"),
        ("ski dance", "no command dance"),
        ("python -m pip install hatch", None),
    ],
)
def test_what_is_wrong_with_a_command(line, told):
    found = wrong_with(called(shlex.split(line)))
    assert found is None if told is None else found.startswith(told)


def test_what_a_page_shows_is_compared_without_digits():
    came = "a 1.25 s\nb 300 clips\nc\n"
    assert missing(["a 17 s", "...", "c"], came) == []
    assert missing(["b 1 ..."], came) == []
    assert missing(["c", "a 1 s"], came) == ["a TIME"]
    assert missing(["d"], came) == ["d"]


def test_command_lines_and_what_they_print():
    block = Block("p.md", 1, "console", "$ a b \\\n>   c && A=1 d > f\nout\n$ e  # why\n")
    first, second = commands(block)
    assert (first.text, first.shown) == ("a b c && A=1 d > f", ["out"])
    assert [step.words for step in steps(first.text)] == [("a", "b", "c"), ("d",)]
    assert steps(first.text)[1].settings == {"A": "1"}
    assert steps(first.text)[1].into == "f"
    assert steps(second.text)[0].words == ("e",)
    with pytest.raises(ValueError, match="is not read"):
        steps("a | b")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in pages() if blocks(page) and page not in OWN])
def test_every_block_runs(page, workshop, tmp_path):
    counts = Page(page, tmp_path, workshop).run()
    assert sum(counts.values()) == len(blocks(page)), counts
