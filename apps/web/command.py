"""The command: that of ``apps.serve``, whose options it takes, with the page."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from apps.serve import command as serve
from apps.serve.settings import Settings, read_named, read_token
from ski_data.command import underscored
from ski_data.errors import SkiDataError

log = logging.getLogger(__name__)

PROG = "python -m apps.web"


def parser() -> argparse.ArgumentParser:
    """The options of ``python -m apps.serve``."""
    found = serve.parser()
    found.prog = PROG
    found.description = "A web page that recognises actions in videos, and the service behind it."
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 then, 2 where it cannot begin."""
    try:
        options = parser().parse_args(underscored(sys.argv[1:] if argv is None else argv))
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for library in ("httpx", "uvicorn", "open_clip", "root"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        failures = _serve(vars(options))
    except SkiDataError as error:
        failures = [str(error)]
    for failure in failures:
        print(f"{PROG}: {failure}", file=sys.stderr)
    return 2 if failures else 0


def _serve(options: dict) -> list[str]:
    """Serve until it is stopped; models that could not be loaded."""
    host, port, token_file = (options.pop(name) for name in ("host", "port", "token_file"))
    settings = Settings(
        models=read_named(options.pop("model", []), "--model"),
        captioners=read_named(options.pop("caption", []), "--caption"),
        token=None if token_file is None else read_token(token_file),
        **options,
    )
    with serve._listen(host, port) as listening:
        if settings.token is None and not serve._is_loopback(listening):
            log.warning("everybody who reaches %s may ask: give --token-file", host)
        from apps.serve.server import Server  # with the packages, which wrong usage needs not
        from apps.web.page import create_app

        server = Server(create_app(settings), settings)
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listening.getsockname()[1]}/", flush=True)
        server.run(sockets=[listening])
    return server.failures
