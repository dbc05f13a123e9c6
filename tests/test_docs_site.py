"""The documentation site: nothing left out, nothing kept twice, nothing from other hosts.

The slow part builds it as ``.ci/run`` does, in the environment ``docs``, and opens every page.
"""

from __future__ import annotations

import ast
import functools
import http.server
import json
import posixpath
import re
import shutil
import subprocess
import threading
from html import unescape
from pathlib import Path

import pytest
import yaml

from tools import diagrams, docs_recipes, docs_site

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HATCH = shutil.which("hatch")
LINK = re.compile(r"\]\(([^()\s#]+)[^()\s]*\)")


@pytest.fixture(scope="module")
def settings():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def named(nav):
    """Pages of a part of the navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in named(part)]


def pages():
    """Every page of the site and its Markdown, with links as they are in the site."""
    made = {there: here for here, there in docs_site.sources().items()}
    found = docs_site.generated()
    for path in (ROOT / "docs").rglob("*.md"):
        found[path.relative_to(ROOT / "docs").as_posix()] = path.read_text(encoding="utf-8")
    return {
        page: docs_site.relink(text, made[page]) if page in made else text
        for page, text in found.items()
    }


def test_navigation_names_every_page_once(settings):
    there = named(settings["nav"])
    assert sorted(there) == sorted(set(there))
    assert sorted(there) == sorted(pages())


def test_links_of_the_site_lead_to_its_files():
    files = {*pages(), *docs_site.sources().values()}
    for page, text in pages().items():
        without = docs_site.PIECE.sub(lambda m: m[0] if m["target"] else "", text)
        for target in LINK.findall(without):
            if not re.match(r"[a-z]+:", target):
                there = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
                assert there in files, f"{page}: {target}"


def test_index_leads_to_every_page_of_ours():
    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / target).resolve() for target in LINK.findall(text)}
    ours = {path.resolve() for path in (ROOT / "docs").rglob("*.md")}
    readmes = {*ROOT.glob("packages/*/README.md"), *ROOT.glob("benchmarks/*/README.md")}
    assert ours | readmes <= linked | {ROOT / "docs/index.md"}


def test_links_to_what_is_no_page_become_text():
    text = "See [the table](../tests/test_layering.py), [`tools`](../tools), `[a](b.md)`.\n"
    assert docs_site.relink(text, "docs/layout.md") == (
        "See the table (`tests/test_layering.py`), `tools`, `[a](b.md)`.\n"
    )
    block = "```\n[a](nothing.md)\n```\n"
    assert docs_site.relink(block, "docs/layout.md") == block
    assert (
        docs_site.relink("[x](../../docs/axes.md#units)", "packages/ski-vlm/README.md")
        == "[x](../axes.md#units)"
    )
    with pytest.raises(ValueError, match=r"docs/layout.md: the link to no.md leads to nothing"):
        docs_site.relink("[no](no.md)", "docs/layout.md")


def test_reference_has_the_interface_that_pages_import():
    known = {
        f"{package.replace('-', '_')}.{module}".rstrip(".")
        for package, modules in docs_site.REFERENCE.items()
        for module in modules
    }
    for name in known:
        path = name.replace(".", "/")
        package = name.partition(".")[0].replace("_", "-")
        source = ROOT / "packages" / package / "src" / path
        assert source.with_suffix(".py").is_file() or (source / "__init__.py").is_file(), name
    tutorials = {"docs/extending.md", "docs/train-on-ntu.md"}  # they show inner parts
    wanted = set()
    for here in docs_site.sources():
        if here.endswith(".md") and here not in tutorials:
            text = (ROOT / here).read_text(encoding="utf-8")
            for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
                for node in ast.walk(ast.parse(block)):
                    if isinstance(node, ast.ImportFrom):
                        wanted.add(node.module)
    wanted = {module for module in wanted if module.startswith("ski_")}
    assert wanted <= known


def test_names_in_docstrings():
    html = "<p>as :class:<code>~a.b.C</code>, :func:<code>f</code> and :meth:<code>g()</code></p>"
    assert docs_site.named(html) == (
        '<p>as <autoref optional identifier="a.b.C"><code>C</code></autoref>,'
        " <code>f</code> and <code>g</code></p>"
    )


def test_diagrams_are_those_of_their_program():
    for name, draw in diagrams.DIAGRAMS.items():
        stored = (diagrams.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
        assert stored == draw().svg(), f"{name}: run `python tools/diagrams.py`"
        assert "http" not in stored.replace("http://www.w3.org/2000/svg", "")


def test_runs_that_recipes_start_from_have_recipes():
    paths = list(ROOT.glob("packages/*/src/*/recipes/*.yaml"))
    names = {path.stem for path in paths}
    missing = {
        (path.name, run)
        for path in paths
        for run in re.findall(r"\bruns/([^/\s,}]+)", path.read_text(encoding="utf-8"))
        if run not in names
    }
    assert missing == set()


def test_recipes_are_those_of_the_packages():
    stored = docs_recipes.PAGE.read_text(encoding="utf-8")
    assert stored == docs_recipes.page(), "run `python -m tools.docs_recipes`"
    count = sum(map(int, re.findall(r"^## .*: (\d+) recipes$", stored, re.MULTILINE)))
    assert count == len(list(ROOT.glob("packages/*/src/*/recipes/*.yaml")))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors."""
    if HATCH is None:
        pytest.skip("needs hatch, which makes the environment docs")
    folder = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [HATCH, "run", "docs:build", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_lists_tables_and_blocks_are_read_as_such(site):
    for path in site.rglob("*.html"):
        text = re.sub(
            r"<(pre|code|script|style)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.S
        )
        role = re.search(r":(?:attr|class|data|exc|func|meth|mod|obj):.*", text)
        assert role is None, f"{path.relative_to(site)}: {role}"
        for paragraph in re.findall(r"<p>(.*?)</p>", text, re.DOTALL):
            left = re.search(r"\n *(?:[-*] |\d+\. |\||```)|^(?:\||```)", paragraph)
            assert left is None, f"{path.relative_to(site)}: {paragraph[:200]}"


@pytest.mark.slow
def test_nothing_is_loaded_from_other_hosts(site):
    loading = re.compile(r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=\"(?:https?:)?//[^\"]*")
    styles = re.compile(r"<link\b(?![^>]*rel=\"canonical\")[^>]*\bhref=\"(?:https?:)?//[^\"]*")
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert loading.findall(text) + styles.findall(text) == [], path.relative_to(site)
    for path in site.rglob("*.css"):
        found = re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", path.read_text("utf-8"))
        assert found == [], path.relative_to(site)


OPENER = """<!doctype html><title>at work</title><script>
const pages = PAGES, found = {};
addEventListener("load", async () => {
  for (const page of pages) {
    const frame = document.createElement("iframe");
    frame.style = "border:0;height:800px;width:WIDTHpx";
    frame.src = page;
    await new Promise((done) => { frame.onload = done; document.body.append(frame); });
    await new Promise((done) => setTimeout(done, 150));
    const inner = frame.contentDocument, view = frame.contentWindow;
    found[page] = {
      title: inner.querySelector("h1")?.innerText ?? "",
      width: inner.documentElement.scrollWidth,
      lost: [...inner.images].filter((image) => !image.naturalWidth).map((image) => image.src),
      hosts: view.performance.getEntriesByType("resource").map((entry) => new URL(entry.name).host),
      page: view.getComputedStyle(inner.body).backgroundColor,
    };
    frame.remove();
  }
  document.title = JSON.stringify(found);
});
</script><body></body>
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_pages_open_without_an_error(site, tmp_path, width, dark):
    """On a phone and on a desktop: no console error, no other host, nothing wider than the page."""
    names = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]
    names.remove("404.html")  # its addresses begin at the root of the host that has it
    opener = OPENER.replace("PAGES", json.dumps(names)).replace("WIDTH", str(width))
    (site / "opener.htm").write_text(opener, encoding="utf-8")
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(
            [
                CHROMIUM,
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--enable-logging=stderr",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--window-size={max(width, 1400)},900",
                f"--user-data-dir={tmp_path / 'profile'}",
                *("--virtual-time-budget=600000", "--timeout=600000", "--dump-dom"),
                f"http://127.0.0.1:{server.server_port}/opener.htm",
            ],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    finally:
        server.shutdown()
        server.server_close()
    told = re.search(r"<title>(\{.*\})</title>", done.stdout)
    assert told, done.stderr[-3000:]
    found = json.loads(unescape(told[1]))
    assert sorted(found) == sorted(names)
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
    for name, page in found.items():
        assert page["title"], name
        assert page["width"] <= width, name
        assert page["lost"] == [], name
        assert set(page["hosts"]) <= {f"127.0.0.1:{server.server_port}"}, name
        light = sum(map(int, re.findall(r"\d+", page["page"])[:3])) / 765
        assert light < 0.3 if dark else light > 0.9, name
