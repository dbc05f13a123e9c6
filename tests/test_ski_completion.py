"""Completion of ski in real shells."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from apps.cli import completion
from apps.cli.completion import WRITERS, completed
from apps.cli.main import COMMANDS, SUMMARIES, VARIANTS, main
from ski_data import command

COMPLETE = """
complete_of() {
  COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
  _ski
  printf '%s\\n' "${COMPREPLY[@]}"
}
compopt() { :; }  # works only while a person presses the key
"""
ZSH = """
compdef() { :; }
compadd() {
  shift
  for one in "$@"; do if [[ $one = $PREFIX* ]]; then print -r -- $one; fi; done
}
_files() { compadd -- *; }
complete_of() { words=("$@"); CURRENT=$#; PREFIX=${words[CURRENT]}; _ski; }
"""
CASES = [
    ("ski ''", list(SUMMARIES)),
    ("ski re", ["recognize"]),
    ("ski nothing ''", ["clip.mp4"]),
    ("ski recognize ''", ["clip.mp4"]),
    ("ski recognize --cl", ["--classes"]),
    ("ski recognize clip.mp4 --classes nt", ["ntu60", "ntu120"]),
    ("ski recognize --smoothing m", ["median"]),
    ("ski recognize --model ''", ["clip.mp4"]),
    ("ski caption --precision b", ["bfloat16"]),
    ("ski train skeletonclip_ntu60", ["skeletonclip_ntu60_48-12", "skeletonclip_ntu60_55-5"]),
    ("ski train --fit", ["--fit_memory"]),
    ("ski train --li", ["--list"]),
    ("ski demo --se", ["--seeds"]),
    ("ski bench ''", ["list", "run", "report"]),
    ("ski bench run --sca", ["--scale"]),
    ("ski bench run --scale ''", ["full", "tiny"]),
    ("ski bench report --o", ["--out"]),
    ("ski serve --po", ["--port"]),
    ("ski web --po", ["--port"]),
    ("ski doctor --d", ["--data"]),
    ("ski completion ''", ["bash", "zsh", "fish"]),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    (folder / "here").mkdir()
    (folder / "here" / "clip.mp4").write_bytes(b"")
    for shell, writer in WRITERS.items():
        (folder / shell).write_text(writer(completed()), encoding="utf-8")
    return folder


def answers(shell: str, lines: list[str], folder: Path) -> list[list[str]]:
    """What a shell gives for each line."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [shell, "-c", "\n".join(lines)],
        cwd=folder / "here",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [part.split("\n")[:-1] for part in done.stdout.split("===\n")[1:]]


@pytest.mark.parametrize(("shell", "begin"), [("bash", COMPLETE), ("zsh", ZSH)])
def test_bash_and_zsh_complete(scripts, shell, begin):
    lines = [begin, f"source {shlex.quote(str(scripts / shell))}"]
    lines += [f"echo '==='; complete_of {words}" for words, _ in CASES]
    found = answers(shell, lines, scripts)
    assert {w: sorted(x) for (w, _), x in zip(CASES, found, strict=True)} == {
        words: sorted(wanted) for words, wanted in CASES
    }


def test_bash_completes_after_an_equals_sign(scripts):
    line = "complete_of ski recognize --smoothing = me; complete_of ski recognize --smoothing ="
    found = answers("bash", [COMPLETE, f"source {scripts / 'bash'}", f"echo ===; {line}"], scripts)
    assert found == [["median", "none", "exponential", "median"]]


def test_fish_completes(scripts):
    lines = [f"source {shlex.quote(str(scripts / 'fish'))}"]
    for words, _ in CASES:
        line = words.replace("''", "")
        lines.append(f"echo ===; complete -C {shlex.quote(line)} | string replace -r '\\t.*' ''")
    lines.append("true")
    for (words, wanted), found in zip(CASES, answers("fish", lines, scripts), strict=True):
        assert set(wanted) <= set(found), words


def test_eval_in_a_new_bash_binds_it(scripts):
    lines = ["echo ===", f'eval "$(cat {scripts / "bash"})"', "complete -p ski"]
    assert answers("bash", lines, scripts) == [["complete -F _ski ski"]]


@pytest.mark.parametrize("name", [*COMMANDS, *(" ".join(words) for words in VARIANTS)])
def test_options_are_those_that_the_parsers_take(name):
    words = tuple(name.split())
    target = VARIANTS.get(words) or COMMANDS[name]
    function = command.load(target)
    parser = command.build_parser({words[0]: function}, prog="ski", description="")
    inner = parser._subparsers._group_actions[0]._name_parser_map[words[0]]
    wanted = {
        option.removeprefix("--")
        for action in inner._actions
        for option in action.option_strings
        if option.startswith("--") and not option.startswith("--no-")
    }
    (one,) = [one for one in completed() if one.name == words[0]]
    offered = {option.name for option in one.options}
    assert wanted <= offered
    others = {o.name for v, t in VARIANTS.items() if v[0] == words[0] for o in signature_of(t)}
    others |= {o.name for o in signature_of(COMMANDS[words[0]])}
    assert offered - wanted <= others | {word[2:] for owner, word in VARIANTS if owner == words[0]}


def signature_of(target):
    return completion.signature(target).options


@pytest.mark.parametrize("shell", list(WRITERS))
def test_command_prints_the_script(shell, scripts, capsys):
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out.strip() == (scripts / shell).read_text().strip()


def test_help_of_the_command_says_where_it_goes(capsys):
    assert main(["completion", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in (".bashrc", ".zshrc", "config/fish"))
