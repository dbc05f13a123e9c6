"""What every request passes: token, stop, number of requests in work, time, count and log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Collection

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.serve.batching import where
from apps.serve.errors import BusyError, NotReadyError, ServeError
from apps.serve.service import Service

log = logging.getLogger(__name__)

_REST_BYTES, _REST_SECONDS = 64 << 20, 5.0
_GONE = 499  # in counts only: nobody is there to get it


class Door:
    """Middleware around the whole application.

    Args:
        app: what is inside.
        service: of the server.
        paths: addresses that are counted under their own names; others are "other".
    """

    def __init__(self, app: ASGIApp, service: Service, paths: Collection[str]) -> None:
        self.app, self.service, self.paths = app, service, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.monotonic()
        scope["ski.deadline"] = begin + self.service.settings.timeout
        exchange = _Exchange(self.service, scope, receive, send)
        try:
            await self._pass(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or _GONE
        except Exception as error:  # the last place before the server would log its text
            log.error("internal error: %s", where(error))
            if not exchange.status:  # else half an answer was sent: the connection is closed
                wrong = ServeError(500, "an error of the server", "the same request later")
                await wrong.response()(scope, exchange.receive, exchange.send)
        finally:
            seconds, status = time.monotonic() - begin, exchange.status or 500
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.service.metrics.request(path, status, seconds)
            log.info("%s %s %d %.0f ms", _method(scope), path, status, 1000 * seconds)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope)
        if refused is not None:
            await refused.response()(scope, receive, send)
            return
        if not _is_api(scope):
            await self.app(scope, receive, send)
            return
        self.service.in_work += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.service.in_work -= 1

    def _refused(self, scope: Scope) -> ServeError | None:
        """Why a request is not let in."""
        service, path = self.service, scope["path"]
        if (_is_api(scope) or path == "/metrics") and not self._knows_token(scope):
            headers = {"WWW-Authenticate": "Bearer"}
            return ServeError(
                401, "no token, or a wrong one", "the header Authorization: Bearer TOKEN", headers
            )
        if not _is_api(scope):
            return None
        if service.stopping:
            return NotReadyError("the server is stopping", "another server")
        if scope["method"] == "POST" and service.in_work >= service.settings.queue:
            return BusyError(service.settings.queue)
        return None

    def _knows_token(self, scope: Scope) -> bool:
        token = self.service.settings.token
        if token is None:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        kind, _, said = (given[0] if len(given) == 1 else b"").partition(b" ")
        same = hmac.compare_digest(said.strip(), token.encode())
        return same and kind.lower() == b"bearer"


class _Exchange:
    """One request and its answer on their way.

    An error is often known before the body has come in. A client that still sends would lose the
    answer if the connection were closed then, so the rest is read first, within bounds.
    """

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.status, self._service = 0, service
        self._scope, self._receive, self._send = scope, receive, send
        names = {name for name, _ in scope["headers"]}
        self._unread = bool(names & {b"content-length", b"transfer-encoding"})

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            more = [(b"x-content-type-options", b"nosniff")]
            if _is_api(self._scope):
                more.append((b"cache-control", b"no-store"))
            if self._service.stopping:  # the next request had better go elsewhere
                more.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        last = message["type"] == "http.response.body" and not message.get("more_body")
        if last and self.status >= 400 and self._unread:
            await self._send({**message, "more_body": True})
            try:
                await asyncio.wait_for(self._read_rest(), _REST_SECONDS)
            except asyncio.TimeoutError:
                log.info("a client was still sending when its answer was ready")
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _read_rest(self) -> None:
        left = _REST_BYTES
        while self._unread and left > 0:
            left -= len((await self.receive()).get("body", b""))


def _is_api(scope: Scope) -> bool:
    return scope["path"].startswith("/v1/")


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return scope["method"] if scope["method"] in known else "OTHER"
