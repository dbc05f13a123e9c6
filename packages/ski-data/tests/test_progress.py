from __future__ import annotations

import pytest

from ski_data import progress
from ski_data.progress import Progress, seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (7.31, "7.3 s"), (59.4, "59 s"), (75.2, "1 min 15 s"), (3700, "1 h 1 min")],
)
def test_times_in_words(value, text):
    assert seconds(value) == text


def test_plain_lines_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    with Progress("work", total=4) as bar:
        bar.update(1, "first")
        bar.report(2, 8)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("work: 1/4, ")
    assert lines[0].endswith("left first")
    assert lines[1].startswith("work: 2/8, ")
    assert lines[-1].startswith("work: done, ")


def test_failed_work_is_not_done(capsys):
    with pytest.raises(ValueError, match="stop"), Progress("work", total=4):
        raise ValueError("stop")
    assert "done" not in capsys.readouterr().err
