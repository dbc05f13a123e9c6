from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_eval import InputError, caption_tokens, cider_d, rouge_l, score_captions
from ski_eval.caption_java import JavaError, meteor, spice
from ski_eval.captions import bleu_counts, bleu_from_counts
from ski_eval.cli import main
from ski_eval.errors import MissingFileError
from ski_eval.results import read_cards

GOLDEN = json.loads((Path(__file__).parent / "golden" / "captions.json").read_text("utf-8"))
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1, max_size=12)
CLIPS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=5)


def scored(predictions, references, rng, **options):
    found = score_captions(predictions, references, rng=rng, samples=100, **options)
    return {score.metric: score for score in found}


@pytest.mark.parametrize("name", GOLDEN["sets"])
def test_published_numbers(name, rng):
    case = GOLDEN["sets"][name]
    found = scored(case["predictions"], case["references"], rng, allow_empty=True)
    for metric, score in found.items():
        expected = case["scores"][metric]
        # Where an order has no match at all, theirs is a little more than 0 and ours is 0.
        tolerance = 1e-6 if score.value > 0.0 else 1e-5
        assert score.value == pytest.approx(expected, abs=tolerance), metric
        if score.interval is None:  # one clip, or no match in any
            assert score.n == 1 or score.value == 0.0
        else:
            assert score.interval.low <= score.value <= score.interval.high


@pytest.mark.parametrize("name", GOLDEN["sets"])
def test_published_numbers_clip_by_clip(name):
    case = GOLDEN["sets"][name]
    own = [caption_tokens(text) for text in case["predictions"].values()]
    theirs = [[caption_tokens(t) for t in group] for group in case["references"].values()]
    rouge = [rouge_l(p, r) for p, r in zip(own, theirs, strict=True)]
    assert rouge == pytest.approx(case["each"]["ROUGE-L"], abs=1e-6)
    assert cider_d(own, theirs) == pytest.approx(case["each"]["CIDEr-D"], abs=1e-6)
    for order in range(1, 5):
        counts = np.stack([bleu_counts(p, r) for p, r in zip(own, theirs, strict=True)])
        found, expected = bleu_from_counts(counts, order), case["each"][f"BLEU-{order}"]
        matched = found > 0
        assert found[matched] == pytest.approx(np.array(expected)[matched], abs=1e-6)
        assert (np.array(expected)[~matched] < 1e-2).all()


@settings(deadline=None)
@given(CLIPS)
def test_bleu_is_sacrebleus(clips):
    width = max(len(group) for _, group in clips)
    streams = [[" ".join(g[i]) if i < len(g) else None for _, g in clips] for i in range(width)]
    counts = np.sum([bleu_counts(p, r) for p, r in clips], axis=0)
    for order in range(1, 5):
        metric = sacrebleu.BLEU(
            tokenize="none", smooth_method="none", max_ngram_order=order, force=True
        )
        expected = metric.corpus_score([" ".join(p) for p, _ in clips], streams).score
        assert 100 * bleu_from_counts(counts, order) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(CLIPS)
def test_bounds_and_perfect_answers(clips):
    own, theirs = [p for p, _ in clips], [r for _, r in clips]
    assert ((cider_d(own, theirs) >= 0) & (cider_d(own, theirs) <= 10 + 1e-9)).all()
    for prediction, group in clips:
        assert 0.0 <= rouge_l(prediction, group) <= 1.0
        assert rouge_l(group[0], group) == pytest.approx(1.0)
    counts = np.sum([bleu_counts(r[0], r) for r in theirs], axis=0)
    assert bleu_from_counts(counts, 1) == pytest.approx(1.0)


@settings(deadline=None)
@given(CLIPS, st.randoms())
def test_the_order_of_clips_and_references_does_not_matter(clips, random):
    shuffled = [(p, random.sample(r, len(r))) for p, r in clips]
    before = cider_d([p for p, _ in clips], [r for _, r in clips])
    after = cider_d([p for p, _ in shuffled], [r for _, r in shuffled])
    assert before == pytest.approx(after, abs=1e-9)


@pytest.mark.parametrize(
    ("predictions", "references", "text"),
    [
        ({}, {}, "no references"),
        ({"a": "x"}, {"a": ["x"], "b": ["y"]}, "1 of 2 clips have no prediction .first: 'b'"),
        ({"a": "x", "b": "y"}, {"a": ["x"]}, "1 predictions have no reference .first: 'b'"),
        ({"a": " ."}, {"a": ["x"]}, "1 predictions hold no word .first: 'a'"),
        ({"a": "x"}, {"a": ["!"]}, "'a' has an empty reference"),
        ({"a": "x"}, {"a": []}, "'a' has no references"),
    ],
)
def test_bad_sets_are_refused(predictions, references, text, rng):
    with pytest.raises(InputError, match=text):
        score_captions(predictions, references, rng=rng)


def test_groups_widen_the_interval(rng):
    case = GOLDEN["sets"]["plain"]
    predictions = {f"{n} {i}": t for n, t in case["predictions"].items() for i in range(20)}
    references = {f"{n} {i}": r for n, r in case["references"].items() for i in range(20)}
    groups = {name: name.split()[0] for name in references}
    narrow = scored(predictions, references, rng)["ROUGE-L"].interval
    wide = scored(predictions, references, rng, groups=groups)["ROUGE-L"].interval
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    with pytest.raises(InputError, match="without a group"):
        score_captions(predictions, references, rng=rng, groups={})


@pytest.fixture
def caption_files(tmp_path):
    case = GOLDEN["sets"]["plain"]
    own, theirs = tmp_path / "own.json", tmp_path / "references.jsonl"
    own.write_text(json.dumps(case["predictions"]), "utf-8")
    lines = [
        json.dumps({"video_name": name, "A": text, "group": name})
        for name, group in case["references"].items()
        for text in group
    ]
    theirs.write_text("\n".join(lines) + "\n", "utf-8")
    return own, theirs


def test_command(caption_files, tmp_path, capsys):
    own, theirs = map(str, caption_files)
    args = ["captions", own, theirs, "--samples", "100"]
    assert main([*args, "--cards", str(tmp_path / "cards"), "--method", "LVLM"]) == 0
    text = capsys.readouterr().out
    assert "| BLEU-4 | 23.3 [" in " ".join(text.split())
    cards = {card.metric: card for _, card in read_cards(tmp_path / "cards")}
    assert set(cards) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"}
    assert cards["CIDEr-D"].value == pytest.approx(GOLDEN["sets"]["plain"]["scores"]["CIDEr-D"])
    assert main([*args, "--scores", str(tmp_path / "scores.jsonl")]) == 0
    lines = (tmp_path / "scores.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 10
    assert json.loads(lines[0])["metric"] == "ROUGE-L"
    capsys.readouterr()
    assert main([*args, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n"] == 5


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"open": 3}', "record 0: int where text is expected"),
        ('[{"open": "x"}]', "record 0: none of the fields name"),
        ("[1]", "expected a JSON object of texts by clip"),
        ("{", "not readable as JSON"),
        ("{}", "no predictions"),
        ('[{"name": "a", "pred": "x"}, {"name": "a", "pred": "y"}]', "'a' is predicted twice"),
    ],
)
def test_command_refuses_bad_files(caption_files, capsys, content, text):
    own, theirs = caption_files
    own.write_text(content, "utf-8")
    assert main(["captions", str(own), str(theirs)]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert "own.json" in error
    assert error.count("\n") == 1


def test_bad_json_line_is_named(caption_files, capsys):
    own, theirs = caption_files
    theirs.write_text('{"name": "a", "caption": "x"}\n{"name"\n', "utf-8")
    assert main(["captions", str(own), str(theirs)]) == 2
    assert "references.jsonl, line 2: not JSON" in capsys.readouterr().err


JAVA = """#!/bin/sh
case "$*" in
-version) echo 'openjdk version "1.8.0_292"' >&2 ;;
*meteor*)
  n=0
  while read -r line; do
    case "$line" in
    SCORE*) n=$((n + 1)); echo "stat $n" ;;
    EVAL*) i=0; while [ $i -lt $n ]; do i=$((i + 1)); echo "0.$i"; done; echo "0.5" ;;
    esac
  done ;;
*broken-spice*)
  echo "Parsing reference captions
Error: Could not score batched file input:
java.lang.NullPointerException: nothing there
	at edu.anu.spice.SpiceScorer.main(SpiceScorer.java:60)" >&2
  exit 1 ;;
*spice*) echo '[{"image_id": 0, "scores": {"All": {"f": 0.25}}}]' > "$6" ;;
*) echo "Could not find or load main class" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def java(tmp_path, monkeypatch):
    """A stand-in for Java that speaks the two programs' protocols."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(JAVA, "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "lib").mkdir()
    parts = ("lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar")
    for name in ("meteor-1.5.jar", "spice-1.0.jar", "broken-spice.jar", "other.jar", *parts):
        (tmp_path / name).write_bytes(b"jar")
    return tmp_path


def test_java_protocols(java):
    own, theirs = [["a", "b"], ["c"]], [[["a"]], [["b"], ["c"]]]
    assert meteor(own, theirs, java / "meteor-1.5.jar") == pytest.approx([0.1, 0.2])
    assert spice(own[:1], theirs[:1], java / "spice-1.0.jar") == pytest.approx([0.25])
    for run in (meteor, spice):
        with pytest.raises(JavaError, match="Could not find or load main class"):
            run(own, theirs, java / "other.jar")
        with pytest.raises(MissingFileError, match="pip install pycocoevalcap"):
            run(own, theirs, java / "none.jar")


def test_spice_says_what_is_wrong(java):
    own, theirs = [["a"]], [[["a"]]]
    with pytest.raises(JavaError, match=r"SPICE failed: java.lang.NullPointerException: nothing"):
        spice(own, theirs, java / "broken-spice.jar")
    (java / "lib" / "stanford-corenlp-3.6.0-models.jar").unlink()
    with pytest.raises(MissingFileError, match=r"lib: SPICE needs stanford-corenlp-3.6.0-models"):
        spice(own, theirs, java / "spice-1.0.jar")


@pytest.mark.parametrize(
    ("version", "text"),
    [('version "17.0.15"', "Java 17; SPICE runs with Java 8 to 14 only"), ("no", "openjdk no")],
)
def test_spice_refuses_newer_java(java, version, text):
    program = java / "bin" / "java"
    program.write_text(program.read_text("utf-8").replace('version "1.8.0_292"', version), "utf-8")
    with pytest.raises(JavaError, match=text):
        spice([["a"]], [[["a"]]], java / "spice-1.0.jar")


def test_without_java(java, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(JavaError, match="apt-get install default-jre-headless"):
        meteor([["a"]], [[["a"]]], java / "meteor-1.5.jar")


def test_real_meteor():
    package = pytest.importorskip("pycocoevalcap", reason="brings METEOR's jar; not installed")
    case = GOLDEN["sets"]["plain"]
    own = [caption_tokens(text) for text in case["predictions"].values()]
    theirs = [[caption_tokens(t) for t in group] for group in case["references"].values()]
    jar = Path(package.__path__[0]) / "meteor" / "meteor-1.5.jar"
    assert meteor(own, theirs, jar) == pytest.approx(case["each"]["METEOR"], abs=1e-6)
