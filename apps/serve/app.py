"""The application: :func:`create_app` gives a FastAPI that loads its models when it starts."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import PurePath
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from apps.serve import fields, schema
from apps.serve.batching import Worker
from apps.serve.door import Door
from apps.serve.errors import BadInputError, ServeError, TooLateError, WrongFieldError
from apps.serve.service import Service, answered, disconnected, left
from apps.serve.settings import Settings
from apps.serve.uploads import Form
from apps.serve.videos import Reading, inside, need, spans
from ski_data.video.overlay import clipped_heat, contact_sheet, lay_over, write_mp4, write_png
from ski_data.video.sampling import test_indices
from ski_vlm.attention_command import as_seen
from ski_vlm.predict import Prediction

VERSION = "0.1.0"
PATHS = {
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/v1/predict",
    "/v1/embed",
    "/v1/attention",
    "/v1/caption",
    "/v1/chat",
}

TELEMETRY = ("tracing", "metrics", "logs", "operation_spans", "auto_configure")
"""What newer FastAPIs may send to a collector that the environment names, texts of errors among it;
older ones take no notice of the setting."""
CAPTIONS = ("/v1/caption", "/v1/chat")
"""Addresses that ask captioners."""


def create_app(settings: Settings) -> FastAPI:
    """A server's application; models are loaded in the background once it has started.

    Its :class:`~apps.serve.service.Service` is ``app.state.service``. Pages of it that need
    scripts of other servers are left out.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.get_running_loop().run_in_executor(None, service.close)

    app = FastAPI(
        title="SKI: actions in videos",
        version=VERSION,
        summary="Recognition of any class names, embeddings, captions and conversations.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=dict.fromkeys(TELEMETRY, False),
    )
    app.state.service = service
    app.add_middleware(Door, service=service, paths=PATHS)
    app.add_exception_handler(ServeError, _serve_error)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
    _add_state(app, service)
    _add_recognition(app, service)
    _add_captions(app, service)
    app.openapi = lambda: _openapi(app, settings)  # type: ignore[method-assign]
    return app


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health", tags=["state"])
    async def health() -> schema.Status:
        """Whether the process lives: always."""
        return schema.Status(status="ok")

    @app.get("/ready", tags=["state"], responses=schema.errors(503))
    async def ready() -> schema.Status:
        """Whether all models are loaded and requests are taken."""
        service.check_ready()
        return schema.Status(status="ready")

    @app.get(
        "/metrics",
        tags=["state"],
        response_class=PlainTextResponse,
        responses=schema.errors(401),
    )
    async def metrics() -> PlainTextResponse:
        """Counters and latencies for Prometheus."""
        text = service.metrics.text(service.gauges())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", tags=["state"], responses=schema.errors(401, 503))
    async def models() -> schema.Models:
        """What can be asked."""
        return schema.Models(
            recognizers=[
                schema.KnownRecognizer(
                    name=name,
                    source=_public(service.settings.models[name]),
                    classes=worker.engine.classes if worker.engine is not None else None,
                )
                for name, worker in service.recognizers.items()
            ],
            captioners=[schema.KnownCaptioner(name=name) for name in service.captioners],
        )


def _public(source: str) -> str:
    """A model's source without the operator's folders: the last two parts of a path."""
    path = PurePath(source)
    return "/".join(path.relative_to(path.anchor).parts[-2:])


def _add_recognition(app: FastAPI, service: Service) -> None:
    settings = service.settings

    @app.post(
        "/v1/predict",
        tags=["recognition"],
        openapi_extra=schema.PREDICT,
        responses=schema.errors(),
    )
    async def predict(request: Request) -> schema.Prediction:
        """Rank class names by how well a video shows them."""
        async with service.form(request, _known(schema.PREDICT)) as form:
            worker = service.recognizer(form.texts.get("model"))
            names = _names(form, worker, settings)
            top_k = fields.whole(form.texts, "top_k", 10**9, len(names))
            window = fields.seconds(form.texts, "window")
            return await service.within(
                request, _predict(service, worker, form, names, min(top_k, len(names)), window)
            )

    @app.post(
        "/v1/embed", tags=["recognition"], openapi_extra=schema.EMBED, responses=schema.errors()
    )
    async def embed(request: Request) -> schema.Embedding:
        """Features of a video, or of class names."""
        async with service.form(request, _known(schema.EMBED)) as form:
            worker = service.recognizer(form.texts.get("model"))
            if (form.video is None) == ("texts" not in form.texts):
                raise WrongFieldError("one of video and texts is needed", "one of them, not both")
            return await service.within(request, _embed(service, worker, form))

    @app.post(
        "/v1/attention",
        tags=["recognition"],
        openapi_extra=schema.ATTENTION,
        response_class=Response,
        responses={**schema.errors(), **schema.PICTURES},
    )
    async def attention(request: Request) -> Response:
        """Where in a video the evidence for a class is."""
        async with service.form(request, _known(schema.ATTENTION)) as form:
            worker = service.recognizer(form.texts.get("model"))
            target = fields.text(form.texts, "class_name")
            if "classes" in form.texts or worker.engine.classes is not None:
                names = _names(form, worker, settings)
            else:
                names = [target]
            if target not in names:
                raise BadInputError("class_name is none of the classes", "one of them")
            kind = fields.choice(form.texts, "format", fields.FORMATS)
            data = await service.within(
                request, _attention(service, worker, form, names, target, kind)
            )
        return Response(data, media_type="image/png" if kind == "png" else "video/mp4")


def _add_captions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/caption", tags=["captions"], openapi_extra=schema.CAPTION, responses=schema.errors()
    )
    async def caption(request: Request) -> schema.Caption:
        """Answer a question about a video, or describe it."""
        async with service.form(request, _known(schema.CAPTION)) as form:
            worker = service.captioner(form.texts.get("model"))
            question = fields.text(form.texts, "question", worker.engine.question)
            limit = fields.whole(form.texts, "max_new_tokens", fields.MAX_NEW_TOKENS, 256)
            return await service.within(request, _caption(service, worker, form, question, limit))

    @app.post(
        "/v1/chat",
        tags=["captions"],
        openapi_extra=schema.CHAT,
        response_class=Response,
        responses={**schema.errors(), **schema.EVENTS},
    )
    async def chat(request: Request) -> Response:
        """Go on with a conversation about a video; the answer comes as it is made."""
        async with service.form(request, _known(schema.CHAT)) as form:
            worker = service.captioner(form.texts.get("model"))
            messages = fields.messages(form.texts, "messages")
            limit = fields.whole(form.texts, "max_new_tokens", fields.MAX_NEW_TOKENS, 256)
            answer = _Answer(request, service.settings.timeout)
            try:
                await service.within(
                    request, _begin_chat(service, worker, form, messages, limit, answer)
                )
            except BaseException:
                answer.stopped.set()
                raise
        return answer


async def _predict(
    service: Service,
    worker: Worker,
    form: Form,
    names: list[str],
    top_k: int,
    window: float | None,
) -> schema.Prediction:
    from apps.serve.recognizers import CLIPS, Clips

    length, fit = worker.engine.length, worker.engine.recognizer.fitted

    def read(reading: Reading) -> tuple[np.ndarray, list[tuple[float, float]], float]:
        parts = [(0, reading.info.frames)]
        if window is not None:
            parts += spans(reading, window, service.settings.max_windows)
        clips = [fit(reading.frames(inside(part, length))) for part in parts]
        times = [(a / reading.fps, b / reading.fps) for a, b in parts[1:]]
        return np.stack(clips), times, reading.duration

    clips, times, duration = await answered(service.readers.submit(read, need(form.video)))
    future = worker.submit(CLIPS, Clips(clips, tuple(names)), len(clips))
    first, *others = await answered(future)
    return schema.Prediction(
        model=worker.model,
        classes=_ranked(first, top_k),
        duration=duration,
        windows=[
            schema.Window(start=start, end=end, classes=_ranked(row, top_k))
            for (start, end), row in zip(times, others, strict=True)
        ],
    )


async def _embed(service: Service, worker: Worker, form: Form) -> schema.Embedding:
    from apps.serve.recognizers import CLIPS, TEXTS, Clips

    if form.video is None:
        texts = fields.names(form.texts, "texts", service.settings.max_classes)
        rows = await answered(worker.submit(TEXTS, tuple(texts)))
        return schema.Embedding(model=worker.model, width=rows.shape[1], embedding=rows.tolist())
    length, fit = worker.engine.length, worker.engine.recognizer.fitted

    def read(reading: Reading) -> np.ndarray:
        return fit(reading.frames(test_indices(reading.info.frames, length)))[None]

    clips = await answered(service.readers.submit(read, need(form.video)))
    (row,) = await answered(worker.submit(CLIPS, Clips(clips, None)))
    return schema.Embedding(model=worker.model, width=len(row), embedding=row.tolist())


async def _attention(
    service: Service, worker: Worker, form: Form, names: list[str], target: str, kind: str
) -> bytes:
    from apps.serve.recognizers import RELEVANCE, Relevance

    length, recognizer = worker.engine.length, worker.engine.recognizer
    student = recognizer.model

    def read(reading: Reading) -> tuple[np.ndarray, np.ndarray, float]:
        chosen = reading.frames(test_indices(reading.info.frames, length))
        seen = as_seen(chosen, student.image_size, student.config.short_side)
        return recognizer.fitted(chosen), seen, min(reading.fps, length / reading.duration)

    def draw(maps: np.ndarray) -> bytes:
        overlay = lay_over(seen, clipped_heat(maps))
        with service.uploads.scratch() as folder:
            path = folder / f"overlay.{kind}"
            if kind == "png":
                write_png(path, contact_sheet([seen, overlay]))
            else:
                write_mp4(path, overlay, pace)
            return path.read_bytes()

    clip, seen, pace = await answered(service.readers.submit(read, need(form.video)))
    asked = Relevance(clip, tuple(names), names.index(target))
    maps = await answered(worker.submit(RELEVANCE, asked))
    return await asyncio.get_running_loop().run_in_executor(None, draw, maps)


async def _caption(
    service: Service, worker: Worker, form: Form, question: str, limit: int
) -> schema.Caption:
    from apps.serve.captioners import Question

    read = service.readers.submit(worker.engine.frames, need(form.video))
    frames = await answered(read)
    said = await answered(worker.submit(limit, Question(frames, question)))
    return schema.Caption(text=said.text, finished=said.finished)


async def _begin_chat(
    service: Service, worker: Worker, form: Form, messages: tuple, limit: int, answer: _Answer
) -> None:
    """Returns when the first piece is there, or the answer is over; raises what comes before."""
    from apps.serve.captioners import CHAT, Turn

    read = service.readers.submit(worker.engine.frames, need(form.video))
    frames = await answered(read)
    turn = Turn(frames, messages, limit, answer.tell, answer.stopped)
    await answer.begin(worker.submit(CHAT, turn))


class _Answer(Response):
    """A conversation's answer as server-sent events; nobody listening stops the model."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, seconds: float) -> None:
        super().__init__(media_type=self.media_type)
        del self.headers["content-length"]
        self.stopped = threading.Event()
        self._request, self._seconds = request, seconds
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._first: str | None = None
        self._future: Any = None

    def tell(self, piece: str | None) -> None:
        """Take in a piece, from any thread; None is the end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    async def begin(self, future: Any) -> None:
        """Wait for the first piece; an error that comes before it is raised."""
        self._future = future
        future.add_done_callback(lambda _: self.tell(None))
        try:
            self._first = await self._pieces.get()
        except asyncio.CancelledError:
            future.cancel()
            raise
        if self._first is None:
            future.result()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the events."""
        gone = asyncio.ensure_future(disconnected(self._request))
        sending = asyncio.ensure_future(self._events(send))
        try:
            headers = self.raw_headers
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.stopped.set()
            gone.cancel()
            sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _events(self, send: Send) -> None:
        piece = self._first
        while piece is not None:
            await _event(send, {"piece": piece})
            try:
                piece = await asyncio.wait_for(self._pieces.get(), left(self._request))
            except asyncio.TimeoutError:
                await _event_of(send, TooLateError(self._seconds))
                return
        try:
            said = self._future.result()
        except ServeError as error:
            await _event_of(send, error)
        else:
            await _event(send, {"text": said.text, "finished": said.finished}, "end")


async def _event(send: Send, data: dict, kind: str = "") -> None:
    head = f"event: {kind}\n" if kind else ""
    text = f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _event_of(send: Send, error: ServeError) -> None:
    told = {"message": error.message, "allowed": error.allowed}
    await _event(send, {"error": told}, "error")


def _names(form: Form, worker: Worker, settings: Settings) -> list[str]:
    """Class names of the request, or the model's own."""
    if "classes" not in form.texts and worker.engine.classes is not None:
        return worker.engine.classes
    return fields.names(form.texts, "classes", settings.max_classes)


def _ranked(predictions: list[Prediction], top_k: int) -> list[schema.Ranked]:
    return [schema.Ranked(name=p.label, probability=p.probability) for p in predictions[:top_k]]


def _known(form: dict[str, Any]) -> list[str]:
    """Names of a form's fields."""
    content = form["requestBody"]["content"]["multipart/form-data"]
    return list(content["schema"]["properties"])


async def _serve_error(_: Request, error: ServeError) -> Response:
    return error.response()


async def _http_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        told = ServeError(405, f"{request.method} is not for this address", "see /openapi.json")
    elif error.status_code == 404:
        told = ServeError(404, "no such address", ", ".join(sorted(PATHS)))
    else:
        told = ServeError(error.status_code, str(error.detail), "see /openapi.json")
    told.headers = dict(error.headers or {})
    return told.response()


def _openapi(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The schema, with the names of the models, and the token where one is asked for."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    made = deepcopy(
        get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    )
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/") and method == "post":
                named = settings.captioners if path in CAPTIONS else settings.models
                content = operation["requestBody"]["content"]["multipart/form-data"]
                if named:
                    content["schema"]["properties"]["model"]["enum"] = list(named)
            if settings.token is not None and (path.startswith("/v1/") or path == "/metrics"):
                operation["security"] = [{"token": []}]
    if settings.token is not None:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    app.openapi_schema = made
    return made
