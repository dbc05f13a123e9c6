"""The command: options, a socket, and a stop in which requests that are in work are finished."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NoReturn

from apps.serve.settings import Settings, read_named, read_token
from ski_data.command import underscored
from ski_data.errors import InputError, SkiDataError

log = logging.getLogger(__name__)

PROG = "python -m apps.serve"


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as the other commands do."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        self.exit(2)


def parser() -> argparse.ArgumentParser:
    """The options; ``-`` in their names is as good as ``_``."""
    found = _Parser(
        prog=PROG,
        description="Serve recognition, embeddings, captions and conversations over HTTP.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, default = found.add_argument, Settings.__dataclass_fields__
    several = {"nargs": "+", "action": "extend", "default": argparse.SUPPRESS}
    add("--model", metavar="NAME=SOURCE", help="models that recognise: a folder or CLIP", **several)
    add("--caption", metavar="NAME=FOLDER", help="models that talk about videos", **several)
    add("--host", default="127.0.0.1", help="address to listen at")
    add("--port", type=int, default=8000, help="port to listen at; 0 takes a free one")
    add("--token_file", metavar="FILE", default=None, help="clients must send the token in it")
    for name, kind, text in (
        ("device", str, "cpu, cuda or cuda:N"),
        ("max_bytes", int, "largest video file"),
        ("max_seconds", float, "longest video"),
        ("max_pixels", int, "largest picture of a video"),
        ("max_classes", int, "most class names of one request"),
        ("max_windows", int, "most windows of one request"),
        ("queue", int, "requests in work at once; more get 429"),
        ("batch", int, "clips that a model sees at once"),
        ("batch_wait_ms", float, "how long the first clip of a batch waits for others"),
        ("timeout", float, "seconds for one request"),
        ("readers", int, "processes that decode videos"),
    ):
        add(f"--{name}", type=kind, default=default[name].default, help=text)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 then, 2 where it cannot begin."""
    try:
        options = vars(parser().parse_args(underscored(sys.argv[1:] if argv is None else argv)))
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for library in ("httpx", "uvicorn", "open_clip", "root"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        return _serve(options)
    except SkiDataError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return error.exit_code


def _serve(options: dict) -> int:
    host, port, token_file = (options.pop(name) for name in ("host", "port", "token_file"))
    settings = Settings(
        models=read_named(options.pop("model", []), "--model"),
        captioners=read_named(options.pop("caption", []), "--caption"),
        token=None if token_file is None else read_token(token_file),
        **options,
    )
    with _listen(host, port) as listening:
        if settings.token is None and not _is_loopback(listening):
            log.warning("everybody who reaches %s may ask: give --token-file", host)
        from apps.serve.app import create_app  # with the packages, which wrong usage needs not
        from apps.serve.server import Server

        server = Server(create_app(settings), settings)
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listening.getsockname()[1]}", flush=True)
        server.run(sockets=[listening])
    for failure in server.failures:
        print(f"{PROG}: {failure}", file=sys.stderr)
    return 2 if server.failures else 0


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: no such address, or a port that is taken or not allowed.
    """
    if not 0 <= port < 65536:
        raise InputError(f"--port {port}: a port is in 0..65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}, port {port} ({error.strerror or error}); choose others by "
            "--host and --port"
        ) from None


def _is_loopback(listening: socket.socket) -> bool:
    return ip_address(listening.getsockname()[0].split("%")[0]).is_loopback
