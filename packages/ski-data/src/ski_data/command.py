"""One way to turn typed functions into a command line, for ski-data and the packages above it."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import (
    ActionConfigFile,
    ActionYesNo,
    ArgumentParser,
    Namespace,
    set_parsing_settings,
)

Command = Callable[..., object]


def run(
    commands: Mapping[str, Command],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    version: str,
    description: str,
) -> int:
    """Run one of ``commands`` on ``argv`` and give back the process's exit code.

    Options and help come from the functions' signatures and docstrings: a parameter without a
    default is a positional argument (a list takes one or more values), one behind ``*`` is an
    option, a bool is a switch ``--name`` / ``--no-name``. Every command takes ``--config FILE``
    and ``--print_config``. Standard output is for results, standard error for the log. Exit codes:
    0 done, 1 failed (a command may return 1 for findings), 2 wrong usage or input (one line, no
    traceback).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args == ["--version"]:
        print(f"{prog} {version}")
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        parser = build_parser(commands, prog=prog, description=description)
        parsed = parser.parse_args(args)
        result = call(commands[parsed.command], parser, parsed)
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
        if exit_code is None:
            raise
        print(f"{prog}: {error}", file=sys.stderr)
        return exit_code
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def build_parser(commands: Mapping[str, Command], *, prog: str, description: str) -> ArgumentParser:
    """A parser with one subcommand per function."""
    parser = ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    subcommands = parser.add_subcommands(dest="command")
    for name, function in commands.items():
        text = docstring_parser.parse(function.__doc__ or "")
        help_of = {param.arg_name: param.description for param in text.params}
        summary = text.short_description or ""
        sub = ArgumentParser(description=summary, allow_abbrev=False)
        sub.add_argument("--config", action=ActionConfigFile, help="settings from a YAML file")
        hints = get_type_hints(function)
        parameters = inspect.signature(function).parameters.values()
        by_hand = set()
        for parameter in parameters:
            kind, text_of = hints[parameter.name], help_of.get(parameter.name)
            if _is_positional(parameter):
                many = get_origin(kind) is list
                sub.add_argument(
                    parameter.name,
                    type=get_args(kind)[0] if many else kind,
                    nargs="+" if many else None,
                    help=text_of,
                )
            elif kind is bool:
                sub.add_argument(
                    f"--{parameter.name}",
                    action=ActionYesNo(no_prefix="no-"),
                    default=parameter.default,
                    help=text_of,
                )
            else:
                continue
            by_hand.add(parameter.name)
        sub.add_function_arguments(function, as_positional=False, skip=by_hand)
        subcommands.add_subcommand(name, sub, help=summary)
    return parser


def call(function: Command, parser: ArgumentParser, parsed: Namespace) -> object:
    """Call a subcommand's function with what was parsed for it."""
    values = parser.instantiate(parsed)[parsed.command]
    names = inspect.signature(function).parameters
    arguments: dict[str, Any] = {name: values[name] for name in names}
    return function(**arguments)


def _is_positional(parameter: inspect.Parameter) -> bool:
    return (
        parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is inspect.Parameter.empty
    )
