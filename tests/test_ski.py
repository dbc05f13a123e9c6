"""The program ski: its commands, what they hand on, and what they refuse."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from apps.cli import main as program
from apps.cli import recognize, train
from apps.cli.completion import completed
from apps.cli.main import COMMANDS, PROGRAMS, SUMMARIES, VARIANTS, main
from apps.cli.signatures import fields, signature, spelled
from ski_data.command import underscored
from ski_data.config import from_plain
from ski_data.errors import InputError, MissingFileError
from ski_data.splits import dataset_classes

ROOT = Path(__file__).parents[1]
MODULES = "import sys; from apps.cli.main import main; code = main({args!r}); "


def in_process(args, then):
    """What a fresh Python prints that runs ski and then something."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES.format(args=args) + then],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# ------------------------------------------------------------------ the program


def test_help_lists_every_command_and_imports_nothing():
    heavy = "('torch', 'numpy', 'yaml', 'jsonargparse', 'ski_data')"
    text = in_process(["--help"], f"print(code, [m for m in {heavy} if m in sys.modules])")
    assert text.splitlines()[-1] == "0 []"
    assert [line.split()[0] for line in text.splitlines()[4:-1]] == list(SUMMARIES)


def test_every_command_has_a_summary_and_a_function():
    assert set(SUMMARIES) == {*COMMANDS, *PROGRAMS}
    assert {owner for owner, _ in VARIANTS} <= set(COMMANDS)
    for target in (*COMMANDS.values(), *PROGRAMS.values(), *VARIANTS.values()):
        assert signature(target).summary


def test_without_a_command_the_list_and_2(capsys):
    assert main([]) == 2
    assert "recognize" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["tran"], "ski: no command 'tran'; did you mean train; see ski --help"),
        (["--models"], "no command '--models'; there are recognize, caption"),
        (["recognize"], "video"),
        (["recognize", "a.mp4"], "classes"),
        (["recognize", "a.mp4", "--classes", "a,b", "--tops", "3"], "tops"),
        (["recognize", "a.mp4", "--classes", " ,"], "--classes is empty; name some as"),
        (["recognize", "a.mp4", "--classes", "a,b", "--stream", "--top_k", "3"], "top_k"),
        (["caption", "a.mp4"], "model"),
        (["train"], "recipe"),
        (["train", "nothing.yaml", "--out", "x"], "nothing.yaml: no such file, and no package"),
        (["bench", "go"], "go"),
        (["bench", "run", "table1", "--scale", "huge"], "scale"),
        (["completion"], "ski completion: name one of bash, zsh, fish"),
        (["completion", "ksh"], "ski completion: name one of bash, zsh, fish"),
        (["doctor", "--data", ""], "ski doctor: --data is empty; name a folder"),
        (["doctor", "--loud"], "ski doctor: unrecognized arguments: --loud"),
        (["serve", "--port", "x"], "port"),
    ],
)
def test_wrong_usage_is_one_line_and_2(args, told, capsys):
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert told in err


def test_a_module_that_is_missing_leads_to_the_doctor(monkeypatch, capsys):
    monkeypatch.setitem(program.PROGRAMS, "bench", "no_such_module:main")
    assert main(["bench"]) == 1
    told = "ski bench: no module no_such_module: this installation is not whole; `ski doctor`"
    assert capsys.readouterr().err.startswith(told)


def test_a_reader_that_goes_away_is_no_error():
    line = f"{sys.executable} -m apps completion fish | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "1")  # 0 where all was written before the reader left


def test_version_names_the_packages(capsys):
    assert main(["--version"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name} 0" in text for name in ("ski-data", "ski-eval", "ski-vlm", "ski-lvlm"))


def test_bench_is_the_program_of_the_benchmarks(capsys):
    assert main(["bench", "list"]) == 0
    assert "table1: " in capsys.readouterr().out
    assert main(["bench", "report", "--data", "adl-mini", "ntu60=F"]) == 2  # spread to one option
    assert "ski bench report" in capsys.readouterr().err


# ------------------------------------------------------------------ signatures


@pytest.mark.parametrize(
    "target", [*COMMANDS.values(), *VARIANTS.values(), "apps.cli.doctor:doctor"]
)
def test_signatures_read_from_the_source_are_those_of_the_functions(target):
    from ski_data.command import load

    wanted = inspect.signature(load(target)).parameters
    found = {one.name: one for one in signature(target).arguments}
    assert list(found) == list(wanted)
    for name, parameter in wanted.items():
        by_place = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        assert found[name].positional == (by_place and parameter.default is parameter.empty)
        assert found[name].help


def test_names_without_a_module_or_function():
    with pytest.raises(ModuleNotFoundError):
        signature("no_such_module:main")
    with pytest.raises(ModuleNotFoundError):
        signature("apps.cli.no_such:main")
    with pytest.raises(LookupError):
        signature("apps.cli.main:no_such")
    with pytest.raises(LookupError):
        fields("apps.cli.main:NoSuch")
    assert spelled(main) == "apps.cli.main:main"


# ------------------------------------------------------------------ recognize


def test_defaults_are_those_of_ski_vlm():
    from ski_vlm.predict_command import predict
    from ski_vlm.stream_command import stream

    for ours, theirs in ((recognize.recognize, predict), (recognize.recognize_stream, stream)):
        wanted = inspect.signature(theirs).parameters
        for name, parameter in inspect.signature(ours).parameters.items():
            if name != "model":
                assert parameter.default == wanted[name].default, name
        assert set(wanted) == set(inspect.signature(ours).parameters)


@pytest.mark.parametrize("name", ["ntu60", "ntu120", "pku-mmd"])
def test_classes_of_data_sets(name):
    from ski_vlm.predict import read_class_names

    assert read_class_names(recognize.class_names(name)) == list(dataset_classes(name).names)


def test_other_classes_are_as_they_are():
    assert len(recognize.class_names("adl-mini").split(",")) == 25
    assert recognize.class_names("喝水,下棋") == "喝水,下棋"


@pytest.mark.parametrize("name", ["predict", "stream"])
def test_what_ski_vlm_is_asked(monkeypatch, name):
    from ski_vlm import predict_command, stream_command

    asked = {}

    def take(videos, **options):
        asked.update(options, videos=videos)
        return 1

    monkeypatch.setattr(predict_command, "predict", take)
    monkeypatch.setattr(stream_command, "stream", take)
    if name == "predict":
        words = ["a.mp4", "b", "--model", "M", "--classes", "ntu60", "--json", "--top-k", "3"]
        wanted = {"videos": ["a.mp4", "b"], "model": "M", "top_k": 3, "json": True}
    else:
        words = ["a.mp4", "--classes", "ntu60", "--stream", "--threshold", "0.5"]
        wanted = {"videos": "a.mp4", "model": "ViT-B-16/openai", "threshold": 0.5, "json": False}
    assert main(["recognize", *words]) == 1
    assert asked["classes"].startswith("drink water,eat meal/snack,")
    assert {key: asked[key] for key in wanted} == wanted


def folder(path, *files):
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}", encoding="utf-8")
    return path


def test_models_of_runs(tmp_path, caplog):
    caplog.set_level("INFO")
    demo = folder(tmp_path / "demo", "config.yaml", "times.json")
    with pytest.raises(MissingFileError, match="no distilled student yet; go on with `ski demo"):
        recognize.find_model(str(demo))
    for seed in (10, 2):
        folder(demo, f"ski-vificlip-seed{seed}/model/config.json")
    assert recognize.find_model(str(demo)) == str(demo / "ski-vificlip-seed2")
    assert "its model ski-vificlip-seed2" in caplog.text
    run = folder(tmp_path / "run", "recipe.json")
    with pytest.raises(InputError, match="damaged"):
        recognize.find_model(str(run))
    (run / "recipe.json").write_text('{"seeds": [3, 4]}', encoding="utf-8")
    with pytest.raises(MissingFileError, match="seed-3: not trained yet"):
        recognize.find_model(str(run))
    folder(run, "seed-3/model/config.json")
    assert recognize.find_model(str(run)) == str(run / "seed-3")


def test_models_that_are_none_of_ours_are_as_they_are(tmp_path):
    model = folder(tmp_path, "model/config.json", "recipe.json")
    for name in (str(model), str(tmp_path / "model"), "ViT-B-16/openai", "hf-hub:a/b", "nothing"):
        assert recognize.find_model(name) == name


# ------------------------------------------------------------------ train


def recipes():
    return [
        path
        for owner in {o.package for o in train.OWNERS}
        for path in train.shipped(owner).values()
    ]


def test_every_recipe_is_given_to_the_command_that_takes_it():
    """The header of a recipe names its command; that of ski-lvlm's its method."""
    paths = recipes()
    assert len(paths) > 100
    for path in paths:
        owner = train.find_owner(str(path))
        assert path.parents[1].name == owner.package
        assert f"{owner} FILE" in path.read_text(encoding="utf-8") or owner.package == "ski_lvlm"


def test_classes_of_the_table_are_those_of_the_recipes():
    import importlib

    for owner in train.OWNERS:
        for target in filter(None, (owner.recipe, owner.data)):
            module, _, name = target.partition(":")
            cls = getattr(importlib.import_module(module), name)
            assert fields(target) == set(cls.__dataclass_fields__)
    item = train.shipped("ski_vlm")["vificlip_ntu60_55-5"]
    recipe = yaml.safe_load(item.read_text(encoding="utf-8"))
    cls = importlib.import_module("ski_vlm.recipe").VideoRecipe
    assert from_plain(cls, recipe, "recipe").seeds


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected settings by name"),
        ("[1, 2]", "expected settings by name"),
        ("{colour: red, taste: sour}", "not the settings of a recipe of any package"),
        ("{data: {store: s}, feeder: {}}", "could be a recipe of"),
        ((ROOT / "apps/adl_mini/recipe.yaml").read_text(), "of the main job; run `ski demo --rec"),
        ("{a: ]", "not readable as YAML"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, told):
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        train.find_owner(str(tmp_path / "r.yaml"))


def test_a_typing_error_is_told_by_the_package(tmp_path, capsys):
    text = train.shipped("ski_skeleton")["hyperformer_ntu60_xsub"].read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("encoder:", "encodr:"), encoding="utf-8")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "unknown settings ['encodr']" in capsys.readouterr().err.splitlines()[-1]


def test_options_go_to_the_package_and_no_others(monkeypatch, capsys, tmp_path):
    @dataclass
    class Called:
        values: dict

    called = Called({})

    def own(recipe, **values):
        called.values = {"recipe": recipe, **values}
        return 0

    monkeypatch.setattr(train.command, "load", lambda _: own)
    train.train("vificlip_ntu60_55-5", out="run", seeds=2, dry_run=True)
    assert called.values.pop("recipe").endswith("ski_vlm/recipes/vificlip_ntu60_55-5.yaml")
    assert called.values == {"out": "run", "seeds": 2, "dry_run": True}
    with pytest.raises(
        InputError, match=r"of ski-vlm train, which does not take --skeleton_stream; it"
    ):
        train.train("vificlip_ntu60_55-5", out="run", skeleton_stream="bone")


def test_options_of_train_are_those_of_the_packages():
    ours = {one.name: one for one in signature("apps.cli.train:train").options}
    theirs = {o.name: o for owner in train.OWNERS for o in signature(owner.function).options}
    assert set(ours) == set(theirs)


def test_list_of_recipes(capsys):
    assert main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(recipes())
    assert any(
        line.split(maxsplit=3)[:3] == ["ski-lvlm", "train", "vcgpt_ntu120"] for line in lines
    )
    assert main(["train", "--list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == len(lines)
    assert {row["command"] for row in rows} == {str(owner) for owner in train.OWNERS}
    assert all(row["title"] for row in rows)


def test_the_list_is_fast_as_it_imports_no_package():
    then = "print([m for m in ('torch', 'ski_vlm', 'ski_lvlm') if m in sys.modules])"
    assert in_process(["train", "--list", "--json"], then).splitlines()[-1] == "[]"


def documented():
    """Words of every command that the page shows."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ (ski .*)$", text, re.MULTILINE)
    return [line.split() for line in lines if "<TAB>" not in line]


def test_the_page_shows_every_command_and_no_option_that_there_is_not():
    known = {one.words: one for one in completed()}
    shown = set()
    for _, *words in documented():
        command = known.get(tuple(words[:2])) or known.get(tuple(words[:1]))
        options = {word for word in words if word.startswith("--")}
        if command is None:
            assert words == ["--help"]
            continue
        shown.add(command.words[0])
        names = {f"--{option.name}" for option in command.options}
        assert set(underscored(sorted(options))) <= names, words
    assert shown | {"completion"} == set(SUMMARIES)


def test_the_page_shows_the_overview():
    assert program.overview() in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_python_m_apps_is_ski():
    done = subprocess.run(
        [sys.executable, "-m", "apps", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ski: no command 'nothing'")
