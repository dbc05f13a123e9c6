from __future__ import annotations

import json
import subprocess

from ski_eval import environment
from ski_eval.provenance import git_state, hardware, package_versions


def test_environment_is_plain(tmp_path):
    found = environment(tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"python", "platform", "versions", "git", "hardware"}
    assert found["versions"]["ski-eval"]
    assert found["git"] is None


def test_absent_packages_are_left_out():
    assert package_versions(["numpy", "no-such-package-of-ours"]).keys() == {"numpy"}


def test_hardware():
    found = hardware()
    assert found["cores"] >= 1
    assert found["cpu"]
    assert isinstance(found["gpus"], list)


def test_git_state(tmp_path, monkeypatch):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")

    def git(*args):
        subprocess.run(["git", "-C", str(tmp_path), *args], check=True, capture_output=True)

    git("init", "-q")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-q", "-m", "first")
    clean = git_state(tmp_path)
    assert clean["dirty"] is False
    assert len(clean["commit"]) == 40
    (tmp_path / "a.txt").write_text("b")
    assert git_state(tmp_path) == {**clean, "dirty": True}


def test_without_git(monkeypatch):
    monkeypatch.setattr("ski_eval.provenance.shutil.which", lambda name: None)
    assert git_state() is None
    assert hardware()["gpus"] == []
