"""Counters and a latency histogram in the text format of Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram's buckets, in seconds."""
Gauge = tuple[str, str, Iterable[tuple[str, float]]]
"""Name, help, and pairs of labels (``{model="a"}`` or nothing) and value."""


class Metrics:
    """What is counted; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        self._seconds: dict[str, float] = defaultdict(float)
        self._batches: dict[str, int] = defaultdict(int)
        self._items: dict[str, int] = defaultdict(int)
        self._bytes = 0

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request was answered; ``path`` is one of the server's own, never the client's text."""
        with self._lock:
            self._requests[path, status] += 1
            self._buckets[path][bisect_left(BOUNDS, seconds)] += 1
            self._seconds[path] += seconds

    def batch(self, model: str, items: int) -> None:
        """A model saw so many clips or questions at once."""
        with self._lock:
            self._batches[model] += 1
            self._items[model] += items

    def uploaded(self, count: int) -> None:
        """So many bytes came in."""
        with self._lock:
            self._bytes += count

    def text(self, gauges: Iterable[Gauge]) -> str:
        """Everything, with values of the moment."""
        with self._lock:
            lines = _family(
                "ski_serve_requests_total",
                "counter",
                "Requests by path and status.",
                (
                    (f'{{path="{path}",status="{status}"}}', count)
                    for (path, status), count in sorted(self._requests.items())
                ),
            )
            lines += self._histogram()
            lines += _family(
                "ski_serve_upload_bytes_total",
                "counter",
                "Bytes of request bodies that came in.",
                [("", self._bytes)],
            )
            for name, text, values in (
                ("batches", "Batches that a model saw.", self._batches),
                ("batched_items", "Clips or questions in these batches.", self._items),
            ):
                rows = ((f'{{model="{model}"}}', n) for model, n in sorted(values.items()))
                lines += _family(f"ski_serve_{name}_total", "counter", text, rows)
        for name, text, rows in gauges:
            lines += _family(name, "gauge", text, rows)
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "ski_serve_request_seconds"
        lines = [f"# HELP {name} Seconds from a request to its answer.", f"# TYPE {name} histogram"]
        for path, counts in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*BOUNDS, "+Inf"), counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{path="{path}",le="{bound}"}} {total}')
            lines.append(f'{name}_sum{{path="{path}"}} {self._seconds[path]:.6f}')
            lines.append(f'{name}_count{{path="{path}"}} {total}')
        return lines


def _family(name: str, kind: str, text: str, rows: Iterable[tuple[str, float]]) -> list[str]:
    head = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return head + [f"{name}{labels} {value}" for labels, value in rows]
