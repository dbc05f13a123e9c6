"""What a command takes, read from its source without importing it: for help and completion."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Target = str | Callable[..., object]
"""A command: ``module:function``, or the function."""


@dataclass(frozen=True)
class Argument:
    """A parameter of a command's function.

    Attributes:
        name: Of the parameter; an option is ``--NAME``.
        kind: Its annotation as it is written.
        positional: Whether it stands without ``--``.
        choices: What it may be, where the annotation says so.
        help: From the docstring.
    """

    name: str
    kind: str
    positional: bool
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def switch(self) -> bool:
        """Whether the option stands alone, ``--NAME`` or ``--no-NAME``."""
        return self.kind == "bool"


@dataclass(frozen=True)
class Signature:
    """A command's first line of help and its arguments in order."""

    summary: str
    arguments: tuple[Argument, ...]

    @property
    def options(self) -> tuple[Argument, ...]:
        """Those that are not positional."""
        return tuple(one for one in self.arguments if not one.positional)


def spelled(target: Target) -> str:
    """A command as ``module:function``."""
    return target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"


@cache
def signature(target: str) -> Signature:
    """Arguments and summary of ``module:function``.

    Raises:
        ModuleNotFoundError: no such module.
        LookupError: no such function in it.
    """
    module, _, name = target.partition(":")
    for node in _parsed(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            text = ast.get_docstring(node) or ""
            return Signature(text.partition("\n")[0].rstrip("."), tuple(_arguments(node, text)))
    raise LookupError(f"{module} has no function {name}")


def fields(target: str) -> frozenset[str]:
    """Names of the fields of the dataclass ``module:Class``.

    Raises:
        ModuleNotFoundError: no such module.
        LookupError: no such class in it.
    """
    module, _, name = target.partition(":")
    for node in _parsed(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            lines = (line for line in node.body if isinstance(line, ast.AnnAssign))
            return frozenset(x.target.id for x in lines if isinstance(x.target, ast.Name))
    raise LookupError(f"{module} has no class {name}")


def package_folder(package: str) -> Path:
    """Where a package is, without importing it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent


@cache
def _parsed(module: str) -> ast.Module:
    top, *inner = module.split(".")
    path = package_folder(top).joinpath(*inner).with_suffix(".py")
    if not path.is_file():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return ast.parse(path.read_text(encoding="utf-8"))


def _arguments(function: ast.FunctionDef, docstring: str) -> Iterator[Argument]:
    help_of = _described(docstring)
    given = function.args
    first_default = len(given.args) - len(given.defaults)
    for number, one in enumerate([*given.args, *given.kwonlyargs]):
        annotation = "" if one.annotation is None else ast.unparse(one.annotation)
        positional = number < first_default
        choices = tuple(_choices(one.annotation))
        yield Argument(one.arg, annotation, positional, choices, help_of.get(one.arg, ""))


def _choices(annotation: ast.expr | None) -> Iterator[str]:
    """Texts of a ``Literal``."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            yield from (x.value for x in ast.walk(node.slice) if isinstance(x, ast.Constant))


def _described(docstring: str) -> Mapping[str, str]:
    """Help by parameter, from the part ``Args:``."""
    import docstring_parser  # overviews do not need it

    found = docstring_parser.parse(docstring).params
    return {one.arg_name: " ".join((one.description or "").split()) for one in found}
