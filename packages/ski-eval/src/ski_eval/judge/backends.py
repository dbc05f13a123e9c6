"""Who judges: a server with OpenAI's interface, or a transformers model in this process.

A judge has an ``identity`` (plain values: all that decides its answers, part of the cache's keys)
and ``reply(messages) -> text``. `run_judge` asks from up to ``workers`` threads.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import logging
import os
import random
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ski_eval.errors import InputError, SkiEvalError
from ski_eval.judge.prompts import BEST, SCHEMA, Message

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
"""The paper's judge is "Llama 3.1"; size and version are not told."""
_LONGEST_WAIT_S = 120.0
_log = logging.getLogger(__name__)


class JudgeError(SkiEvalError, RuntimeError):
    """The judge cannot be asked, or gave up."""


class Judge(Protocol):
    """What `run_judge` needs of a back end."""

    workers: int

    @property
    def identity(self) -> dict[str, Any]:
        """Model and settings as plain values."""
        ...

    def reply(self, messages: Sequence[Message]) -> str:
        """The judge's answer."""
        ...


@dataclass(frozen=True)
class HttpConfig:
    """A judge behind ``URL/chat/completions``."""

    url: str
    """Base address, e.g. http://127.0.0.1:8000/v1."""
    model: str
    """Name that the server knows the model by."""
    key_variable: str = "SKI_JUDGE_API_KEY"
    """Environment variable that holds the API key; without it none is sent."""
    temperature: float = 0.0
    max_tokens: int = 64
    schema: bool = True
    """Ask the server to decode under the answer's JSON schema."""
    seed: int | None = 0
    """Sent as ``seed``; None for servers that refuse it."""
    timeout_s: float = 120.0
    tries: int = 6
    """Requests per question before the run gives up."""
    wait_s: float = 1.0
    """Before the first repetition; doubled for each further one."""
    per_minute: float | None = None
    """Largest number of requests per minute over all workers; None for no limit."""
    workers: int = 4

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"url: {self.url!r}; expected e.g. http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InputError("url: no credentials, query or fragment; keys go into the environment")
        if not self.model.strip():
            raise InputError("model: empty; give the name that the server knows")
        if not 0.0 <= self.temperature <= 2.0:
            raise InputError(f"temperature: {self.temperature}; allowed: 0 to 2")
        for name in ("max_tokens", "tries", "workers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)}; allowed: 1 or more")
        for name in ("timeout_s", "wait_s"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name}: {getattr(self, name)}; allowed: more than 0 seconds")
        if self.per_minute is not None and not self.per_minute > 0.0:
            raise InputError(f"per_minute: {self.per_minute}; allowed: more than 0")


class HttpJudge:
    """Asks a server; repeats on 429, 5xx, time-outs, cut connections and damaged answers.

    The pause before a repetition doubles each time, with jitter, and is at least the server's
    ``Retry-After``. Redirects are not followed, so that the key goes to the named host only.
    """

    def __init__(self, config: HttpConfig, sleep: Callable[[float], None] = time.sleep) -> None:
        self.config, self.workers = config, config.workers
        self._sleep = sleep
        self._pace = _Pace(config.per_minute, sleep)
        self._jitter = random.Random(0)
        self._opener = urllib.request.build_opener(_NoRedirect)

    @property
    def identity(self) -> dict[str, Any]:
        """Model and settings; not the address, which does not decide the answer."""
        config = self.config
        return {
            "backend": "openai-compatible",
            "model": config.model,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "schema": config.schema,
            "seed": config.seed,
        }

    def reply(self, messages: Sequence[Message]) -> str:
        """The judge's answer.

        Raises:
            JudgeError: refused by the server, or still failing after ``tries`` requests.
        """
        told, wait = "", self.config.wait_s
        for attempt in range(1, self.config.tries + 1):
            self._pace.wait()
            try:
                return self._ask(messages)
            except _TemporaryError as error:
                told = str(error)
                if attempt == self.config.tries:
                    break
                pause = min(_LONGEST_WAIT_S, wait * (1.0 + 0.25 * self._jitter.random()))
                pause = max(pause, error.retry_after)
                _log.info("judge: %s; trying again in %.1f s", told, pause)
                if error.everyone:
                    self._pace.hold(pause)
                else:
                    self._sleep(pause)
                wait *= 2.0
        raise JudgeError(f"judge at {self.config.url}: {told}; gave up after {attempt} tries")

    def _ask(self, messages: Sequence[Message]) -> str:
        config = self.config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": list(messages),
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
        }
        if config.seed is not None:
            body["seed"] = config.seed
        if config.schema:
            form = {"name": "score", "strict": True, "schema": SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = os.environ.get(config.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            f"{config.url.rstrip('/')}/chat/completions",
            data=json.dumps(body).encode("utf-8"),
            headers=headers,
        )
        try:
            with self._opener.open(request, timeout=config.timeout_s) as response:
                content = json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except TimeoutError as error:
            raise _TemporaryError(f"no answer within {config.timeout_s:g} s") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _TemporaryError("the answer is no JSON") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _TemporaryError(
                f"connection failed ({type(reason).__name__}: {reason})"
            ) from error
        try:
            text = content["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise _TemporaryError("the answer has no choices[0].message.content") from error
        return text if isinstance(text, str) else ""

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        with error:
            try:
                said = error.read(500).decode("utf-8", errors="replace")
            except (OSError, http.client.HTTPException):
                said = "(its explanation was cut off)"
        said = " ".join(said.split())[:200]
        if error.code == 429 or error.code >= 500:
            after = _retry_after(error.headers.get("Retry-After"))
            told = f"HTTP {error.code} {error.reason}"
            return _TemporaryError(told, after, everyone=error.code in (429, 503))
        hint = ""
        if error.code in (401, 403):
            hint = f"; set the environment variable {self.config.key_variable}"
        elif 300 <= error.code < 400:
            hint = "; redirects are not followed, give the final address"
        elif error.code == 404:
            hint = f"; is {self.config.model!r} served there, and does the address end in /v1?"
        elif error.code in (400, 422) and self.config.schema:
            hint = "; if it is the JSON schema, turn it off with --schema false"
        return JudgeError(f"judge at {self.config.url}: HTTP {error.code}: {said}{hint}")


@dataclass(frozen=True)
class LocalConfig:
    """A transformers model, by name or folder."""

    model: str = LLAMA
    revision: str | None = None
    """Commit of the model's repository; pin it for figures that are published."""
    device: str = "cpu"
    gguf_file: str | None = None
    """File of quantised weights in that folder or repository (needs the package gguf)."""


class LocalJudge:
    """A transformers chat model, greedy, decoding one of the six allowed answers only."""

    workers = 1

    def __init__(self, config: LocalConfig) -> None:
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise JudgeError(
                "a local judge needs transformers and torch; install them with "
                "`pip install 'ski-eval[judge]'`, or give --url or --replay"
            ) from error
        self.config = config
        given = {"revision": config.revision, "gguf_file": config.gguf_file}
        options = {name: value for name, value in given.items() if value is not None}
        # Weights that could run code while they are read (pickles) are refused.
        kind = {"use_safetensors": True} if config.gguf_file is None else {}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(config.model, **options)
            model = AutoModelForCausalLM.from_pretrained(
                config.model, dtype="auto", **kind, **options
            )
        except (OSError, ValueError, ImportError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise JudgeError(
                f"judge model {config.model!r} cannot be loaded: {first}; give a folder, or log in "
                "if its licence has to be accepted first"
            ) from error
        if not self._tokenizer.chat_template:
            raise JudgeError(f"judge model {config.model!r} is no chat model (no chat template)")
        if self._tokenizer.eos_token_id is None:
            raise JudgeError(f"judge model {config.model!r} has no end token")
        self._model = model.to(config.device).eval()
        self._answers = [
            self._tokenizer(f'{{"score": {score}}}', add_special_tokens=False)["input_ids"]
            for score in range(BEST + 1)
        ]
        self._lock = threading.Lock()

    @property
    def identity(self) -> dict[str, Any]:
        """Model and settings as plain values."""
        return {
            "backend": "transformers",
            "model": self.config.model,
            "file": self.config.gguf_file,
            "revision": getattr(self._model.config, "_commit_hash", None) or self.config.revision,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "decoding": "greedy over the six answers",
        }

    def reply(self, messages: Sequence[Message]) -> str:
        """The most likely of the six answers, found token by token."""
        inputs = self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._model.device)
        start = inputs["input_ids"].shape[1]
        end = self._tokenizer.eos_token_id

        def allowed(_: int, tokens: Any) -> list[int]:
            done = tokens[start:].tolist()
            nexts = {a[len(done)] for a in self._answers if a[: len(done)] == done != a}
            return sorted(nexts) or [end]

        with self._lock:
            made = self._model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=max(len(answer) for answer in self._answers),
                prefix_allowed_tokens_fn=allowed,
                pad_token_id=end,
            )
        return self._tokenizer.decode(made[0, start:], skip_special_tokens=True).strip()


class _TemporaryError(Exception):
    """A failure that a repetition may mend; ``everyone``: all workers should pause."""

    def __init__(self, told: str, retry_after: float = 0.0, *, everyone: bool = False) -> None:
        super().__init__(told)
        self.retry_after, self.everyone = retry_after, everyone


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        return None


class _Pace:
    """When the next request may start, over all workers."""

    def __init__(self, per_minute: float | None, sleep: Callable[[float], None]) -> None:
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._sleep, self._next, self._lock = sleep, 0.0, threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        if start > now:
            self._sleep(start - now)

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def _retry_after(value: str | None) -> float:
    """Seconds of a ``Retry-After`` header: a number or a date; at most two minutes."""
    if value is None:
        return 0.0
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)
