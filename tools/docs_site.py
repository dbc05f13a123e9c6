"""What the documentation site has beyond ``docs/``: a hook of mkdocs, named in ``mkdocs.yml``.

READMEs, changelogs and the files about the project are pages of the site without a second copy of
them in git, and each package has a page of its public Python interface, made from docstrings. Links
in all of these and in ``docs/`` are written for a git host, relative to the file. Here they lead to
the page of the same content; a link to a file or folder that is no page becomes its text, with the
path in the repository beside it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ski-data", "ski-eval", "ski-skeleton", "ski-vlm", "ski-lvlm")

REFERENCE: dict[str, tuple[str, ...]] = {
    "ski-data": (
        "store",
        "layouts",
        "skeleton",
        "augment",
        "manifest",
        "splits",
        "classes",
        "paired",
        "video.decode",
        "video.guarded",
        "video.video_store",
        "video.transforms",
        "importer",
        "importing.mapping",
        "importing.coordinates",
        "instructions",
        "timed_labels",
        "synthetic.dataset",
        "command",
        "config",
        "progress",
        "text",
        "errors",
    ),
    "ski-eval": ("", "terminal"),
    "ski-skeleton": (
        "encoder",
        "encoders",
        "hyperformer",
        "stgcn",
        "shift_gcn",
        "skeleton_clip",
        "text",
        "train",
        "loading",
        "protocols",
        "c2vl",
        "zeroshot.methods",
        "device",
        "errors",
    ),
    "ski-vlm": (
        "",
        "students",
        "students.base",
        "distill",
        "align",
        "embed",
        "attention_map",
        "stream",
        "segments",
        "calibration",
        "export",
        "recipe",
        "errors",
    ),
    "ski-lvlm": (
        "projector",
        "tokens",
        "pooling",
        "prompts",
        "model",
        "caption",
        "chat",
        "feature_store",
        "recipe",
        "export",
        "errors",
    ),
}
"""Modules whose public names are the interface of a package, without its name; "" is the package.

Of a module with ``__all__`` these are the names in it."""

PIECE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}).*?^(?P=indent)(?P=fence)[ \t]*$"
    r"|(?P<picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)"
    r"|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)",
    re.MULTILINE | re.DOTALL,
)
"""A block of code, a link or a picture, or code in a line; whichever comes first."""


ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):<code>(~?)([\w.]+)(?:\(\))?</code>")
"""A name in a docstring, such as ``:class:`~package.module.Name```, as Markdown leaves it."""


def sources() -> dict[str, str]:
    """Pages by what they are made of: path in the repository to path in the site."""
    found = {
        "README.md": "project.md",
        "CONTRIBUTING.md": "contributing.md",
        "SECURITY.md": "security.md",
        "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    }
    for package in PACKAGES:
        found[f"packages/{package}/README.md"] = f"packages/{package}.md"
        found[f"packages/{package}/CHANGELOG.md"] = f"changes/{package}.md"
    for path in sorted(ROOT.glob("benchmarks/*/README.md")):
        found[path.relative_to(ROOT).as_posix()] = f"benchmarks/{path.parent.name}.md"
    for path in sorted(ROOT.glob("docs/**/*")):
        if path.is_file():
            found[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "docs").as_posix()
    return found


def reference(package: str) -> str:
    """Markdown of a package's page of its Python interface, for mkdocstrings."""
    name = package.replace("-", "_")
    lines = [
        f"# {package} in Python",
        "",
        "Made from the docstrings. Axis letters, shapes and units are those of",
        f"[Axes, shapes and units](../axes.md); the commands stand in [{package}](../packages/"
        f"{package}.md).",
    ]
    for module in REFERENCE[package]:
        lines += ["", f"::: {name}.{module}" if module else f"::: {name}"]
    return "\n".join(lines) + "\n"


def generated() -> dict[str, str]:
    """Pages that ``docs/`` does not have: path in the site to Markdown as its source has it."""
    found = {
        page: (ROOT / source).read_text(encoding="utf-8")
        for source, page in sources().items()
        if not source.startswith("docs/")
    }
    for package in PACKAGES:
        found[f"reference/{package}.md"] = reference(package)
    return found


def relink(markdown: str, source: str) -> str:
    """Links of a file of the repository as links of its page in the site.

    Args:
        markdown: Text of the file.
        source: Its path in the repository.

    Raises:
        ValueError: A link leads to nothing that is in the repository.
    """
    pages = sources()
    here = pages[source]

    def change(match: re.Match[str]) -> str:
        target, text = match["target"], match["text"]
        if not target or target.startswith("#") or re.match(r"[a-z]+:", target):
            return match[0]
        path, mark, fragment = target.partition("#")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / wanted).exists():
            raise ValueError(f"{source}: the link to {target} leads to nothing")
        if (ROOT / wanted / "README.md").is_file():
            wanted = posixpath.normpath(f"{wanted}/README.md")
        if wanted in pages:
            there = posixpath.relpath(pages[wanted], posixpath.dirname(here) or ".")
            return f"{match['picture']}[{text}]({there}{mark}{fragment})"
        return f"`{wanted}`" if text.strip("`") in wanted else f"{text} (`{wanted}`)"

    return PIECE.sub(change, markdown)


def named(html: str) -> str:
    """Names in docstrings as code, with a link where a name is whole and stands in the site."""

    def change(match: re.Match[str]) -> str:
        short, name = match.groups()
        shown = f"<code>{name.rpartition('.')[2] if short else name}</code>"
        if "." not in name:
            return shown
        return f'<autoref optional identifier="{name}">{shown}</autoref>'

    return ROLE.sub(change, html)


def on_config(config: MkDocsConfig) -> None:
    """Anchors of headings are those that a git host makes."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug


def slug(text: str, separator: str) -> str:
    """Anchor of a heading: lower case, without signs, spaces as ``separator``."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"<[^>]+>", "", text).strip().lower())
    return kept.replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for page, markdown in generated().items():
        files.append(File.generated(config, page, content=markdown))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to pages of the site."""
    del config, files
    made = {there: here for here, there in sources().items()}
    source = made.get(page.file.src_uri)
    return markdown if source is None else relink(markdown, source)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show names in docstrings."""
    del page, config, files
    return named(html)
