"""The page's files, its lists of classes, and the command."""

from __future__ import annotations

import inspect
import re

import pytest
from fastapi.testclient import TestClient

from apps.serve.command import serve
from apps.serve.settings import Settings
from apps.web.command import main, web
from apps.web.page import STATIC, create_app
from ski_data.splits import dataset_classes


@pytest.fixture(scope="module")
def client():
    """A service that was not started: its page needs no model."""
    return TestClient(create_app(Settings(models={"a": "nowhere"}, token="0123456789abcdef")))


def test_page_needs_no_token_and_obeys_its_own_rules(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    rules = answer.headers["content-security-policy"]
    assert "default-src 'none'" in rules
    assert "unsafe" not in rules
    assert "microphone=()" in answer.headers["permissions-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script>", answer.text)
    assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_files_are_served_and_name_no_other_host(client, path):
    answer = client.get(f"/{path.name}")
    assert answer.status_code == 200
    text = answer.text.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert "//" not in re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE).replace(" // ", " ")
    kinds = {".html": "html", ".css": "css", ".js": "javascript", ".svg": "svg"}
    assert kinds[path.suffix] in answer.headers["content-type"]


def test_lists(client):
    lists = client.get("/class-lists").json()["lists"]
    assert {found["id"]: len(found["names"]) for found in lists} == {
        "ntu60": 60,
        "ntu120": 120,
        "pku-mmd": 51,
    }
    assert lists[0]["names"] == list(dataset_classes("ntu60").names)
    assert "/class-lists" in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("path", ["/nothing", "/../page.py", "/%2e%2e/page.py", "/static/main.js"])
def test_other_addresses_are_no_files(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "no such address"


def test_options_are_those_of_the_service(capsys):
    assert inspect.signature(web) == inspect.signature(serve)
    assert main(["--help"]) == 0
    assert "python -m apps.web" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "no model: give --model"),
        (["--model", "folder"], "--model 'folder'"),
        (["--model", "a=b", "--port", "99999"], "port is in 0..65535"),
        (["--model", "a=b", "--token-file", "nowhere"], "no such token file"),
        (["--modell", "a=b"], "--help"),
    ],
)
def test_wrong_usage_is_one_line(capsys, argv, told):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("python -m apps.web: ")
    assert error.count("\n") == 1


def test_model_that_cannot_be_loaded_ends_it(capsys, tmp_path):
    assert main(["--model", f"a={tmp_path / 'nothing'}", "--port", "0"]) == 2
    shown, error = capsys.readouterr()
    assert shown.startswith("http://127.0.0.1:")
    assert "python -m apps.web: a: " in error
