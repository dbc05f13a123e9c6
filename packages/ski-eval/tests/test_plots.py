from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from ski_eval import (
    InputError,
    Interval,
    accuracy_bars_figure,
    confusion_matrix_figure,
    per_class_bars_figure,
    training_curves_figure,
)

INTERVAL = Interval(0.5, 0.7, 0.95, "bootstrap")
STEPS = np.arange(50)
FIGURES = {
    "confusion": lambda **o: confusion_matrix_figure([[3, 1], [0, 0]], ["a <b> $x$", "ü"], **o),
    "many classes": lambda **o: confusion_matrix_figure(
        np.eye(32), [str(i) for i in range(32)], **o
    ),
    "curves": lambda **o: training_curves_figure(
        {
            "long": {"loss": (STEPS, np.where(STEPS == 9, np.nan, 1.0 / (1 + STEPS)))},
            "short": {"a": ([1, 2], [3, 4]), "b": ([1], [2])},
            "third": {"a": ([1, 2], [3, 4])},
        },
        **o,
    ),
    "bars": lambda **o: accuracy_bars_figure([("a & b", 0.6, INTERVAL), ("", 1.0, None)], 0.2, **o),
    "classes": lambda **o: per_class_bars_figure(
        ["a", "b"], [0.5, np.nan], [4, 0], chance=0.9, **o
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_well_formed_and_repeatable(name):
    first = FIGURES[name](title="A <title> & more")
    root = ElementTree.fromstring(first)
    assert root.tag.endswith("svg")
    assert first == FIGURES[name](title="A <title> & more")
    assert not any(e.tag.endswith(("script", "image")) and "href" in e.attrib for e in root.iter())


def test_png():
    assert FIGURES["bars"](form="png").startswith(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="allowed: svg, png"):
        FIGURES["bars"](form="pdf")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: confusion_matrix_figure(np.zeros((2, 3)), ["a", "b"]), r"shape \(2, 2\)"),
        (lambda: confusion_matrix_figure([[1, -1], [0, 0]], ["a", "b"]), "expected counts"),
        (lambda: training_curves_figure({}), "at least one stage"),
        (lambda: training_curves_figure({"a": {}}), "at least one series"),
        (lambda: training_curves_figure({"a": {"b": ([1], [1, 2])}}), "same length"),
        (lambda: accuracy_bars_figure([]), "no bars"),
        (lambda: accuracy_bars_figure([("a", 60.0, None)]), "not percent"),
        (lambda: accuracy_bars_figure([("a", 0.6, None)], 20.0), "not percent"),
        (lambda: per_class_bars_figure(["a"], [0.1, 0.2], [1, 1]), "one of each per class"),
        (lambda: per_class_bars_figure(["a"], [50.0], [1]), "not percent"),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(InputError, match=text):
        call()


def test_drawing_leaves_matplotlib_as_it_was():
    # A fresh interpreter: pyplot must not be loaded, nor any setting stay changed.
    code = (
        "import sys, matplotlib, ski_eval\n"
        "from matplotlib import rcParams\n"
        "read = lambda: {k: rcParams[k] for k in rcParams if k != 'backend'}\n"
        "before = read()\n"
        "ski_eval.accuracy_bars_figure([('a', 0.5, None)])\n"
        "assert read() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
