"""The models, readers and temporary files of one server, and how a request waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from apps.serve.batching import Worker
from apps.serve.errors import NotReadyError, ServeError, TooLateError
from apps.serve.metrics import Gauge, Metrics
from apps.serve.settings import Settings
from apps.serve.uploads import Form, Uploads
from apps.serve.videos import Readers

T = TypeVar("T")


class Service:
    """Everything that lives as long as the server.

    Args:
        settings: models and limits.

    Attributes:
        stopping: no new requests are taken.
        in_work: requests that have not been answered.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.stopping = False
        self.in_work = 0
        self.recognizers: dict[str, Worker] = {}
        self.captioners: dict[str, Worker] = {}
        self._uploads: Uploads | None = None
        self._readers: Readers | None = None

    def start(self) -> None:
        """Begin to load the models, each in its thread."""
        self.stopping, settings = False, self.settings
        self._uploads, self._readers = Uploads(settings.max_bytes), Readers(settings)
        self.recognizers = {
            name: self._worker(name, partial(_recognizer, name, source, settings))
            for name, source in settings.models.items()
        }
        self.captioners = {
            name: self._worker(name, partial(_captioner, name, source, settings))
            for name, source in settings.captioners.items()
        }
        for worker in self.workers:
            worker.start()

    def close(self) -> None:
        """Stop the models, and remove what is left on disk."""
        self.stopping = True
        for worker in self.workers:
            worker.stop()
        for worker in self.workers:
            worker.join(timeout=5.0)
        self.readers.close()
        self.uploads.close()

    def _worker(self, name: str, open: Any) -> Worker:
        settings = self.settings
        return Worker(
            name,
            open,
            queue=settings.queue,
            batch=settings.batch_size,
            wait=settings.batch_wait_ms / 1000,
            metrics=self.metrics,
        )

    @property
    def workers(self) -> list[Worker]:
        """Of all models."""
        return [*self.recognizers.values(), *self.captioners.values()]

    @property
    def uploads(self) -> Uploads:
        """Of a service that was started."""
        assert self._uploads is not None
        return self._uploads

    @property
    def readers(self) -> Readers:
        """Of a service that was started."""
        assert self._readers is not None
        return self._readers

    @property
    def failures(self) -> list[str]:
        """Models that cannot be loaded, and why; for the operator."""
        return [f"{w.model}: {w.failure}" for w in self.workers if w.state == "failed"]

    def check_ready(self) -> None:
        """See that all models can be asked.

        Raises:
            NotReadyError: the server is stopping, or models are not loaded.
        """
        if self.stopping:
            raise NotReadyError("the server is stopping", "another server")
        if not self.workers:
            raise NotReadyError("the server is starting")
        for worker in self.workers:
            worker.check()

    def recognizer(self, name: str | None) -> Worker:
        """A model that recognises; see :func:`_named`."""
        return _named(self.recognizers, name, "recognises")

    def captioner(self, name: str | None) -> Worker:
        """A model that talks; see :func:`_named`."""
        return _named(self.captioners, name, "talks about videos")

    def gauges(self) -> list[Gauge]:
        """Values of the moment for the metrics."""
        ready = ((f'{{model="{w.model}"}}', int(w.state == "ready")) for w in self.workers)
        waiting = ((f'{{model="{w.model}"}}', w.waiting) for w in self.workers)
        return [
            ("ski_serve_in_work", "Requests that are not answered yet.", [("", self.in_work)]),
            ("ski_serve_stopping", "1 while the server stops.", [("", int(self.stopping))]),
            ("ski_serve_model_ready", "1 where a model can be asked.", ready),
            ("ski_serve_queue", "Jobs that wait for a model.", waiting),
        ]

    @asynccontextmanager
    async def form(self, request: Request, known: Collection[str]) -> AsyncIterator[Form]:
        """The request's form, its files removed at the end; see :meth:`Uploads.form`.

        Raises:
            TooLateError: it does not come in time.
        """
        reading = self.uploads.form(request, known)
        try:
            form = await asyncio.wait_for(reading.__aenter__(), left(request))
        except asyncio.TimeoutError:
            raise TooLateError(self.settings.timeout) from None
        try:
            self.metrics.uploaded(form.size)
            yield form
        finally:
            await reading.__aexit__(None, None, None)

    async def within(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` gives; it is stopped when the time is over or the client has gone.

        Raises:
            TooLateError: the time is over.
            ClientDisconnect: the client has gone.
        """
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(disconnected(request))
        try:
            await asyncio.wait(
                {task, gone}, timeout=left(request), return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                return task.result()
            raise ClientDisconnect if gone.done() else TooLateError(self.settings.timeout)
        finally:
            gone.cancel()
            task.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)


async def disconnected(request: Request) -> None:
    """Returns when the client has gone; its body must be read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def left(request: Request) -> float:
    """Seconds that a request has left."""
    return max(0.0, request.scope["ski.deadline"] - time.monotonic())


async def answered(future: Future[T]) -> T:
    """The result of another thread's work, which is cancelled with the caller."""
    return await asyncio.wrap_future(future)


def _named(workers: dict[str, Worker], name: str | None, does: str) -> Worker:
    """A model by its name, or the first.

    Raises:
        ServeError: 404, no such model; or 503, it cannot be asked.
    """
    if not workers:
        raise ServeError(404, f"no model here {does}", "see /v1/models")
    if name is not None and name not in workers:
        raise ServeError(404, f"no model of this name {does}", "one of " + ", ".join(workers))
    worker = workers[name] if name is not None else next(iter(workers.values()))
    worker.check()
    return worker


def _recognizer(name: str, source: str, settings: Settings) -> Any:
    from apps.serve.recognizers import open_recognizer

    return open_recognizer(name, source, settings.device, settings.batch_size)


def _captioner(name: str, source: str, settings: Settings) -> Any:
    from apps.serve.captioners import open_captioner

    return open_captioner(name, source, settings.device, settings.batch_size)
