"""One way to turn typed functions into a command line, for ski-data and the packages above it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import (
    ActionConfigFile,
    ActionYesNo,
    ArgumentParser,
    Namespace,
    set_parsing_settings,
)

Command = Callable[..., object]


def load(command: Command | str) -> Command:
    """A command, imported if it is given as ``module:function``.

    So a program with many commands starts as fast as the one that runs, and its worker processes
    do not load what the others need.
    """
    if not isinstance(command, str):
        return command
    module, _, name = command.partition(":")
    return getattr(importlib.import_module(module), name)


def describe(command: Command | str) -> Command:
    """A stand-in for a command that has its docstring only, read without importing its module."""
    if not isinstance(command, str):
        return command
    module, _, name = command.partition(":")
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return load(command)
    source = Path(spec.origin).parent.joinpath(*inner).with_suffix(".py")
    if not source.is_file():
        return load(command)
    found = [
        ast.get_docstring(node)
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]

    def stand_in() -> None:
        raise TypeError(f"{command} is only described here")

    stand_in.__doc__ = found[0] if found else load(command).__doc__
    return stand_in


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
            self.error(f"{_file_of(error, args)}: not UTF-8 text; save it as UTF-8")


def _file_of(error: UnicodeDecodeError, args: Sequence[str]) -> str:
    """Which of the files named in ``args`` could not be decoded."""
    named = [Path(arg.split("=", 1)[-1]) for arg in args]
    found = [p for p in named if os.path.isfile(p) and p.read_bytes() == error.object]
    return str(found[0]) if found else "a settings file"


def run(
    commands: Mapping[str, Command | str],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    version: str,
    description: str,
) -> int:
    """Run one of ``commands`` on ``argv`` and give back the process's exit code.

    Options and help come from the functions' signatures and docstrings: a parameter without a
    default is a positional argument (a list takes one or more values), one behind ``*`` is an
    option, a bool is a switch ``--name`` / ``--no-name``; ``-`` in an option's name is as good as
    ``_``. Every command takes ``--config FILE``
    and ``--print_config``. Commands given as ``module:function`` are imported when they are asked
    for. Standard output is for results, standard error for the log. Exit codes:
    0 done, 1 failed (a command may return 1 for findings), 2 wrong usage or input, or a file that
    cannot be read or written (one line, no traceback).
    """
    args = underscored(sys.argv[1:] if argv is None else argv)
    if args == ["--version"]:
        print(f"{prog} {version}")
        return 0

    def work() -> object:
        if args and args[0] in commands:
            found = {args[0]: load(commands[args[0]])}
        else:  # the list of commands, or wrong usage: nothing will run
            found = {name: describe(commands[name]) for name in commands}
        parser = build_parser(found, prog=prog, description=description)
        parsed = parser.parse_args(args)
        values = parser.instantiate(parsed)[parsed.command]
        return _call(found[parsed.command], values)

    return _guarded(work, prog)


def run_one(function: Command, argv: Sequence[str] | None = None, *, prog: str) -> int:
    """Like :func:`run`, for a program that does one thing."""

    def work() -> object:
        parser = Parser(prog=prog, description=_summary(function), allow_abbrev=False)
        _add_command(parser, function)
        parsed = parser.parse_args(underscored(sys.argv[1:] if argv is None else argv))
        return _call(function, parser.instantiate(parsed))

    return _guarded(work, prog)


def underscored(args: Sequence[str]) -> list[str]:
    """Arguments with ``--dry-run`` written as ``--dry_run``; both spellings are taken."""
    found = []
    for number, arg in enumerate(args):
        if arg == "--":
            return [*found, *args[number:]]
        name, equals, value = arg.partition("=")
        if arg.startswith("--"):
            no = "--no-" if name.startswith("--no-") else "--"
            name = no + name[len(no) :].replace("-", "_")
        found.append(name + equals + value)
    return found


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Log lines on standard error while a command runs, unless its caller has a log already."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler, level = logging.StreamHandler(), root.level
    handler.addFilter(_is_for_users)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _guarded(work: Callable[[], object], prog: str) -> int:
    """Exit code of ``work``, whose expected errors become one line."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        with _log_on_stderr():
            result = work()
    except SystemExit as leave:  # usage errors of the parser, --help, --print_config
        return leave.code if isinstance(leave.code, int) else 2
    except KeyboardInterrupt:
        print(f"{prog}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as in `... | head`
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
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _is_for_users(record: logging.LogRecord) -> bool:
    """Remarks of this project's packages; of libraries warnings, of those without a name errors."""
    ours = record.name.startswith(("ski_", "apps", "benchmarks"))
    least = logging.ERROR if record.name == "root" else logging.WARNING
    return ours or record.levelno >= least


def build_parser(commands: Mapping[str, Command], *, prog: str, description: str) -> ArgumentParser:
    """A parser with one subcommand per function."""
    parser = Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    subcommands = parser.add_subcommands(dest="command")
    for name, function in commands.items():
        sub = Parser(description=_summary(function), allow_abbrev=False)
        _add_command(sub, function)
        subcommands.add_subcommand(name, sub, help=_summary(function))
    return parser


def _summary(function: Command) -> str:
    return docstring_parser.parse(function.__doc__ or "").short_description or ""


def _add_command(parser: ArgumentParser, function: Command) -> None:
    """Add the arguments of ``function`` and ``--config``."""
    parser.add_argument("--config", action=ActionConfigFile, help="settings from a YAML file")
    text = docstring_parser.parse(function.__doc__ or "")
    help_of = {param.arg_name: param.description for param in text.params}
    hints = get_type_hints(function)
    by_hand = set()
    for parameter in inspect.signature(function).parameters.values():
        kind, text_of = hints[parameter.name], help_of.get(parameter.name)
        if _is_positional(parameter):
            many = get_origin(kind) is list
            parser.add_argument(
                parameter.name,
                type=get_args(kind)[0] if many else kind,
                nargs="+" if many else None,
                help=text_of,
            )
        elif kind is bool:
            parser.add_argument(
                f"--{parameter.name}",
                action=ActionYesNo(no_prefix="no-"),
                default=parameter.default,
                help=text_of,
            )
        else:
            continue
        by_hand.add(parameter.name)
    parser.add_function_arguments(function, as_positional=False, skip=by_hand)


def _call(function: Command, values: Namespace) -> object:
    return function(**{name: values[name] for name in inspect.signature(function).parameters})


def _is_positional(parameter: inspect.Parameter) -> bool:
    return (
        parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is inspect.Parameter.empty
    )
