"""Servers that pages start: on a free port, asked whether they are ready, stopped at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

from docs_blocks.pages import ROOT

PROGRAMS = ("python -m apps.serve ", "python -m apps.web ", "ski serve ", "ski web ")
PATIENCE = 120
"""Seconds until a server must be ready."""


def is_server(words: list[str]) -> bool:
    """Whether the program serves until it is stopped."""
    text = " ".join(words) + " "
    return text.startswith(PROGRAMS) and "--help" not in words


class Server:
    """A running server; ready when made.

    Attributes:
        port: As the page has it.
        address: Where it is, ``http://127.0.0.1:ANOTHER``.
        said: What it printed first.
    """

    def __init__(self, words: list[str], folder: Path) -> None:
        words = ["python", "-m", "apps", *words[1:]] if words[0] == "ski" else words
        self.port = words[words.index("--port") + 1] if "--port" in words else "8000"
        self.log = (folder / f"server-{time.monotonic_ns()}.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, *words[1:], "--port", "0"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        self.address = self.said.strip().rstrip("/")
        until = time.monotonic() + PATIENCE
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                self.log.seek(0)
                raise AssertionError(f"{words} is not ready: {self.said}{self.log.read()}")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        if not self.address.startswith("http://127.0.0.1:"):
            return False
        try:
            with urllib.request.urlopen(f"{self.address}/ready", timeout=10) as answer:
                return answer.status == 200
        except (URLError, ConnectionError, TimeoutError):
            return False

    def stop(self) -> None:
        """SIGTERM, after which it must leave by itself with 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.log.seek(0)
        told = self.log.read()
        self.log.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert code == 0, f"{self.process.args} left with {code}: {told}"
