"""One thread per model: it loads the model, and answers what waits for it in batches."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from apps.serve.errors import TYPED, BusyError, NotReadyError, ServeError, of_package
from apps.serve.metrics import Metrics

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed", "stopped"]


class Engine(Protocol):
    """A loaded model."""

    def answer(self, kind: Hashable, payloads: Sequence[Any]) -> Sequence[Any]:
        """An answer, or an exception as a value, to each of several payloads of one kind."""


@dataclass(eq=False)
class Job:
    """Something that waits for the model."""

    kind: Hashable
    """Jobs of one kind may go through the model together."""
    payload: Any
    weight: int = 1
    """Clips or questions in it."""
    future: Future = field(default_factory=Future)


class Worker(threading.Thread):
    """A model and what waits for it.

    Args:
        name: of the model.
        open: loads it; runs in this thread.
        queue: jobs that may wait.
        batch: weight of jobs that go together; a single job may weigh more.
        wait: seconds that the first job of a batch waits for others.
        metrics: where batches are counted.
    """

    def __init__(
        self,
        name: str,
        open: Callable[[], Engine],
        *,
        queue: int,
        batch: int,
        wait: float,
        metrics: Metrics,
    ) -> None:
        super().__init__(name=f"model-{name}", daemon=True)
        self.model, self.state, self.failure = name, "loading", ""
        self.state: State
        self.engine: Any = None
        self._open, self._limit, self._batch, self._wait = open, queue, batch, wait
        self._metrics = metrics
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    def check(self) -> None:
        """See that the model can be asked.

        Raises:
            NotReadyError: it is loading, failed or was stopped.
        """
        if self.state == "ready":
            return
        told = {
            "loading": "is still being loaded",
            "failed": "could not be loaded",
            "stopped": "was stopped",
        }[self.state]
        allowed = "the same request later" if self.state == "loading" else "another model"
        raise NotReadyError(f"the model {self.model} {told}", allowed)

    def submit(self, kind: Hashable, payload: Any, weight: int = 1) -> Future:
        """Put a job into the queue; its future may be cancelled until the model has taken it.

        Raises:
            BusyError: the queue is full.
            NotReadyError: see :meth:`check`.
        """
        job = Job(kind, payload, weight)
        with self._changed:
            self.check()
            if len(self._waiting) >= self._limit:
                raise BusyError(self._limit)
            self._waiting.append(job)
            self._changed.notify_all()
        return job.future

    def stop(self) -> None:
        """Take no more; what waits is refused, what is computed is finished."""
        with self._changed:
            if self.state != "failed":
                self.state = "stopped"
            refused = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for job in refused:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(NotReadyError(f"the model {self.model} was stopped"))

    def run(self) -> None:
        """Load, then answer until :meth:`stop`."""
        try:
            self.engine = self._open()
        except Exception as error:
            self.failure = _reason(error)
            log.error("model %s cannot be loaded: %s", self.model, self.failure)
            self.state = "failed"
            return
        with self._changed:
            if self.state == "loading":
                self.state = "ready"
        log.info("model %s is ready", self.model)
        while batch := self._take():
            by_kind: dict[Hashable, list[Job]] = {}
            for job in batch:
                if job.future.set_running_or_notify_cancel():
                    by_kind.setdefault(job.kind, []).append(job)
            for kind, jobs in by_kind.items():
                self._answer(kind, jobs)

    def _take(self) -> list[Job]:
        """The next batch; none at the end."""
        with self._changed:
            while not self._waiting and self.state == "ready":
                self._changed.wait()
            end = time.monotonic() + self._wait
            while self.state == "ready" and sum(j.weight for j in self._waiting) < self._batch:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            taken: list[Job] = []
            weight = 0
            while self._waiting and (not taken or weight + self._waiting[0].weight <= self._batch):
                taken.append(self._waiting.popleft())
                weight += taken[-1].weight
            return taken

    def _answer(self, kind: Hashable, jobs: list[Job]) -> None:
        self._metrics.batch(self.model, sum(job.weight for job in jobs))
        try:
            answers = self.engine.answer(kind, [job.payload for job in jobs])
            if len(answers) != len(jobs):
                raise ValueError(f"{len(answers)} answers to {len(jobs)} jobs")
        except Exception as error:
            answers = [error] * len(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                job.future.set_exception(self._told(answer))
            else:
                job.future.set_result(answer)

    def _told(self, error: Exception) -> ServeError:
        if isinstance(error, ServeError):
            return error
        if isinstance(error, TYPED):
            return of_package(error)
        log.error("model %s failed: %s", self.model, where(error))
        return NotReadyError(
            f"the model {self.model} failed at this request ({type(error).__name__})",
            "a smaller request, a later try or another model",
        )


def _reason(error: Exception) -> str:
    """For the operator: what a package says, or the kind of another error and its text."""
    text = " ".join(str(error).split())
    return text if isinstance(error, TYPED) else f"{type(error).__name__}: {text}"


def where(error: BaseException) -> str:
    """Kind and place of an error for the log, without its text, which may hold what was sent."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__} at " + " < ".join(reversed(places[-4:]))
