"""What a client is told: status, what is wrong, what is allowed; never a stack trace or a path."""

from __future__ import annotations

from pathlib import Path

from fastapi.responses import JSONResponse

from ski_data.errors import SkiDataError
from ski_lvlm.errors import SkiLvlmError
from ski_skeleton.errors import CheckpointError, SkiSkeletonError
from ski_vlm.errors import SkiVlmError

TYPED = (SkiDataError, SkiSkeletonError, SkiVlmError, SkiLvlmError)
"""Errors of the packages, whose texts are written for users."""


class ServeError(Exception):
    """An answer that is no result.

    Args:
        status: of HTTP.
        message: what is wrong.
        allowed: what would be right, or what to do.
        headers: of the answer.
    """

    def __init__(
        self, status: int, message: str, allowed: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.allowed = status, message, allowed
        self.headers = headers or {}

    def response(self) -> JSONResponse:
        """The error as JSON, ``{"error": {"message", "allowed"}}``."""
        body = {"error": {"message": self.message, "allowed": self.allowed}}
        return JSONResponse(body, self.status, self.headers)


class WrongFieldError(ServeError):
    """A form that does not fit the schema: 422."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(422, message, allowed)


class BadInputError(ServeError):
    """Well-formed, but nothing can be made of it: 400."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(400, message, allowed)


class TooLargeError(ServeError):
    """More bytes, seconds, pixels or classes than the server takes: 413."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(413, message, allowed)


class TooLateError(ServeError):
    """The time for a request is over: 408."""

    def __init__(self, seconds: float) -> None:
        told = f"not done within {seconds:g} s, the time of one request"
        super().__init__(408, told, "a shorter video, fewer classes or windows, or a later try")


class BusyError(ServeError):
    """As many requests as the server takes are in work: 429."""

    def __init__(self, limit: int) -> None:
        told = f"{limit} requests are in work already, as many as this server takes"
        super().__init__(429, told, "the same request a little later", {"Retry-After": "1"})


class NotReadyError(ServeError):
    """The server, or a model of it, cannot answer now: 503."""

    def __init__(self, message: str, allowed: str = "the same request later") -> None:
        super().__init__(503, message, allowed, {"Retry-After": "5"})


def of_package(error: Exception, upload: Path | None = None) -> ServeError:
    """A package's error as an answer.

    Args:
        error: one of :data:`TYPED`.
        upload: temporary file, whose path the client must not see.
    """
    text = " ".join(str(error).split())
    if upload is not None:
        text = text.replace(str(upload), "the video")
    if isinstance(error, CheckpointError):
        return NotReadyError(text, "another model; the operator must repair this one")
    return BadInputError(text, "see the API's schema at /openapi.json")
