"""``ski completion SHELL``: what makes a shell complete commands, options and their values.

Made from the commands' signatures, which are read without importing the commands, so that a shell
starts fast.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from apps.cli.main import COMMANDS, PROGRAMS, SUMMARIES, VARIANTS
from apps.cli.signatures import Argument, Target, signature, spelled

COMMON = (
    Argument("help", "bool", False, help="show help and leave"),
    Argument("config", "str", False, help="settings from a YAML file"),
    Argument("print_config", "bool", False, help="print all settings and leave"),
)
"""Options of every command."""
SERVICE = "apps.serve.command:serve"
"""Its options are those of the web app too."""
DEVICES = ("cpu", "cuda", "cuda:0")


@dataclass(frozen=True)
class Completed:
    """A command and what may follow it.

    Attributes:
        words: As they are typed after ``ski``: ``("bench", "run")``.
        summary: One line.
        options: With their values and help.
        arguments: What may stand there without ``--``.
        files: Whether files may stand there too.
    """

    words: tuple[str, ...]
    summary: str
    options: tuple[Argument, ...] = ()
    arguments: tuple[str, ...] = ()
    files: bool = True

    @property
    def name(self) -> str:
        """``bench run``."""
        return " ".join(self.words)


def completed() -> list[Completed]:
    """Every command of ``ski``, and those within its programs."""
    found = []
    for name, summary in SUMMARIES.items():
        if name in PROGRAMS:
            found += _programs()[name](summary)
        else:
            found.append(_function((name,), summary, COMMANDS[name]))
    return found


def _function(words: tuple[str, ...], summary: str, target: Target) -> Completed:
    """A command that is a function, with the options of its variants."""
    options = {one.name: one for one in signature(spelled(target)).options}
    for (owner, word), variant in VARIANTS.items():
        if (owner,) == words:
            name = word.removeprefix("--")
            told = signature(variant)
            options[name] = Argument(name, "bool", False, help=told.summary)
            options |= {one.name: one for one in told.options if one.name not in options}
    return Completed(
        words,
        summary,
        tuple(map(_with_values, (*options.values(), *COMMON))),
        _recipes() if words == ("train",) else (),
    )


def _programs() -> Mapping[str, Callable[[str], Iterator[Completed]]]:
    return {
        "bench": _bench,
        "doctor": _doctor,
        "serve": _serve,
        "web": _web,
        "completion": _completion,
    }


def _bench(summary: str) -> Iterator[Completed]:
    from benchmarks.bench.__main__ import COMMANDS as WITHIN

    yield Completed(("bench",), summary, COMMON[:1], tuple(WITHIN), files=False)
    for name, function in WITHIN.items():
        yield _function(("bench", name), signature(spelled(function)).summary, function)


def _doctor(summary: str) -> Iterator[Completed]:
    options = (*signature("apps.cli.doctor:doctor").options, COMMON[0])
    yield Completed(("doctor",), summary, options)


def _completion(summary: str) -> Iterator[Completed]:
    yield Completed(("completion",), summary, COMMON[:1], tuple(WRITERS), files=False)


def _serve(summary: str) -> Iterator[Completed]:
    yield _function(("serve",), summary, SERVICE)


def _web(summary: str) -> Iterator[Completed]:
    yield _function(("web",), summary, SERVICE)


def _recipes() -> tuple[str, ...]:
    from apps.cli.train import OWNERS, shipped

    packages = dict.fromkeys(owner.package for owner in OWNERS)
    return tuple(name for package in packages for name in shipped(package))


def _with_values(option: Argument) -> Argument:
    """Values of options that are the same everywhere."""
    from apps.cli.recognize import NAMED

    values = {"device": DEVICES, "classes": NAMED}
    if option.choices or option.name not in values:
        return option
    return Argument(option.name, option.kind, False, values[option.name], option.help)


def bash(commands: Sequence[Completed]) -> str:
    """For ``eval "$(ski completion bash)"`` in ~/.bashrc."""
    first, second = _trees(commands)
    lines = [
        "# Completion of ski for bash.",
        "_ski() {",
        "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}",
        "  local name=${COMP_WORDS[1]} options= words= values= files=1",
        '  if [ "$current" = = ]; then current=; fi  # --name=value comes as three words',
        '  if [ "$before" = = ]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi',
        "  COMPREPLY=()",
        "  if [ $COMP_CWORD -eq 1 ]; then",
        f'    COMPREPLY=($(compgen -W {_quoted(first)} -- "$current"))',
        "    return",
        "  fi",
        *_inner_names(second, "[ $COMP_CWORD -gt 2 ]", "${COMP_WORDS[2]}"),
        *_tables(commands),
        '  if [ -n "$values" ]; then',
        '    if [ "$values" != "<file>" ]; then',
        '      COMPREPLY=($(compgen -W "$values" -- "$current"))',
        "    else",
        '      compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))',
        "    fi",
        '  elif [ "${current#-}" != "$current" ]; then',
        '    COMPREPLY=($(compgen -W "$options" -- "$current"))',
        "  else",
        '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
        '    if [ -n "$files" ]; then',
        '      compopt -o filenames; COMPREPLY+=($(compgen -f -- "$current"))',
        "    fi",
        "  fi",
        "}",
        "complete -F _ski ski",
    ]
    return "\n".join(lines)


def zsh(commands: Sequence[Completed]) -> str:
    """For a file ``_ski`` in a folder of ``fpath``, or for eval after ``compinit``."""
    first, second = _trees(commands)
    lines = [
        "#compdef ski",
        "_ski() {",
        "  local current=${words[CURRENT]} before=${words[CURRENT-1]}",
        "  local name=${words[2]} values= options= files=1",
        '  local -a typed; typed=("${words[@]}"); local words=',
        "  if (( CURRENT == 2 )); then",
        f"    compadd -- {' '.join(map(shlex.quote, first))}",
        "    return",
        "  fi",
        *_inner_names(second, "(( CURRENT > 3 ))", "${typed[3]}"),
        *_tables(commands),
        '  if [ -n "$values" ]; then',
        '    if [ "$values" != "<file>" ]; then compadd -- ${=values}; else _files; fi',
        '  elif [ "${current#-}" != "$current" ]; then',
        "    compadd -- ${=options}",
        "  else",
        '    if [ -n "$words" ]; then compadd -- ${=words}; fi',
        '    if [ -n "$files" ]; then _files; fi',
        "  fi",
        "}",
        'if [ "$funcstack[1]" = "_ski" ]; then _ski "$@"; else compdef _ski ski; fi',
    ]
    return "\n".join(lines)


def fish(commands: Sequence[Completed]) -> str:
    """For ``~/.config/fish/completions/ski.fish``."""
    lines = ["# Completion of ski for fish.", "complete -c ski -n __fish_use_subcommand -f"]
    for command in commands:
        name = command.words[-1]
        if len(command.words) == 1:
            when = "__fish_use_subcommand"
        else:
            when = f"__fish_seen_subcommand_from {command.words[0]}"
        lines.append(_fish(when, f"-f -a {shlex.quote(name)}", command.summary))
        seen = " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words)
        if command.arguments and len(_below(commands, command)) == 0:
            lines.append(_fish(seen, f"-a {_quoted(command.arguments)}", ""))
        for option in command.options:
            value = ""
            if not option.switch:
                value = " -r" + (f" -a {_quoted(option.choices)}" if option.choices else "")
            lines.append(_fish(seen, f"-l {option.name}{value}", option.help))
    return "\n".join(lines)


def _fish(when: str, what: str, told: str) -> str:
    about = f" -d {shlex.quote(told)}" if told else ""
    return f"complete -c ski -n {shlex.quote(when)} {what}{about}"


def _below(commands: Sequence[Completed], command: Completed) -> list[str]:
    size = len(command.words)
    return [c.words[size] for c in commands if len(c.words) > size and c.words[0] == command.name]


def _trees(commands: Sequence[Completed]) -> tuple[list[str], dict[str, list[str]]]:
    """Commands, and those within them."""
    first = [command.name for command in commands if len(command.words) == 1]
    return first, {c.name: _below(commands, c) for c in commands if _below(commands, c)}


def _inner_names(second: Mapping[str, list[str]], beyond: str, word: str) -> Iterator[str]:
    for name in second:
        yield f'  if [ "$name" = {name} ] && {beyond}; then name="$name {word}"; fi'


def _tables(commands: Sequence[Completed]) -> Iterator[str]:
    """Shell words that bash and zsh share: by command its options, by option its values."""
    yield '  case "$name" in'
    for command in commands:
        options = [f"--{option.name}" for option in command.options]
        words = f"; words={_quoted(command.arguments)}" if command.arguments else ""
        words += "" if command.files else "; files="
        yield f"    {shlex.quote(command.name)}) options={_quoted(options)}{words} ;;"
    yield "  esac"
    yield '  case "$name $before" in'
    for command in commands:
        for option in command.options:
            if not option.switch:
                values = _quoted(option.choices or ["<file>"])
                yield f"    {shlex.quote(f'{command.name} --{option.name}')}) values={values} ;;"
    yield "  esac"


def _quoted(words: Sequence[str]) -> str:
    return shlex.quote(" ".join(words))


USAGE = """usage: ski completion bash|zsh|fish

Print what makes a shell complete the commands of ski, their options and values.

bash: eval "$(ski completion bash)" in ~/.bashrc
zsh:  eval "$(ski completion zsh)" in ~/.zshrc, below compinit
fish: ski completion fish > ~/.config/fish/completions/ski.fish"""
WRITERS = {"bash": bash, "zsh": zsh, "fish": fish}


def main(argv: Sequence[str]) -> int:
    """Entry point: prints the script of a shell."""
    if list(argv) in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(argv) != 1 or argv[0] not in WRITERS:
        told = "; see ski completion --help"
        print(f"ski completion: name one of {', '.join(WRITERS)}{told}", file=sys.stderr)
        return 2
    print(WRITERS[argv[0]](completed()))
    return 0
