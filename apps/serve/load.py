"""``python -m apps.serve.load URL --video FILE``: how many requests a running server answers.

A bounded number of requests from a few threads, each with a connection that it keeps. Nothing but
the standard library is needed, so that it runs wherever a client would.
"""

from __future__ import annotations

import http.client
import json as json_format
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from apps.serve.settings import read_token
from ski_data.command import run_one
from ski_data.errors import InputError, MissingFileError

_BORDER = "ski-load-0f1e2d3c4b5a"


@dataclass(frozen=True)
class Measured:
    """What came of a number of requests."""

    requests: int
    seconds: float
    latencies: tuple[float, ...]
    """Seconds of those that were answered with 200, rising."""
    errors: dict[str, int]
    """Others, by status or kind of failure."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the answers came; 0 without any."""
        if not self.latencies:
            return 0.0
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]

    def plain(self) -> dict[str, object]:
        """For programs."""
        return {
            "requests": self.requests,
            "answered": len(self.latencies),
            "seconds": round(self.seconds, 3),
            "requests_per_second": round(self.rate, 2),
            "p50_ms": round(1000 * self.quantile(0.5), 1),
            "p99_ms": round(1000 * self.quantile(0.99), 1),
            "errors": self.errors,
        }


def load(
    url: str,
    *,
    video: str,
    requests: int = 200,
    concurrency: int = 8,
    path: str = "/v1/predict",
    classes: str | None = None,
    model: str | None = None,
    token_file: str | None = None,
    timeout: float = 120.0,
    json: bool = False,
) -> int:
    """Send the same video to a running server again and again; exit code 1 if answers are missing.

    Args:
        url: of the server, such as http://127.0.0.1:8000.
        video: a video file.
        requests: how many.
        concurrency: how many at once.
        path: what is asked: /v1/predict, /v1/embed or /v1/caption.
        classes: names separated by commas; the model's own by default.
        model: name of the model; the server's first by default.
        token_file: file with the server's token.
        timeout: seconds to wait for one answer.
        json: print one object for programs.
    """
    if requests < 1 or not 1 <= concurrency <= 1000 or not timeout > 0:
        raise InputError("requests and concurrency are 1 or more, the timeout is above 0")
    if not Path(video).is_file():
        raise MissingFileError(f"{video}: no such video file")
    fields = {} if model is None else {"model": model}
    if classes is not None:
        fields["classes"] = json_format.dumps([name.strip() for name in classes.split(",")])
    token = None if token_file is None else read_token(token_file)
    body = form(Path(video).read_bytes(), fields)
    found = measure(
        url, path, body, requests=requests, concurrency=concurrency, token=token, timeout=timeout
    )
    plain = found.plain()
    if json:
        print(json_format.dumps(plain))
    else:
        print("| requests | at once | requests/s | p50 ms | p99 ms | errors |")
        print("| ---: | ---: | ---: | ---: | ---: | --- |")
        wrong = ", ".join(f"{n} x {kind}" for kind, n in found.errors.items()) or "0"
        print(
            f"| {requests} | {concurrency} | {plain['requests_per_second']} | {plain['p50_ms']} | "
            f"{plain['p99_ms']} | {wrong} |"
        )
    return 1 if found.errors else 0


def form(video: bytes, fields: dict[str, str]) -> bytes:
    """A multipart body of a video and text fields."""
    parts = [
        f'--{_BORDER}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in fields.items()
    ]
    head = 'Content-Disposition: form-data; name="video"; filename="video"'
    parts += [f"--{_BORDER}\r\n{head}\r\n\r\n".encode(), video, f"\r\n--{_BORDER}--\r\n".encode()]
    return b"".join(parts)


def measure(
    url: str,
    path: str,
    body: bytes,
    *,
    requests: int,
    concurrency: int,
    token: str | None = None,
    timeout: float = 120.0,
) -> Measured:
    """Send a body of :func:`form` so many times.

    Raises:
        InputError: an address that is none of HTTP's.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url}: an address is http://HOST:PORT or https://HOST:PORT")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": f"multipart/form-data; boundary={_BORDER}"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    numbers = count()
    latencies: list[float] = []
    errors: Counter[str] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        while next(numbers) < requests:
            begin = time.perf_counter()
            try:
                connection.request("POST", parts.path.rstrip("/") + path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status = type(error).__name__
            seconds = time.perf_counter() - begin
            with lock:
                if status == "200":
                    latencies.append(seconds)
                else:
                    errors[status] += 1
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(min(concurrency, requests))]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    return Measured(requests, seconds, tuple(sorted(latencies)), dict(sorted(errors.items())))


if __name__ == "__main__":
    sys.exit(run_one(load, prog="python -m apps.serve.load"))
