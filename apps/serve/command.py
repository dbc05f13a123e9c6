"""The command: options, a socket, and a stop in which requests that are in work are finished."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from apps.serve.settings import Settings, read_named, read_token
from ski_data.command import load, run_one
from ski_data.errors import InputError

log = logging.getLogger(__name__)


NAMED = ("model", "caption")
"""Options that take one or several NAME=SOURCE."""


def serve(
    *,
    model: list[str] | None = None,
    caption: list[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: str | None = None,
    device: str = Settings.device,
    max_bytes: int = Settings.max_bytes,
    max_seconds: float = Settings.max_seconds,
    max_pixels: int = Settings.max_pixels,
    max_classes: int = Settings.max_classes,
    max_windows: int = Settings.max_windows,
    queue: int = Settings.queue,
    batch_size: int = Settings.batch_size,
    batch_wait_ms: float = Settings.batch_wait_ms,
    timeout: float = Settings.timeout,
    workers: int = Settings.workers,
) -> int:
    """Serve recognition, embeddings, captions and conversations over HTTP.

    Prints its address. SIGTERM and Ctrl-C stop it: requests that are in work are finished, new
    ones refused; a second Ctrl-C ends it at once.

    Args:
        model: models that recognise, NAME=SOURCE each: a model or run folder, or a CLIP as it
            comes, such as ViT-B-16/openai, ViT-B-16/FILE or hf-hub:OWNER/NAME.
        caption: models that talk about videos, NAME=FOLDER each.
        host: address to listen at; others than this machine reach 0.0.0.0 or an address of it.
        port: port to listen at; 0 takes a free one.
        token_file: file with a token that clients must send.
        device: cpu, cuda or cuda:N.
        max_bytes: largest video file.
        max_seconds: longest video.
        max_pixels: largest picture of a video.
        max_classes: most class names of one request.
        max_windows: most windows of one request.
        queue: requests in work at once; more are refused with 429.
        batch_size: clips or questions that a model sees at once.
        batch_wait_ms: milliseconds that the first clip of a batch waits for others.
        timeout: seconds for one request.
        workers: processes that decode videos, at least 1; hostile files may end them.
    """
    return run_server(
        "apps.serve",
        model=model,
        caption=caption,
        host=host,
        port=port,
        token_file=token_file,
        device=device,
        max_bytes=max_bytes,
        max_seconds=max_seconds,
        max_pixels=max_pixels,
        max_classes=max_classes,
        max_windows=max_windows,
        queue=queue,
        batch_size=batch_size,
        batch_wait_ms=batch_wait_ms,
        timeout=timeout,
        workers=workers,
    )


def run_server(
    program: str,
    *,
    model: list[str] | None,
    caption: list[str] | None,
    host: str,
    port: int,
    token_file: str | None,
    path: str = "",
    application: str = "apps.serve.app:create_app",
    **limits: Any,
) -> int:
    """What :func:`serve` does, for a program and its application; gives the exit code.

    Args:
        program: as the user calls it, ``python -m PROGRAM``.
        model: see :func:`serve`, as all that are not told here.
        caption: see there.
        host: see there.
        port: see there.
        token_file: see there.
        path: of the page, behind the address that is printed.
        application: ``module:function`` that makes the application of :class:`Settings`; imported
            with all packages, which wrong usage needs not.
        **limits: the other fields of :class:`Settings`.
    """
    settings = Settings(
        models=read_named(model or (), "--model"),
        captioners=read_named(caption or (), "--caption"),
        token=None if token_file is None else read_token(token_file),
        **limits,
    )
    with _listen(host, port) as listening:
        if settings.token is None and not _is_loopback(listening):
            log.warning("everybody who reaches %s may ask: give --token_file", host)
        from apps.serve.server import Server

        server = Server(load(application)(settings), settings)
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listening.getsockname()[1]}{path}", flush=True)
        server.run(sockets=[listening])
    for failure in server.failures:
        print(f"python -m {program}: {failure}", file=sys.stderr)
    return 2 if server.failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    words = spread(sys.argv[1:] if argv is None else argv)
    return run_one(serve, words, prog="python -m apps.serve")


def spread(argv: Sequence[str]) -> list[str]:
    """The command line as the parser takes it: ``--model a=A b=B`` adds two to a list."""
    words: list[str] = []
    adding = ""
    for word in argv:
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            adding = f"{name}+" if name[2:] in NAMED else ""
            if not adding:
                words.append(word)
            elif equals:
                words += [adding, value]
        else:
            words += [adding, word] if adding else [word]
    return words


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: no such address, or a port that is taken or not allowed.
    """
    if not 0 <= port < 65536:
        raise InputError(f"--port {port}: a port is in 0..65535")
    listening = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        # asyncio sends small answers at once only where the protocol is named.
        listening = socket.socket(*found[0][:3])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[0][4])
        listening.listen(128)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise InputError(
            f"cannot listen at {host}, port {port} ({error.strerror or error}); choose others by "
            "--host and --port"
        ) from None
    return listening


def _is_loopback(listening: socket.socket) -> bool:
    return ip_address(listening.getsockname()[0].split("%")[0]).is_loopback
