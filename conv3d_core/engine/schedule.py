"""Which step comes next: what a person waits for first, then by turns among sessions, within the memory budget.

Pure: it knows neither processes nor MLX. Steps are taken by `supervisor`, one a lane, and are short; so a new request
waits for one step at most, and a cancelled one is gone after one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from conv3d_core.engine.jobs import Cancelled, Job, Step, Work
from conv3d_core.engine.journal import Journal
from conv3d_core.errors import EngineError


class Schedule:
    """All work that is not finished, from any thread.

    Args:
        journal: takes down what became of each.
        room: bytes that work may hold; asked while none holds any.
        admitted: called with the bytes that all admitted work holds, before more of it begins.
        settled: called with work of which nothing runs any more.
    """

    def __init__(
        self,
        journal: Journal,
        room: Callable[[], int],
        admitted: Callable[[int], None],
        settled: Callable[[Work], None],
    ) -> None:
        self._journal = journal
        self._room = room
        self._admitted = admitted
        self._settled = settled
        self._changed = threading.Condition()  # on a lock that its holder may take again
        self._works: list[Work] = []  # in the order in which they came
        self._holding: list[Work] = []  # admitted and not settled; the given-up last step of a work holds memory, too
        self._capacity = 0
        self._latest: dict[tuple[Hashable, bool], Job] = {}
        self._turns: dict[Hashable, int] = {}
        self._turn = 0
        self._closed: EngineError | None = None

    def submit(self, work: Work, session: Hashable = None) -> Job:
        """A job for new work.

        Args:
            work: what is to be done.
            session: who asks. A newer request of the same session and urgency takes the place of this one;
                None is nobody's: it stays.

        Raises:
            EngineError: nothing more is taken.
        """
        with self._changed:
            if self._closed:
                self._settled(work)
                raise self._closed
            if session is not None:
                work.session = session
            self._works.append(work)
            self._changed.notify_all()
            return self._job(work, session)

    def join(self, key: Hashable, session: Hashable = None) -> Job | None:
        """A job for work that others wait for already; None where there is none of that key."""
        with self._changed:
            for work in self._works:
                if work.key is not None and work.key == key:
                    return self._job(work, session)
        return None

    def supersede(self, session: Hashable, urgent: bool, job: Job | None = None) -> None:
        """What the session asked for before, at that urgency, is no longer wanted: it has its answer, or asks anew."""
        if session is None:
            return
        with self._changed:
            before = self._latest.pop((session, urgent), None)
            if job is not None:
                self._latest[session, urgent] = job
            if before is not None:
                self._give_up(before, "superseded", "a newer request of the same session took its place")

    def take(self) -> tuple[Work, Step] | None:
        """The next step, as soon as there is one; None when there will be none."""
        with self._changed:
            while self._closed is None:
                self._admit()
                ready = [work for work in self._works if work.admitted and work.has_step]
                if ready:
                    # Of several that are alike, min takes the first that came.
                    work = min(ready, key=lambda work: (not work.urgent, self._turns.get(work.session, 0)))
                    self._turn += 1
                    self._turns[work.session] = self._turn
                    return work, work.take()
                self._changed.wait()
        return None

    def complete(self, work: Work, step: Step) -> None:
        """A step is done."""
        with self._changed:
            if work.complete(step) and work in self._works:
                self._leave(work)
                if work.words:
                    self._journal.note("done", f"{work.elapsed_ms:,.0f} ms, {work.words}")
                result = work.finish(work)
                for job in work.release():
                    job.future.set_result(result)
            self._settle(work)

    def give_back(self, work: Work, step: Step) -> None:
        """A step has to be taken again: it failed for another's fault."""
        with self._changed:
            if work in self._works:
                work.give_back(step)
                self._changed.notify_all()
            else:
                work.running -= 1
                self._settle(work)

    def fail(self, work: Work, error: EngineError) -> None:
        """A running step failed, and the work with it."""
        with self._changed:
            work.running -= 1
            if work in self._works:
                self._leave(work)
                self._journal.note("failed", f"{work.words}: {error}")
                for job in work.release():
                    job.future.set_exception(error)
            self._settle(work)

    def cancel(self, job: Job) -> None:
        """Give a job up; its work goes on if others wait for it."""
        with self._changed:
            self._give_up(job, "cancelled", "it was cancelled")

    def place(self, job: Job) -> int:
        """How many works there are that begin before this one's, and this one; 0 once it has begun."""
        with self._changed:
            waiting = self._waiting()
            return waiting.index(job.work) + 1 if job.work in waiting else 0

    def close(self, error: EngineError) -> None:
        """Take nothing more; who waits gets the error."""
        with self._changed:
            self._closed = error
            for work in list(self._works):
                self._leave(work)
                for job in work.release():
                    job.future.set_exception(error)
                self._settle(work)
            self._changed.notify_all()

    def _job(self, work: Work, session: Hashable) -> Job:
        job = Job(self, work)
        work.jobs.append(job)
        self.supersede(session, work.urgent, job)
        return job

    def _admit(self) -> None:
        """Let work begin in its order while memory lasts.

        What is urgent does not wait for what is not: both run on the same lanes, so the tiles of only one of them are
        in memory, and the results of what is urgent are small.
        """
        if not self._holding:
            self._capacity = self._room()
        for work in self._waiting():
            before = [other for other in self._holding if other.urgent or not work.urgent]
            # Alone it always begins: whether it fits at all was judged when it was asked for.
            if before and sum(other.nbytes for other in before) + work.nbytes > self._capacity:
                break
            self._admitted(sum(other.nbytes for other in self._holding) + work.nbytes)
            self._holding.append(work)
            work.admitted = True

    def _waiting(self) -> list[Work]:
        """Work that has not begun, in the order in which it will: what is urgent first, then as it came."""
        waiting = [work for work in self._works if not work.admitted]
        return sorted(waiting, key=lambda work: not work.urgent)

    def _give_up(self, job: Job, kind: str, reason: str) -> None:
        if job.done or job.work is None:
            return
        job.work.jobs.remove(job)
        job.future.set_exception(Cancelled("engine", reason, "ask again if it is still wanted"))
        if not job.work.jobs:
            self._leave(job.work)
            self._journal.note(kind, f"at {job.progress:.0%}, {job.work.words}")
            self._settle(job.work)

    def _leave(self, work: Work) -> None:
        work.abandon()
        self._works.remove(work)
        for key in [key for key, job in self._latest.items() if job.work is work]:
            del self._latest[key]
        if not any(other.session == work.session for other in self._works):
            self._turns.pop(work.session, None)

    def _settle(self, work: Work) -> None:
        if work.running == 0 and work not in self._works:
            if work in self._holding:
                self._holding.remove(work)
                self._changed.notify_all()
            self._settled(work)
