"""The page at ``/`` of a service, and the lists of classes that it offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from apps.serve import app as serve
from apps.serve.settings import Settings
from ski_data.splits import DATASETS, dataset_classes

STATIC = Path(__file__).parent / "static"
RULES = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: only files of the page, and videos that its reader chose."""
HEADERS = {
    "Content-Security-Policy": RULES,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page(StaticFiles):
    """The page's files, with :data:`HEADERS`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As in the base class, plus the headers."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def class_lists() -> dict[str, Any]:
    """Class names of known data sets: ``{"lists": [{"id", "title", "names"}]}``."""
    return {
        "lists": [
            {"id": key, "title": known.title, "names": list(dataset_classes(key).names)}
            for key, known in DATASETS.items()
        ]
    }


def create_app(settings: Settings) -> FastAPI:
    """The service of ``apps.serve`` with ``GET /class-lists`` and the page at ``/``."""
    service = serve.create_app(settings)
    service.get("/class-lists", tags=["page"])(class_lists)
    service.mount("/", Page(directory=STATIC, html=True), name="page")
    return service
