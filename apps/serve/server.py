"""A server that, once it is told to stop, finishes what is in work and refuses what comes."""

from __future__ import annotations

from types import FrameType

import uvicorn
from fastapi import FastAPI

from apps.serve.service import Service
from apps.serve.settings import Settings


class Server(uvicorn.Server):
    """Goes on answering while it stops, and ends when nothing is in work any more.

    Args:
        app: of :func:`apps.serve.app.create_app`.
        settings: of the application.

    Attributes:
        failures: models that could not be loaded, because of which it ended.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=int(settings.timeout) + 5,
        )
        super().__init__(config)
        self._service: Service = app.state.service
        self.failures: list[str] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and Ctrl-C; the second one does not wait for requests that are in work."""
        if self._service.stopping:
            super().handle_exit(sig, frame)
        self._service.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Whether to end; asked every tenth of a second."""
        service = self._service
        if service.stopping and not service.in_work:
            return True
        if service.failures and not self.failures:
            self.failures = service.failures
            return True
        return await super().on_tick(counter)
