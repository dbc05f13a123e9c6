"""Language models that write pairs: a local one of transformers, or any OpenAI-compatible server.

Both are a :class:`Generator`. A server's address and key come from the environment alone
(``OPENAI_BASE_URL``, ``OPENAI_API_KEY``); neither is ever logged or written.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ski_lvlm.curation.errors import CurationError, EndpointError
from ski_skeleton.device import check_device

URL, KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is a refusal: the key must not go to another host."""

    def redirect_request(self, *_: object) -> None:
        """None: an error instead."""


_OPENER = urllib.request.build_opener(_NoRedirect)


class Generator(Protocol):
    """Writes a reply; the same arguments may give the same reply."""

    name: str
    """Of the model, as output lines carry it."""

    def __call__(self, system: str, user: str, seed: int) -> str:
        """Reply to a user text under a system text."""
        ...


class LocalModel:
    """A causal language model of transformers with its own chat template.

    Seed 0 decodes greedily; other seeds, for retries, sample.

    Args:
        name: Hub id or folder.
        device: Where to.
        max_new_tokens: Limit of a reply.

    Raises:
        CurationError: Not to be found, or without a chat template.
    """

    def __init__(self, name: str, *, device: str = "cpu", max_new_tokens: int = 1024) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where = check_device(device)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModelForCausalLM.from_pretrained(name)
        except (OSError, ValueError) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise CurationError(f"{name}: cannot be loaded ({first})") from None
        if not self.tokenizer.chat_template:
            raise CurationError(f"{name}: its tokenizer has no chat template; take a chat model")
        self.name, self.max_new_tokens = name, max_new_tokens
        self.model = model.eval().to(where)

    def __call__(self, system: str, user: str, seed: int) -> str:
        """See :class:`Generator`."""
        import torch

        said = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        text = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        given = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        given = given.to(self.model.device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            made = self.model.generate(
                input_ids=given["input_ids"],
                attention_mask=given["attention_mask"],
                max_new_tokens=self.max_new_tokens,
                do_sample=seed != 0,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )
        return self.tokenizer.decode(
            made[0, given["input_ids"].shape[1] :], skip_special_tokens=True
        )


@dataclass(frozen=True)
class EndpointConfig:
    """How a server is asked."""

    model: str
    """Name that the server knows."""
    requests_per_minute: float = 60.0
    timeout: float = 60.0
    """Seconds until a request is given up."""
    tries: int = 6
    """Requests for one reply, at most."""
    pause: float = 1.0
    """Seconds before the second try; doubled before each further one."""
    longest_pause: float = 60.0
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        positive = (self.requests_per_minute, self.timeout, self.tries, self.max_tokens)
        if min(positive) <= 0 or self.pause < 0 or self.longest_pause < 0:
            raise CurationError(f"{self}: rate, timeout, tries and tokens must be positive")


class Endpoint:
    """A server with OpenAI's chat completions, such as vLLM or a hosted one.

    Requests keep a distance in time; replies 429 and 5xx, broken connections and time-outs are
    tried again after growing pauses, or after what ``Retry-After`` says.

    Args:
        config: How to ask.
        sleep: Waits; for tests.

    Raises:
        CurationError: ``OPENAI_BASE_URL`` is not set, or is no http(s) address.
    """

    def __init__(
        self, config: EndpointConfig, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        base = os.environ.get(URL, "").rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise CurationError(f"set {URL} to the server's address, such as http://host:8000/v1")
        self.name, self.config, self._sleep = config.model, config, sleep
        self._url = f"{base}/chat/completions"
        self._next = 0.0
        self.requests = 0

    def __call__(self, system: str, user: str, seed: int) -> str:
        """See :class:`Generator`.

        Raises:
            EndpointError: Refused, or no reply after all tries.
        """
        body = {
            "model": self.config.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": user},
            ],
            "temperature": 0.0 if seed == 0 else 0.7,
            "seed": seed,
            "max_tokens": self.config.max_tokens,
        }
        data = json.dumps(body).encode("utf-8")
        problem = ""
        wait: float | None = None
        for attempt in range(self.config.tries):
            if attempt:
                self._sleep(self._pause(attempt, wait))
            wait = None
            try:
                return _content(self._post(data))
            except urllib.error.HTTPError as error:
                with error:
                    wait = _seconds(error.headers.get("Retry-After"))
                problem = f"HTTP {error.code}"
                if error.code != 429 and error.code < 500:
                    raise EndpointError(
                        f"model {self.name}: the server refuses ({problem}); check {URL}, {KEY} "
                        "and the model's name"
                    ) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem = str(error) or type(error).__name__
        raise EndpointError(
            f"model {self.name}: no reply after {self.config.tries} tries, last: {problem}; run "
            "the same command again when the server answers"
        )

    def _pause(self, attempt: int, wait: float | None) -> float:
        own = self.config.pause * 2 ** (attempt - 1)
        return min(own if wait is None else max(own, wait), self.config.longest_pause)

    def _post(self, data: bytes) -> bytes:
        now = time.monotonic()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + 60 / self.config.requests_per_minute
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, data, headers)
        self.requests += 1
        with _OPENER.open(request, timeout=self.config.timeout) as reply:
            return reply.read()


def _content(data: bytes) -> str:
    """Text of a chat completion; ValueError if it is none."""
    try:
        found: Any = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the server's reply is no chat completion ({error!r})") from None
    if not isinstance(found, str):
        raise ValueError("the server's reply holds no text")
    return found


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None  # a date: our own pause then
