from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from ski_eval import (
    Embeddings,
    InputError,
    Interval,
    Report,
    accuracy_bars_figure,
    paper_table,
    save_embeddings,
    save_predictions,
    write_card,
)
from ski_eval.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def run_folder(tmp_path, make_card, make_predictions):
    """What an evaluation leaves: cards, a sweep, predictions, embeddings, attention maps."""
    run = tmp_path / "run"
    cards = [
        make_card(paper_value=0.805, comparable_to_paper=True),
        make_card(name="ViFi top-1", method="ViFi-CLIP", value=0.71, paper_value=0.6),
        make_card(name="SKI macro", metric="mean class accuracy", value=0.77),
    ]
    for alpha, value in ((0.01, 0.72), (0.1, 0.78), (1.0, 0.81), (10.0, 0.75)):
        span = Interval(value - 0.05, value + 0.05, 0.95, "bootstrap, 15 groups")
        cards.append(
            make_card(name=f"a {alpha}", value=value, interval=span, config={"alpha": alpha})
        )
    for card in cards:
        write_card(card, run / "results")
    save_predictions(make_predictions(), run / "ski.npz")
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 5
    features = 3 * np.eye(8)[labels] + rng.normal(size=(80, 8))
    names = [f"action {i}" for i in range(5)]
    save_embeddings(Embeddings(features, labels, names, "Student"), run / "embeddings.npz")
    (run / "attention").mkdir()
    for i in range(3):
        picture = accuracy_bars_figure([(f"clip {i}", 0.2 + 0.2 * i, None)], form="png")
        (run / "attention" / f"clip_{i}.png").write_bytes(picture)
    np.savez(run / "other.npz", x=labels)
    return run


def test_page_has_everything(run_folder, capsys):
    assert main(["report", str(run_folder), "--title", "A run"]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    page = (run_folder / "report.html").read_text("utf-8")
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == [
        "Against the paper",
        "Results",
        "Sweep of alpha",
        "Predictions: made up",
        "Embeddings: Student",
        "Attention maps",
        "Where the figures come from",
    ]
    assert page.count("<img ") == 1 + 3 + 1 + 3
    assert page.count("<table") == 4
    for text in ("80.5", "-0.5", "other data", "clip 2", "80 clips by PCA", "c0ffee with changes"):
        assert text in page
    # A second run with the same result is quiet.
    assert main(["report", str(run_folder), "--title", "A run"]) == 0


def test_gallery_limits(run_folder, tmp_path):
    out = tmp_path / "a.html"
    assert main(["report", str(run_folder), "--out", str(out), "--gallery", "2"]) == 0
    assert "2 of 3 pictures are shown." in out.read_text("utf-8")
    out = tmp_path / "b.html"
    assert main(["report", str(run_folder), "--out", str(out), "--gallery_mb", "1e-6"]) == 0
    assert "0 of 3 pictures are shown." in out.read_text("utf-8")


def test_many_classes_get_a_table_of_confusions(tmp_path, make_predictions):
    save_predictions(make_predictions(n=140, k=70), tmp_path / "run" / "p.npz")
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "Commonest confusions" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_sweeps_of_two_methods_are_two_curves(tmp_path, make_card):
    for method in ("first", "second"):
        for alpha in (0.1, 1.0):
            card = make_card(name=f"{method} {alpha}", method=method, config={"alpha": alpha})
            write_card(card, tmp_path)
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "over alpha: first, zero-shot, top-1, second, zero-shot, top-1." in page
    assert '<th scope="col" class="number">paper</th>' not in page


def test_same_cell_twice_is_listed_card_by_card(tmp_path, make_card):
    for rate in (0.1, 1.0):
        write_card(make_card(name=f"rate {rate}", config={"lr": rate}), tmp_path)
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count('<th scope="row">rate 1.0</th>') == 2


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["none"], "none: no such folder"),
        (["empty"], "no result cards"),
        (["empty", "--gallery", "0"], "--gallery"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, args, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["report", *args]) == 2
    assert text in capsys.readouterr().err
    assert list((tmp_path / "empty").iterdir()) == []


def test_paper_table(make_card):
    near = make_card(paper_value=0.805, comparable_to_paper=True)
    far = make_card(name="far", paper_value=0.7, comparable_to_paper=True)
    other = make_card(name="other", paper_value=0.7)
    table = paper_table([near, far, other, make_card(name="none")], 0.01)
    assert [row[-4:-1] for row in table.rows] == [
        ("-0.5", "1.0", "yes"),
        ("+10.0", "1.0", "no"),
        ("+10.0", "1.0", "other data"),
    ]
    assert paper_table([far], {"far": 0.2}).rows[0][-2] == "yes"
    with pytest.raises(InputError, match="tolerance of 'far' is None"):
        paper_table([far], {})
    with pytest.raises(InputError, match="no card has a published figure"):
        paper_table([make_card()])


FRAME = """<iframe id="f" src="report.html" style="width:WIDTHpx;height:800px;border:0"></iframe>
<script>
addEventListener("load", () => {
  const page = document.getElementById("f").contentDocument;
  const drawn = (image) => image.complete && image.naturalWidth > 0;
  document.title = JSON.stringify({
    width: page.documentElement.scrollWidth,
    tables: [...page.querySelectorAll("table")].map((table) => table.caption.innerText.trim()),
    rows: [...page.querySelectorAll("table")].map((table) => table.tBodies[0].rows.length),
    images: [...page.images].filter(drawn).map((image) => image.alt),
    lost: [...page.images].filter((image) => !drawn(image)).length,
    page: getComputedStyle(page.body).backgroundColor,
    ink: getComputedStyle(page.body).color,
  });
});
</script>
"""


def opened(folder, profile, width, dark):
    """What chromium makes of ``report.html``, in a frame: its own window is never a phone's."""
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)), "utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--window-size=1400,900",
            f"--user-data-dir={profile}",
            "--dump-dom",
            f"file://{folder / 'frame.html'}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"<title>(.*)</title>", done.stdout)
    assert found, done.stderr
    return json.loads(html.unescape(found[1])), done.stderr


def lightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, True)])
def test_browser_shows_everything_without_errors(run_folder, tmp_path, width, dark):
    assert main(["report", str(run_folder)]) == 0
    found, said = opened(run_folder, tmp_path / "profile", width, dark)
    assert "CONSOLE" not in said
    assert found["width"] <= width
    assert found["tables"] == [
        "Published figures beside ours",
        "adl-mini, adl-mini 20/5",
        "adl-mini, adl-mini 20/5",
        "First 12 digits of the hashes",
    ]
    assert found["rows"] == [2, 3, 4, 7]
    assert found["images"] == [
        "Curves of accuracy over alpha: zero-shot, top-1.",
        "Confusion matrix of 5 classes.",
        "Bars of the accuracy within each of 5 classes.",
        "Reliability diagram: accuracy against confidence.",
        "Scatter of 80 embeddings of 5 classes.",
        *(f"Attention map: clip_{i}" for i in range(3)),
    ]
    assert found["lost"] == 0
    page, ink = lightness(found["page"]), lightness(found["ink"])
    assert (page < 0.2, ink > 0.8) == (dark, dark)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_browser_errors_are_seen(tmp_path):
    """The check above would notice: a page that asks for something its rules forbid."""
    page = Report("Title").html().replace("</body>", '<img src="https://example.org/a.png"></body>')
    (tmp_path / "report.html").write_text(page, "utf-8")
    found, said = opened(tmp_path, tmp_path / "profile", 390, False)
    assert found["lost"] == 1
    assert "CONSOLE" in said
