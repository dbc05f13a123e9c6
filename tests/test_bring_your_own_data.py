"""The page on own data works as a reader would try it: from an empty folder, block after block."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import pytest

from ski_data import cli as data_cli
from ski_data.importer import ImportMapping
from ski_data.store import SkeletonStore

PAGE = Path(__file__).parents[1] / "docs" / "bring-your-own-data.md"
BLOCK = re.compile(r"(?:^`([\w.-]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: the file that it is to be saved as, if any, its language and its lines."""

    file: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    yield from (Block(*found) for found in BLOCK.findall(PAGE.read_text(encoding="utf-8")))


def same(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    return [re.sub(r"done, .*", "done", line).rstrip() for line in text.strip().splitlines()]


def run_python(text: str) -> None:
    exec(compile(text, "block", "exec"), {"__name__": "__main__"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_does_what_the_page_says(folder, capsys, caplog):
    caplog.set_level("INFO", "ski_data")
    said = ""
    codes = {}
    for block in blocks():
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            run_python(block.text)
        elif block.language == "text":
            assert [line for line in same(block.text) if line not in same(said)] == []
        else:
            assert block.language == ""
            capsys.readouterr()
            caplog.clear()
            for line in block.text.splitlines():
                program, *words = shlex.split(line)
                if program == "python":
                    run_python((folder / words[0]).read_text(encoding="utf-8"))
                elif program == "ski-data":
                    codes[line] = data_cli.main(words)
                else:
                    assert program in ("pip", "ski-skeleton")
            told = [record.getMessage() for record in caplog.records]
            output = capsys.readouterr()
            said = "\n".join([output.out, output.err, *told])
    failed = {line.split()[2]: code for line, code in codes.items() if code}
    assert failed == {"poses/0.npy": 2, "some.csv": 1}
    assert sum("check" in line for line in codes) == 3
    assert not (folder / "wrong-store").exists()
    assert SkeletonStore(folder / "recordings-store").names[0] == "bow/P1_1"
    rejected = (folder / "some-store.rejected.jsonl").read_text(encoding="utf-8")
    assert "poses/99.npy: no such file" in rejected
    assert "unknown class 'two'" in rejected


def test_the_table_has_every_setting():
    table = PAGE.read_text(encoding="utf-8").split("## The mapping file")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {field.name for field in fields(ImportMapping)}


@pytest.mark.slow
def test_the_training_runs(folder, capsys):
    from ski_skeleton import cli as skeleton_cli

    programs = {"ski-data": data_cli.main, "ski-skeleton": skeleton_cli.main}
    for block in blocks():
        if block.file in ("make_csv.py", "recordings.yaml", "train.yaml"):
            (folder / block.file).write_text(block.text, encoding="utf-8")
            if block.file.endswith(".py"):
                run_python(block.text)
        for line in block.text.splitlines() if block.language == "" else ():
            program, *words = shlex.split(line)
            if program in programs and ("recordings" in line or program == "ski-skeleton"):
                assert programs[program](words) == 0
    assert "unseen-classes" in capsys.readouterr().out
