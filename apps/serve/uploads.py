"""Forms as they stream in: limits hold from the first byte on, and no file outlives its request.

A video goes to a file of a random name in a folder that only this user can look into; what the
client calls it is read by nobody.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from apps.serve.errors import BadInputError, ServeError, TooLargeError, WrongFieldError

VIDEO = "video"
MAX_TEXT = 4 << 20
"""Bytes of all text fields of a form, with their headers and borders."""
_MAX_PARTS = 32


@dataclass
class Form:
    """What a client sent."""

    video: Path | None = None
    """The temporary file."""
    texts: dict[str, str] = field(default_factory=dict)
    size: int = 0
    """Bytes of the body."""


class Uploads:
    """The private folder of temporary files; :meth:`close` removes it with all that is in it.

    Args:
        max_bytes: of one video.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.folder = Path(tempfile.mkdtemp(prefix="ski-serve-"))  # mode 0700

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what is made on the way to an answer; removed at the end."""
        with tempfile.TemporaryDirectory(dir=self.folder) as found:
            yield Path(found)

    @asynccontextmanager
    async def form(self, request: Request, known: Collection[str]) -> AsyncIterator[Form]:
        """The request's form; its video is removed at the end, whatever happens.

        Args:
            request: with its body unread.
            known: names of the fields that are taken.

        Raises:
            TooLargeError: as soon as more bytes came than are allowed.
            BadInputError: a body that is no form, or breaks off.
            WrongFieldError: fields that are unknown, given twice, or not UTF-8.
        """
        parts = _Parts(self, known)
        try:
            await self._read(request, parts)
            yield parts.form
        finally:
            parts.close()

    async def _read(self, request: Request, parts: _Parts) -> None:
        limit = self.max_bytes + MAX_TEXT
        if int(request.headers.get("content-length") or 0) > limit:
            raise self.too_large()
        parser = _parser(request.headers.get("content-type", ""), parts)
        try:
            async for chunk in request.stream():
                parts.form.size += len(chunk)
                if parts.form.size > limit:
                    raise self.too_large()
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise BadInputError(
                f"the body is not a well-formed multipart/form-data form ({error})", _FORM
            ) from None
        except OSError as error:
            raise ServeError(
                503, f"the video cannot be kept while it is read ({error.strerror})", "a later try"
            ) from None
        if not parts.ended:
            raise BadInputError("the body breaks off before its last border", _FORM)

    def too_large(self) -> TooLargeError:
        """More bytes than are allowed."""
        return TooLargeError(
            "the body is larger than this server takes",
            f"a video of at most {self.max_bytes} bytes ({self.max_bytes / 2**20:.3g} MiB)",
        )


_FORM = "multipart/form-data with a boundary, as `curl -F video=@FILE` sends it"


def _parser(content_type: str, parts: _Parts) -> MultipartParser:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadInputError("the body is not multipart/form-data with a boundary", _FORM)
    try:
        return MultipartParser(boundary, parts.callbacks())
    except FormParserError as error:
        raise BadInputError(f"the form's boundary cannot be used ({error})", _FORM) from None


class _Parts:
    """Takes the parser's events."""

    def __init__(self, uploads: Uploads, known: Collection[str]) -> None:
        self.uploads, self.known, self.form = uploads, known, Form()
        self.ended = False
        self._count = self._text = self._written = 0
        self._header, self._value = b"", b""
        self._disposition = b""
        self._name: str | None = None
        self._buffer = bytearray()
        self._file: BinaryIO | None = None

    def callbacks(self) -> dict:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_begin": self._header_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._all,
        }

    def close(self) -> None:
        """Close and remove the file."""
        if self._file is not None:
            self._file.close()
        if self.form.video is not None:
            self.form.video.unlink(missing_ok=True)

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MAX_PARTS:
            raise WrongFieldError("too many fields", self._allowed())
        self._disposition, self._name, self._buffer = b"", None, bytearray()

    def _header_begin(self) -> None:
        self._header, self._value = b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in self.known:
            raise WrongFieldError("a field of a name that is not known here", self._allowed())
        if name in self.form.texts or (name == VIDEO and self.form.video is not None):
            raise WrongFieldError(f"the field {name} is given twice", "each field once")
        self._name = name
        if name == VIDEO:
            handle, path = tempfile.mkstemp(dir=self.uploads.folder)  # mode 0600
            self.form.video, self._file = Path(path), os.fdopen(handle, "wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == VIDEO:
            assert self._file is not None
            self._written += end - start
            if self._written > self.uploads.max_bytes:
                raise self.uploads.too_large()
            self._file.write(data[start:end])
            return
        self._text += end - start
        if self._text > MAX_TEXT:
            raise TooLargeError("the text fields are too long", f"at most {MAX_TEXT} bytes")
        self._buffer += data[start:end]

    def _end(self) -> None:
        if self._name == VIDEO:
            assert self._file is not None
            self._file.close()
            return
        assert self._name is not None
        try:
            self.form.texts[self._name] = self._buffer.decode("utf-8")
        except UnicodeDecodeError:
            raise WrongFieldError(f"the field {self._name} is not UTF-8", "UTF-8 text") from None

    def _all(self) -> None:
        self.ended = True

    def _allowed(self) -> str:
        return "the fields " + ", ".join(sorted(self.known))
