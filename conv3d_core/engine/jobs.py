"""What is asked of the worker: steps that cannot be interrupted, the work they add up to, and whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

from conv3d_core.engine.blocks import Stored
from conv3d_core.errors import EngineError


class Cancelled(EngineError):  # noqa: N818 - nothing went wrong
    """The request was given up: by whoever made it, or because a newer one of the same session took its place."""


class Step(NamedTuple):
    """One message to the worker.

    Attributes:
        operation: the name of a function of the worker.
        arguments: its arguments; arrays as `Stored.reference`.
        reply_bytes: room for the array that comes back; 0 for an answer that is no array.
        share: how much of the work it is, in units of the work's own.
        accept: takes the answer, in the thread that got it; an array is only there until it returns.
    """

    operation: str
    arguments: dict[str, Any]
    reply_bytes: int
    share: int
    accept: Callable[[Any], None]


class Work:
    """Steps that together give one result, for everyone who asked for the same.

    Only `Schedule` changes it, under its lock.

    Args:
        words: what it is, for the log; empty for what need not be told.
        steps: made when they are needed: there may be thousands.
        total: sum of their shares.
        finish: gives the result when all steps are done; it gets this work.
        urgent: a person waits for it: goes before all that is not.
        nbytes: memory that it needs while it runs, see `memory`.
        stored: what it reads, pinned until it is settled.
        key: the same for works that give the same; None is like no other.
    """

    def __init__(
        self,
        words: str,
        steps: Iterator[Step],
        total: int,
        finish: Callable[[Work], Any],
        *,
        urgent: bool,
        nbytes: int,
        stored: tuple[Stored, ...] = (),
        key: Hashable = None,
    ) -> None:
        self.words = words
        self.total = total
        self.finish = finish
        self.urgent = urgent
        self.nbytes = nbytes
        self.stored = stored
        self.key = key
        self.jobs: list[Job] = []
        self.session: Hashable = object()  # whose turn it is: without a session its own
        self.admitted = False
        self.running = 0
        self.done = 0
        self.began = self.ended = 0.0
        self._steps = steps
        self._upcoming = next(steps, None)
        self._returned: list[Step] = []

    @property
    def elapsed_ms(self) -> float:
        """From the first step to the last, or to now; 0 before the first."""
        return ((self.ended or time.perf_counter()) - self.began) * 1000 if self.began else 0.0

    @property
    def has_step(self) -> bool:
        """Whether there is a step that nobody has taken."""
        return bool(self._returned) or self._upcoming is not None

    def take(self) -> Step:
        """The next step, which is then running."""
        self.began = self.began or time.perf_counter()
        self.running += 1
        if self._returned:
            return self._returned.pop()
        step, self._upcoming = self._upcoming, next(self._steps, None)
        assert step is not None
        return step

    def give_back(self, step: Step) -> None:
        """A running step that has to be taken again."""
        self.running -= 1
        self._returned.append(step)

    def complete(self, step: Step) -> bool:
        """A running step is done; whether it was the last."""
        self.running -= 1
        self.done += step.share
        if self.running or self.has_step:
            return False
        self.ended = time.perf_counter()
        return True

    def abandon(self) -> None:
        """No further step is wanted."""
        self._returned, self._upcoming = [], None
        self._steps = iter(())

    def release(self) -> list[Job]:
        """Those who wait, who then get their answer: each knows this work, which must not keep them alive in turn."""
        jobs, self.jobs = self.jobs, []
        return jobs


class Canceller(Protocol):
    """What a job needs of `Schedule`."""

    def cancel(self, job: Job) -> None:
        """Give the job up."""

    def place(self, job: Job) -> int:
        """How many are before it."""


class Job:
    """A request that was made: where it stands, and its result.

    Args:
        schedule: where it can be given up.
        work: what it waits for; None where the result was there already.
        result: that result.
        took_ms: how long that took when it was computed.
    """

    def __init__(self, schedule: Canceller, work: Work | None, result: Any = None, took_ms: float = 0.0) -> None:
        self._schedule = schedule
        self._took_ms = took_ms
        self.work = work
        self.future: Future[Any] = Future()
        if work is None:
            self.future.set_result(result)

    @property
    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self.future.done()

    @property
    def error(self) -> BaseException | None:
        """Why there is no result; None where there is one, or none yet."""
        return self.future.exception() if self.done else None

    @property
    def progress(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return self.work.done / self.work.total if self.work else 1.0

    @property
    def place(self) -> int:
        """0 once it is being computed; before, its place in the queue of those that wait for memory, from 1."""
        return self._schedule.place(self)

    @property
    def elapsed_ms(self) -> float:
        """From its first step to its last, or to now; 0 before the first; of what is remembered, as it was then."""
        return self.work.elapsed_ms if self.work else self._took_ms

    def wait(self, timeout_s: float) -> bool:
        """Whether it is done, after waiting for at most so long."""
        try:
            self.future.exception(timeout_s)
        except TimeoutError:
            return False
        return True

    def result(self) -> Any:
        """The result, as soon as there is one. A caller that is interrupted meanwhile gives the request up.

        Raises:
            Cancelled: it was given up.
            EngineError: it could not be computed.
        """
        try:
            return self.future.result()
        finally:
            if not self.future.done():
                self.cancel()

    def cancel(self) -> None:
        """Give the request up; `result` then raises `Cancelled`. Nothing happens to one that is done."""
        self._schedule.cancel(self)
