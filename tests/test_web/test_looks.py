"""Light and dark, desktop and phone, and names of all kinds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from web_browser import recognize


def test_many_long_and_foreign_names(page, clip):
    page.size(390, 844, mobile=True)
    names = ["食べる", "махать рукой", "يشرب الماء", "x" * 200, "<b>bold</b> & 'quoted'"]
    names += [f"action number {n}" for n in range(995)]
    page.choose("top", "")
    page.give("file", clip)
    page.until("$('video').readyState >= 1")
    page.paste("classes", "\n".join(names))
    assert page.js("said('classes-count')") == "1000 classes"
    page.click("run")
    page.until("seen('ranking-box')")
    shown = page.js("[...document.querySelectorAll('#ranking .name')].map((n) => n.textContent)")
    assert sorted(shown) == sorted(names)
    assert page.js("document.querySelector('#ranking b')") is None
    assert page.js("document.documentElement.scrollWidth") <= 390
    assert page.js("$('results').offsetHeight") < 844  # long lists scroll in themselves


CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
  };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own && !e.matches('select, input, textarea') || !e.checkVisibility()) continue;
    if (e.matches(':disabled, option')) continue;
    const pair = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const [a, b] = pair.sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push([e.tagName, e.id, ratio]);
  }
  return low;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_looks(page, clip, scheme, width):
    page.size(width, 844, mobile=width < 600)
    page.scheme(scheme)
    recognize(page, clip)
    page.js("document.querySelectorAll('.error').forEach((e) => e.textContent = 'Wrong.')")
    assert page.js(CONTRAST) == []
    assert page.js("document.documentElement.scrollWidth") <= width
    dark = page.js("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 27)"
    assert dark == (scheme == "dark")
    unnamed = page.js(
        "[...document.querySelectorAll('select, input, textarea')]"
        ".filter((e) => !e.labels.length).map((e) => e.id)"
    )
    assert unnamed == []
    if width == 390:  # wide enough for a thumb
        small = page.js(
            "[...document.querySelectorAll('button, select, input')].filter((e) =>"
            " e.checkVisibility() && e.parentElement.id !== 'windows'"
            " && e.getBoundingClientRect().height < 40).map((e) => e.id)"
        )
        assert small == []
    if folder := os.environ.get("SKI_WEB_PICTURES"):
        page.js("document.querySelectorAll('.error').forEach((e) => e.textContent = '')")
        page.until("$('video').readyState >= 2")
        page.picture(Path(folder) / f"{scheme}_{width}.png")
