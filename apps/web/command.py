"""The command: that of ``apps.serve``, whose options it takes, with the page."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
from typing import Any

from apps.serve import command
from apps.serve.command import spread
from apps.serve.settings import Settings, read_named, read_token
from ski_data.command import run_one

log = logging.getLogger(__name__)


@functools.wraps(command.serve)
def web(
    *,
    model: list[str] | None = None,
    caption: list[str] | None = None,
    host: str,
    port: int,
    token_file: str | None = None,
    **limits: Any,
) -> int:
    """Its signature and help are those of :func:`apps.serve.command.serve`."""
    settings = Settings(
        models=read_named(model or (), "--model"),
        captioners=read_named(caption or (), "--caption"),
        token=None if token_file is None else read_token(token_file),
        **limits,
    )
    with command._listen(host, port) as listening:
        if settings.token is None and not command._is_loopback(listening):
            log.warning("everybody who reaches %s may ask: give --token_file", host)
        from apps.serve.server import Server  # with the packages, which wrong usage needs not
        from apps.web.page import create_app

        server = Server(create_app(settings), settings)
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listening.getsockname()[1]}/", flush=True)
        server.run(sockets=[listening])
    for failure in server.failures:
        print(f"python -m apps.web: {failure}", file=sys.stderr)
    return 2 if server.failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    words = spread(sys.argv[1:] if argv is None else argv)
    return run_one(web, words, prog="python -m apps.web")
