"""The command: that of ``apps.serve``, whose options it takes, with the page."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

from apps.serve.command import run_server, serve, spread
from ski_data.command import run_one


@functools.wraps(serve)
def web(**options: Any) -> int:
    """Its signature and help are those of :func:`apps.serve.command.serve`."""
    return run_server("apps.web", path="/", application="apps.web.page:create_app", **options)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    words = spread(sys.argv[1:] if argv is None else argv)
    return run_one(web, words, prog="python -m apps.web")
