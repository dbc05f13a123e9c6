"""Reports as one HTML file: no other file, no network, no script; readable on a phone.

Everything given to a `Report` is shown as text: markup in names and captions is escaped. Pictures
are embedded. The page follows the reader's light or dark setting; figures keep a white ground.
"""

from __future__ import annotations

import base64
import html
import re
import struct
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path

from ski_eval import files
from ski_eval.errors import InputError

_NUMBER = re.compile(r"[-+±(]?\s*\d[\d.,]*\s*[%)]?(\s*(\[[^\]]*\]|±.*|\w{1,3}))?")
_PNG = b"\x89PNG\r\n\x1a\n"
_PHONE = 330  # what a phone leaves for a picture, in CSS pixels
PICTURE_LIMIT = 4_000_000
"""Largest picture, in bytes: everything is embedded and read at once."""


class Report:
    """An HTML report, built from top to bottom.

    `add_text` with a heading opens a section; tables, figures and galleries go into the section
    that is open. `write` makes the file.
    """

    def __init__(self, title: str, subtitle: str = "", language: str = "en") -> None:
        if not title.strip():
            raise InputError("report: the title is empty")
        self.title, self.subtitle, self.language = title, subtitle, language
        self._warnings: list[str] = []
        self._sections: list[tuple[str, list[str]]] = [("", [])]
        self._count = 0

    def add_warning(self, text: str) -> None:
        """A banner at the top of the page, e.g. that figures cannot be compared with a paper."""
        self._warnings.append(_inline(text))

    def add_text(self, heading: str, text: str = "") -> None:
        """Open a section (or, with an empty heading, go on in the open one) with ``text``.

        Empty lines part paragraphs; lines that start with ``- `` make a list; ``**bold**`` and
        ```code``` are marked up; all else is shown as it stands.
        """
        if heading.strip():
            self._sections.append((heading, []))
        self._add(_paragraphs(text))

    def add_facts(self, facts: Sequence[tuple[str, str, str]]) -> None:
        """Headline figures as tiles: (what, figure, small print) of each."""
        tiles = "".join(
            f"<div><dt>{_text(what)}</dt><dd><strong>{_text(figure)}</strong>"
            f"<small>{_text(small)}</small></dd></div>"
            for what, figure, small in facts
        )
        self._add(f'<dl class="facts">{tiles}</dl>')

    def add_table(
        self,
        caption: str,
        headers: Sequence[str],
        rows: Sequence[Sequence[object]],
        highlight: Collection[int] = (),
    ) -> None:
        """A table; the first column holds the rows' headings, ``highlight`` names rows to mark.

        Raises:
            InputError: no headers, a row with another number of cells, a marked row not there.
        """
        if not headers:
            raise InputError(f"table {caption!r}: no headers")
        cells = [[str(cell) for cell in row] for row in rows]
        for i, row in enumerate(cells):
            if len(row) != len(headers):
                raise InputError(
                    f"table {caption!r}: row {i} has {len(row)} cells for {len(headers)} headers"
                )
        if any(i not in range(len(cells)) for i in highlight):
            raise InputError(f"table {caption!r}: highlight {list(highlight)} of {len(cells)} rows")
        right = [
            c > 0 and all(_NUMBER.fullmatch(row[c]) or len(row[c]) < 2 for row in cells)
            for c in range(len(headers))
        ]
        align = [' class="number"' if flag else "" for flag in right]
        head = "".join(
            f'<th scope="col"{a}>{_text(h)}</th>' for h, a in zip(headers, align, strict=True)
        )
        body = ""
        for i, row in enumerate(cells):
            data = "".join(
                f"<td{a}>{_text(cell)}</td>" for cell, a in zip(row[1:], align[1:], strict=True)
            )
            mark = ' class="marked"' if i in highlight else ""
            body += f'<tr{mark}><th scope="row">{_text(row[0])}</th>{data}</tr>\n'
        self._count += 1
        label = f"table-{self._count}"
        self._add(
            f'<div class="wide" role="region" tabindex="0" aria-labelledby="{label}">\n'
            f'<table><caption id="{label}"><span>{_inline(caption)}</span></caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
        )

    def add_figure(self, caption: str, picture: bytes, alt: str) -> None:
        """A figure (SVG, PNG or JPEG bytes); ``alt`` says in words what it shows.

        Raises:
            InputError: none of these, too large, or no ``alt``.
        """
        source, width = _embedded(picture, caption)
        _need_alt(alt, caption)
        # On a narrow screen a wide figure scrolls inside its card rather than become unreadable.
        least = min(width, max(300, round(0.62 * width)))
        style = f"width:{width}px;min-width:{least}px"
        kind = "card scrolls" if least > _PHONE else "card"
        self._add(
            f'<figure class="{kind}"><div class="plot" role="region" tabindex="0" '
            f'aria-label="{_text(_bare(caption))}">'
            f'<img src="{source}" alt="{_text(alt)}" style="{style}"></div>'
            f"<figcaption>{_inline(caption)}</figcaption></figure>"
        )

    def add_gallery(
        self, caption: str, items: Sequence[tuple[bytes, str, str]], *, wide: bool = False
    ) -> None:
        """Small pictures side by side: (PNG, JPEG or SVG bytes, label, alt) of each.

        ``wide`` gives each half the width of the page, for pictures with words in them.

        Raises:
            InputError: no items, or as in `add_figure`.
        """
        if not items:
            raise InputError(f"gallery {caption!r}: no pictures")
        entries = ""
        for picture, label, alt in items:
            source, _ = _embedded(picture, label)
            _need_alt(alt, label)
            entries += (
                f'<li><figure><img src="{source}" alt="{_text(alt)}">'
                f"<figcaption>{_inline(label)}</figcaption></figure></li>\n"
            )
        self._add(
            f'<p class="caption">{_inline(caption)}</p>\n'
            f'<ul class="gallery{" words" if wide else ""}">\n{entries}</ul>'
        )

    def html(self) -> str:
        """The whole page."""
        style = resources.files("ski_eval").joinpath("report.css").read_text(encoding="utf-8")
        warnings = "".join(
            f'<p class="warning"><strong>Note</strong> {text}</p>\n' for text in self._warnings
        )
        parts, links = [], []
        for i, (heading, blocks) in enumerate(self._sections):
            body = "\n".join(blocks)
            if not heading:
                parts.append(body)
                continue
            links.append(f'<li><a href="#part-{i}">{_text(heading)}</a></li>')
            parts.append(
                f'<section aria-labelledby="part-{i}">\n'
                f'<h2 id="part-{i}">{_text(heading)}</h2>\n{body}\n</section>'
            )
        contents = (
            f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>' if len(links) > 1 else ""
        )
        subtitle = f'<p class="subtitle">{_inline(self.subtitle)}</p>' if self.subtitle else ""
        return (
            f'<!DOCTYPE html>\n<html lang="{_text(self.language)}">\n<head>\n'
            '<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
            f"<title>{_text(self.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
            '<a class="skip" href="#main">Skip to the results</a>\n'
            f"<header><h1>{_text(self.title)}</h1>\n{subtitle}\n{warnings}{contents}</header>\n"
            '<main id="main">\n' + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
        )

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page to ``path`` in one step.

        Raises:
            ExistingOutputError: the file holds something else and ``overwrite`` is not set.
        """
        return files.write_bytes(path, self.html().encode("utf-8"), overwrite=overwrite)

    def _add(self, block: str) -> None:
        if block:
            self._sections[-1][1].append(block)


def _text(value: object) -> str:
    """``value`` escaped for element content and quoted attributes."""
    return html.escape(str(value), quote=True)


def _inline(text: str) -> str:
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))
    pieces = re.split(r"(<code>.*?</code>)", marked)
    return "".join(
        piece if piece.startswith("<code>") else re.sub(r"\*\*(.+?)\*\*", _bold, piece)
        for piece in pieces
    )


def _bold(match: re.Match[str]) -> str:
    return f"<strong>{match.group(1)}</strong>"


def _bare(text: str) -> str:
    return text.replace("**", "").replace("`", "")


def _paragraphs(text: str) -> str:
    blocks: list[str] = []
    for chunk in re.split(r"\n\s*\n", text.strip()):
        items: list[str] = []
        lines: list[str] = []
        for line in (part.strip() for part in chunk.splitlines()):
            if line.startswith("- "):
                items.append(line[2:])
            elif items:
                items[-1] += f" {line}"
            elif line:
                lines.append(line)
        if lines:
            blocks.append(f"<p>{_inline(' '.join(lines))}</p>")
        if items:
            blocks.append("<ul>" + "".join(f"<li>{_inline(i)}</li>" for i in items) + "</ul>")
    return "\n".join(blocks)


def _need_alt(alt: str, what: str) -> None:
    if not alt.strip():
        raise InputError(f"picture {what!r}: no alt text; say in words what it shows")


def _embedded(picture: bytes, what: str) -> tuple[str, int]:
    """Data URI of an SVG, PNG or JPEG and its width in CSS pixels."""
    if len(picture) > PICTURE_LIMIT:
        raise InputError(
            f"picture {what!r}: {len(picture) / 1e6:.1f} MB; allowed: {PICTURE_LIMIT / 1e6:.0f} MB "
            "each, make it smaller"
        )
    if picture.startswith(_PNG) and len(picture) > 24:
        kind, width = "png", struct.unpack(">I", picture[16:20])[0]
    elif picture.startswith(b"\xff\xd8\xff"):
        kind, width = "jpeg", _jpeg_width(picture, what)
    elif b"<svg" in picture[:1000]:
        kind = "svg+xml"
        found = re.search(rb'<svg[^>]*?\swidth="([\d.]+)(pt|px)?"', picture[:4000])
        scale = 4 / 3 if found and found.group(2) == b"pt" else 1.0
        width = round(float(found.group(1)) * scale) if found else 640
    else:
        raise InputError(
            f"picture {what!r}: neither SVG nor PNG nor JPEG; give such a file's bytes"
        )
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}", int(width)


def _jpeg_width(picture: bytes, what: str) -> int:
    """Width of a JPEG from its start-of-frame segment."""
    place = 2
    while place + 9 <= len(picture) and picture[place] == 0xFF:
        kind = picture[place + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(picture[place + 7 : place + 9], "big")
        place += 2 + int.from_bytes(picture[place + 2 : place + 4], "big")
    raise InputError(f"picture {what!r}: a damaged JPEG")
