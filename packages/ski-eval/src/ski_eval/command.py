"""Typed functions as a command line: flags, lists of files, exit codes."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, get_origin, get_type_hints

from jsonargparse import CLI, ArgumentParser, Namespace, set_parsing_settings


class Parser(ArgumentParser):
    """An argument parser that says in one line what is wrong, like every other error."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line on standard error and leave with 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        prog = parser.prog.replace(" [options]", "")
        print(f"{prog}: {' '.join(message.split())}; see {prog} --help", file=sys.stderr)
        self.exit(2)

    def parse_args(self, args: Sequence[str], *more: Any, **options: Any) -> Namespace:  # type: ignore[override]
        """As in the base class; a settings file that is not UTF-8 is an error like others."""
        try:
            return super().parse_args(args, *more, **options)
        except UnicodeDecodeError as error:
            named = [Path(arg.split("=", 1)[-1]) for arg in args]
            found = [p for p in named if os.path.isfile(p) and p.read_bytes() == error.object]
            self.error(f"{found[0] if found else 'a settings file'}: not UTF-8 text")


def load(command: Callable[..., object] | str) -> Callable[..., object]:
    """A command, imported if it is given as ``module:function``."""
    if not isinstance(command, str):
        return command
    module, _, name = command.partition(":")
    return getattr(importlib.import_module(module), name)


def run(
    commands: Mapping[str, Callable[..., object] | str],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    version: str,
    description: str,
) -> int:
    """Run one of ``commands`` on ``argv`` and give back the process's exit code.

    Options, help and ``--config FILE`` come from the functions' signatures and docstrings. A
    ``bool`` option stands alone (``--json``) and a first parameter that is a list takes as many
    arguments as are given. Commands given as ``module:function`` are imported when they are asked
    for. Standard output is for results, standard error for the log. Exit codes:
    0 done, 1 failed, 2 wrong usage or input, or a file that cannot be read or
    written (one line, no traceback).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["--version"]:
        print(f"{prog} {version}")
        return 0
    asked = args[:1] if args and args[0] in commands else commands
    found = {name: load(commands[name]) for name in asked}
    if args and args[0] in found:
        args = [args[0], *_plain_arguments(found[args[0]], args[1:])]
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        with _log_on_stderr():
            code = CLI(
                found,
                args=args,
                prog=prog,
                description=description,
                allow_abbrev=False,
                parser_class=Parser,
            )
        sys.stdout.flush()
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
        if exit_code is not None:
            print(f"{prog}: {error}", file=sys.stderr)
            return exit_code
        if not isinstance(error, OSError):
            raise
        told = f"{error.filename}: " if error.filename else ""
        reason = str(error.strerror or error)
        print(f"{prog}: {told}{reason}; check path, permissions and free space", file=sys.stderr)
        return 2
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Log lines on standard error while a command runs, unless its caller has a log already."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler, level = logging.StreamHandler(), root.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _plain_arguments(function: Callable[..., object], args: Sequence[str]) -> list[str]:
    """Rewrite lone flags and loose file names into the form that jsonargparse reads."""
    hints = get_type_hints(function)
    required = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is inspect.Parameter.empty
    ]
    takes_list = bool(required) and get_origin(hints[required[0]]) is list
    options: list[str] = []
    loose: list[str] = []
    queue = list(args)
    while queue:
        arg = queue.pop(0)
        if not arg.startswith("-") or arg == "-":
            loose.append(arg)
        elif hints.get(arg[2:]) is bool and (not queue or queue[0] not in ("true", "false")):
            options.append(f"{arg}=true")
        elif arg[2:] in hints or arg == "--config":
            options.extend([arg, *queue[:1]])
            queue = queue[1:]
        else:
            options.append(arg)
    return [*options, *([json.dumps(loose)] if takes_list and loose else loose)]
