"""One way to turn typed functions into a command line, for ski-data and the packages above it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from jsonargparse import CLI, set_parsing_settings


def run(
    commands: dict[str, Callable[..., object]],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    version: str,
    description: str,
) -> int:
    """Run one of ``commands`` on ``argv`` and give back the process's exit code.

    Options, help and ``--config FILE`` come from the functions' signatures and docstrings.
    Standard output is for results, standard error for the log. Exit codes: 0 done, 1 failed
    (a command may return 1 for findings), 2 wrong usage or input (one line, no traceback).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["--version"]:
        print(f"{prog} {version}")
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        code = CLI(commands, args=args, prog=prog, description=description, allow_abbrev=False)
    except SystemExit as leave:  # usage errors of the parser, --help, --print_config
        return leave.code if isinstance(leave.code, int) else 2
    except KeyboardInterrupt:
        print(f"{prog}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if exit_code is None:
            raise
        print(f"{prog}: {error}", file=sys.stderr)
        return exit_code
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


