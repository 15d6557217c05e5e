"""Which step comes next, without any process: each test takes and finishes the steps itself."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Hashable
from concurrent.futures import Future
from typing import Any

import pytest

from conv3d_core import EngineError
from conv3d_core.engine import Cancelled
from conv3d_core.engine.jobs import Job, Step, Work
from conv3d_core.engine.journal import LENGTH, Journal
from conv3d_core.engine.schedule import Schedule


class Desk:
    """A schedule, and what it said."""

    def __init__(self, room: int = 100) -> None:
        self.journal = Journal()
        self.admitted: list[int] = []
        self.settled: list[str] = []
        self.schedule = Schedule(
            self.journal, lambda: room, self.admitted.append, lambda work: self.settled.append(work.words)
        )

    def ask(self, words: str, steps: int = 2, session: Hashable = None, **options: Any) -> Job:
        return self.schedule.submit(work(words, steps, **options), session)

    def take(self) -> tuple[Work, Step]:
        taken = self.schedule.take()
        assert taken is not None
        return taken

    def do(self, count: int) -> list[str]:
        """Take and finish that many steps; the words of the work that each belonged to."""
        done = []
        for _ in range(count):
            taken, step = self.take()
            self.schedule.complete(taken, step)
            done.append(taken.words)
        return done

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(event.kind, event.text.rpartition(", ")[2]) for event in self.journal.events()]


def work(words: str, steps: int = 2, urgent: bool = False, nbytes: int = 1, key: Hashable = None) -> Work:
    each = [Step("box", {"number": number}, 0, 1, lambda answer: None) for number in range(steps)]
    return Work(words, iter(each), steps, lambda _: f"result of {words}", urgent=urgent, nbytes=nbytes, key=key)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refused(job: Job, reason: str) -> bool:
    with pytest.raises(Cancelled, match=f"^engine: {reason}; ask again if it is still wanted\\.$"):
        job.result()
    return True


def test_a_job_goes_from_its_first_step_to_its_result(desk: Desk) -> None:
    job = desk.ask("a", 4)
    assert (job.done, job.progress, job.place, job.elapsed_ms) == (False, 0.0, 1, 0.0)
    assert not job.wait(0.001)
    taken, step = desk.take()
    assert (job.place, step.arguments) == (0, {"number": 0})
    time.sleep(0.002)
    assert job.elapsed_ms > 1
    desk.schedule.complete(taken, step)
    assert (job.done, job.progress) == (False, 0.25)
    desk.do(3)
    assert (job.done, job.progress, job.place) == (True, 1.0, 0)
    assert job.wait(0)
    assert job.result() == "result of a"
    took = job.elapsed_ms
    assert took == job.elapsed_ms, "the clock stops with the last step"
    assert desk.settled == ["a"]
    assert desk.events == [("done", "a")]
    job.cancel()
    assert job.result() == "result of a", "what is done stays done"


def test_steps_are_made_when_they_are_needed(desk: Desk) -> None:
    made = []

    def steps() -> Any:
        for number in range(10**9):
            made.append(number)
            yield Step("box", {}, 0, 1, lambda answer: None)

    desk.schedule.submit(Work("endless", steps(), 10**9, lambda _: None, urgent=False, nbytes=1))
    desk.do(3)
    assert len(made) <= 5


def test_what_is_urgent_goes_first_and_the_rest_goes_on_after_it(desk: Desk) -> None:
    desk.ask("whole", 3)
    assert desk.do(1) == ["whole"]
    desk.ask("plane", 2, urgent=True)
    assert desk.do(4) == ["plane", "plane", "whole", "whole"]


def test_sessions_take_turns(desk: Desk) -> None:
    desk.ask("anna 1", 4, session="anna")
    desk.ask("anna 2", 4, session="anna 2")
    desk.ask("ben", 2, session="ben")
    assert desk.do(6) == ["anna 1", "anna 2", "ben"] * 2
    assert desk.do(4) == ["anna 1", "anna 2"] * 2
    # A newcomer does not have to catch up for what others had before.
    desk.ask("long", 9, session="anna")
    desk.do(3)
    desk.ask("new", 3, session="carl")
    assert desk.do(6) == ["new", "long"] * 3


def test_without_a_session_everyone_has_a_turn(desk: Desk) -> None:
    desk.ask("a", 2)
    desk.ask("b", 2)
    assert desk.do(4) == ["a", "b", "a", "b"]


def test_the_latest_request_of_a_session_wins(desk: Desk) -> None:
    first = desk.ask("first", 9, session="anna")
    other = desk.ask("other", 2, session="ben")
    alone = desk.ask("alone", 2)
    plane = desk.ask("plane", 1, session="anna", urgent=True)
    desk.do(1)
    second = desk.ask("second", 2, session="anna")
    third = desk.ask("third", 2, session="anna")
    assert refused(first, "a newer request of the same session took its place")
    assert refused(second, "a newer request of the same session took its place")
    desk.do(6)
    assert [job.result() for job in (other, alone, plane, third)] == [
        "result of other",
        "result of alone",
        "result of plane",
        "result of third",
    ]
    assert desk.events[-3:] == [("superseded", "second"), ("superseded", "first"), ("done", "plane")]
    assert sorted(desk.settled) == sorted(["first", "other", "alone", "plane", "second", "third"])


def test_a_session_that_has_its_answer_elsewhere_wants_nothing_more(desk: Desk) -> None:
    job, plane = desk.ask("old", 3, session="anna"), desk.ask("plane", 1, session="anna", urgent=True)
    desk.schedule.supersede("anna", urgent=False)
    assert refused(job, "a newer request of the same session took its place")
    assert not plane.done
    desk.schedule.supersede(None, urgent=True)
    assert not plane.done


def test_a_cancelled_job_is_answered_at_once_and_takes_no_further_step(desk: Desk) -> None:
    job, other = desk.ask("a", 9), desk.ask("b", 2)
    taken, step = desk.take()
    job.cancel()
    assert refused(job, "it was cancelled")
    assert desk.settled == [], "its last step still runs"
    desk.schedule.complete(taken, step)
    assert desk.settled == ["a"]
    assert desk.do(2) == ["b", "b"]
    assert other.result() == "result of b"
    assert desk.events == [("done", "b"), ("cancelled", "a")]
    job.cancel()  # twice is fine


def test_a_failed_step_fails_its_work_alone(desk: Desk) -> None:
    job, other = desk.ask("a", 4), desk.ask("b", 2)
    (a, _), (b, middle), (again, second) = desk.take(), desk.take(), desk.take()
    assert (a, again, b.words) == (again, a, "b")
    desk.schedule.fail(a, EngineError("engine", "it died", "try again"))
    with pytest.raises(EngineError, match="it died"):
        job.result()
    assert desk.settled == []
    desk.schedule.complete(a, second)  # on another lane: too late
    assert desk.settled == ["a"]
    desk.schedule.complete(b, middle)
    desk.do(1)
    assert other.result() == "result of b"
    assert [kind for kind, _ in desk.events] == ["done", "failed"]


def test_a_step_that_is_given_back_is_taken_again(desk: Desk) -> None:
    job = desk.ask("a", 2)
    taken, step = desk.take()
    desk.schedule.give_back(taken, step)
    again, same = desk.take()
    assert (again, same) == (taken, step)
    desk.schedule.complete(again, same)
    desk.do(1)
    assert job.result() == "result of a"
    # And not if nobody wants it any more.
    job = desk.ask("b", 2)
    taken, step = desk.take()
    job.cancel()
    desk.schedule.give_back(taken, step)
    assert desk.settled == ["a", "b"]


def test_others_join_work_that_is_under_way(desk: Desk) -> None:
    first = desk.ask("a", 3, session="anna", key=("x", 1))
    assert desk.schedule.join(("x", 2)) is None
    second = desk.schedule.join(("x", 1), "ben")
    assert second is not None
    desk.do(1)
    assert first.progress == second.progress == pytest.approx(1 / 3)
    first.cancel()
    assert refused(first, "it was cancelled")
    assert desk.do(2) == ["a", "a"], "the other one still waits for it"
    assert second.result() == "result of a"
    assert desk.schedule.join(("x", 1)) is None, "it is over"


def test_a_session_that_asks_for_the_same_again_takes_its_own_place(desk: Desk) -> None:
    first = desk.ask("a", 2, session="anna", key="same")
    again = desk.schedule.join("same", "anna")
    assert again is not None
    assert refused(first, "a newer request of the same session took its place")
    desk.do(2)
    assert again.result() == "result of a"


def test_work_begins_while_memory_lasts_and_the_queue_shows_its_place() -> None:
    desk = Desk(room=100)
    jobs = [desk.ask(name, 2, nbytes=nbytes) for name, nbytes in (("a", 60), ("b", 30), ("c", 50), ("d", 5))]
    assert desk.do(2) == ["a", "b"]
    assert [job.place for job in jobs] == [0, 0, 1, 2], "nobody overtakes: a large request would wait for ever"
    assert desk.admitted == [60, 90]
    assert desk.do(1) == ["a"]
    assert jobs[0].done
    assert desk.do(5) == ["c", "d", "b", "c", "d"]
    assert desk.admitted == [60, 90, 80, 85]
    assert all(job.done for job in jobs)


def test_what_is_too_large_for_the_others_begins_alone() -> None:
    desk = Desk(room=10)
    small, large = desk.ask("small", 1, nbytes=1), desk.ask("large", 1, nbytes=50)
    taken, step = desk.take()
    assert (taken.words, large.place) == ("small", 1)
    desk.schedule.complete(taken, step)
    assert desk.do(1) == ["large"]
    assert small.done
    assert large.done


def test_the_last_step_of_a_cancelled_work_still_holds_memory() -> None:
    desk = Desk(room=10)
    first = desk.ask("first", 5, nbytes=8)
    taken, step = desk.take()
    first.cancel()
    second = desk.ask("second", 1, nbytes=8)
    lane = threading.Thread(target=desk.do, args=(1,))
    lane.start()
    time.sleep(0.05)
    assert second.place == 1
    desk.schedule.complete(taken, step)
    assert second.result() == "result of second"
    lane.join(5)


def test_a_lane_sleeps_until_there_is_work(desk: Desk) -> None:
    found: list[str] = []
    lane = threading.Thread(target=lambda: found.extend(desk.do(1)))
    lane.start()
    time.sleep(0.02)
    assert found == []
    desk.ask("a", 1)
    lane.join(5)
    assert found == ["a"]


def test_closing_answers_everyone_and_wakes_the_lanes(desk: Desk) -> None:
    job, running = desk.ask("waiting", 2), desk.ask("running", 2, urgent=True)
    taken, step = desk.take()
    closed = EngineError("engine", "it is closed", "make a new Engine")
    lanes = [threading.Thread(target=desk.schedule.take) for _ in range(2)]
    desk.schedule.close(closed)
    for lane in lanes:
        lane.start()
        lane.join(5)
        assert not lane.is_alive()
    for asked in (job, running):
        with pytest.raises(EngineError, match="it is closed"):
            asked.result()
    assert desk.settled == ["waiting"]
    desk.schedule.complete(taken, step)
    assert desk.settled == ["waiting", "running"]
    with pytest.raises(EngineError, match="it is closed"):
        desk.ask("late")
    assert desk.settled == ["waiting", "running", "late"], "what it had pinned is let go"


def test_an_interrupted_caller_gives_the_request_up(desk: Desk) -> None:
    class Interrupted(BaseException):
        pass

    class Interrupting(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            raise Interrupted

    job = desk.ask("a")
    job.future = Interrupting()
    with pytest.raises(Interrupted):
        job.result()
    assert isinstance(job.future.exception(), Cancelled)
    desk.ask("b", 1)
    assert desk.do(1) == ["b"]


def test_finished_work_is_freed_without_waiting_for_the_garbage_collector(desk: Desk) -> None:
    gc.disable()
    try:
        job = desk.ask("a", 2, session="anna")
        desk.do(2)
        gone = weakref.ref(job.work)
        del job
        assert gone() is None
    finally:
        gc.enable()


def test_the_journal_keeps_the_last_events() -> None:
    journal = Journal()
    for number in range(LENGTH + 5):
        journal.note("done", str(number))
    events = journal.events()
    assert len(events) == LENGTH
    assert (events[0].text, events[-1].text) == (str(LENGTH + 4), "5")
    assert abs(events[0].at - time.time()) < 60


def test_what_a_person_waits_for_does_not_wait_for_the_memory_of_a_whole_volume() -> None:
    desk = Desk(room=100)
    desk.ask("whole", 5, nbytes=100)
    desk.do(1)
    planes, more = desk.ask("planes", 1, urgent=True, nbytes=60), desk.ask("more", 1, urgent=True, nbytes=60)
    assert [planes.place, more.place] == [1, 2]
    first, step = desk.take()
    assert first.words == "planes"
    assert [planes.place, more.place] == [0, 1], "but for each other"
    desk.schedule.complete(first, step)
    assert desk.do(5) == ["more", "whole", "whole", "whole", "whole"]


def test_memory_is_what_was_free_before_anything_began() -> None:
    free = [100]
    desk = Desk()
    desk.schedule._room = lambda: free[0]
    desk.ask("first", 2, nbytes=60)
    desk.do(1)
    free[0] = 40  # the first one has taken its share
    second = desk.ask("second", 1, nbytes=40)
    assert desk.do(1) in (["first"], ["second"])
    assert second.place == 0
