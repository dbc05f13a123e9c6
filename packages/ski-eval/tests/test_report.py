from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_eval import ExistingOutputError, InputError, Report, accuracy_bars_figure

VOID = {"meta", "img", "br", "link", "input", "hr"}
SVG = accuracy_bars_figure([("a", 0.5, None)])
PNG = accuracy_bars_figure([("a", 0.5, None)], form="png")
NASTY = "<script>alert('x')</script> \"quoted\" & 'more' --> </style>"


class Page(HTMLParser):
    """Collects tags, text and attributes; fails on tags that do not balance."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def full_report(word: str = "plain") -> Report:
    report = Report(f"Title {word}", f"Subtitle {word}")
    report.add_warning(f"Warning {word}")
    report.add_facts([(f"what {word}", f"80 % {word}", f"small {word}")])
    report.add_text(f"First {word}", f"One {word}.\n\n- item {word}\n- two\n  goes on")
    report.add_table(f"Table {word}", ["a", f"b {word}"], [[word, "1.0"], ["x", word]], [1])
    report.add_text(f"Second {word}")
    report.add_figure(f"Figure {word}", SVG, f"alt {word}")
    report.add_gallery(f"Gallery {word}", [(PNG, f"label {word}", f"alt {word}"), (SVG, "b", "c")])
    return report


def test_page_is_well_formed_and_complete():
    page = Page(full_report().html())
    names = [tag for tag, _ in page.tags]
    assert names.count("h1") == names.count("main") == names.count("title") == 1
    assert names.count("h2") == names.count("section") == 2
    assert page.all("html")[0]["lang"] == "en"
    for word in ("Title", "Subtitle", "Warning", "what", "80 %", "First", "One", "Table", "label"):
        assert f"{word} plain" in page.text
    assert "item plain two goes on" in page.text


def test_accessibility_of_the_page():
    page = Page(full_report().html())
    assert all(attrs.get("alt", "").strip() for attrs in page.all("img"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    for attrs in page.all("a"):
        assert attrs["href"].removeprefix("#") in identifiers
    labelled = [attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs]
    assert set(labelled) <= set(identifiers)
    # What scrolls sideways can be reached and scrolled with the keyboard.
    regions = [attrs for _, attrs in page.tags if attrs.get("role") == "region"]
    assert len(regions) == 2
    assert all(attrs["tabindex"] == "0" for attrs in regions)


def test_nothing_is_fetched():
    source = full_report("plain").html()
    page = Page(source)
    assert not re.search(r"https?:|//", re.sub(r"base64,[A-Za-z0-9+/=]+", "", source))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(attrs["src"].startswith("data:image/") for attrs in page.all("img"))
    assert "url(" not in source
    assert "default-src 'none'" in source
    assert base64.b64encode(PNG).decode() in source


def test_light_and_dark():
    source = full_report().html()
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport" content="width=device-width' in source


@pytest.mark.parametrize("word", [NASTY, "<b>", "`a` **b**", "{x}", "\\1"])
def test_everything_is_escaped(word):
    clean, page = Page(full_report().html()), Page(full_report(word).html())
    count = [tag for tag, _ in page.tags if tag not in ("code", "strong")]
    assert count == [tag for tag, _ in clean.tags if tag not in ("code", "strong")]
    assert " ".join(f"Title {word}".split()) in page.text


@given(st.text(max_size=60))
def test_any_text_keeps_the_page_well_formed(word):
    page = Page(full_report(word or "x").html())
    assert page.all("h1")


def test_markup():
    report = Report("t")
    report.add_text("h", "A **bold** and `co**de**` word.\nSame paragraph.\n\nNext.")
    source = report.html()
    assert "A <strong>bold</strong> and <code>co**de**</code> word. Same paragraph.</p>" in source
    assert "<p>Next.</p>" in source


def test_text_without_heading_goes_on_in_the_section():
    report = Report("t")
    report.add_text("", "before")
    report.add_text("h")
    report.add_text("", "inside")
    source = report.html()
    places = [source.index(part) for part in ("before", "<section", "<p>inside", "</section>")]
    assert places == sorted(places)


def test_numbers_stand_to_the_right():
    report = Report("t")
    rows = [["x", "81.2 [78.0, 84.1]", "word", "+1.5 %"], ["y", "", "1", "-2"]]
    report.add_table("c", ["a", "b", "c", "d"], rows)
    classes = [attrs.get("class") for attrs in Page(report.html()).all("td")]
    assert classes == ["number", None, "number"] * 2


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda r: r.add_figure("c", b"GIF89a", "alt"), "neither SVG nor PNG"),
        (lambda r: r.add_figure("c", b"", "alt"), "neither SVG nor PNG"),
        (lambda r: r.add_figure("c", SVG, " "), "no alt text"),
        (lambda r: r.add_gallery("c", []), "no pictures"),
        (lambda r: r.add_gallery("c", [(PNG, "l", "")]), "no alt text"),
        (lambda r: r.add_table("c", [], []), "no headers"),
        (lambda r: r.add_table("c", ["a"], [["x", "y"]]), "2 cells for 1 headers"),
        (lambda r: r.add_table("c", ["a"], [["x"]], [1]), "highlight"),
        (lambda r: Report(" "), "title is empty"),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(InputError, match=text):
        call(Report("t"))


def test_write(tmp_path):
    path = full_report().write(tmp_path / "out" / "report.html")
    assert path.read_text(encoding="utf-8") == full_report().html()
    with pytest.raises(ExistingOutputError):
        full_report("other").write(path)
    full_report("other").write(path, overwrite=True)
    assert "Title other" in path.read_text(encoding="utf-8")


def test_pictures_with_words_get_half_the_page():
    report = Report("t")
    report.add_gallery("small", [(PNG, "a", "a")])
    report.add_gallery("readable", [(PNG, "a", "a")], wide=True)
    page = report.html()
    assert page.count('<ul class="gallery">') == 1
    assert page.count('<ul class="gallery words">') == 1
    assert ".gallery.words" in page
