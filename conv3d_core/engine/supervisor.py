"""Keeps one worker process at work: starts it, hands it steps, replaces it when it dies or hangs, leaves a bad GPU.

Each lane is a thread here and one there. The threads live as long as the engine, so callers may come from any number
of threads, as Streamlit's do, and cost none.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from conv3d_core.engine.blocks import Block, Store
from conv3d_core.engine.jobs import Step, Work
from conv3d_core.engine.journal import Journal
from conv3d_core.engine.memory import BASE_BYTES, budget_bytes
from conv3d_core.engine.process import Ended, Expired, WorkerProcess, worker_environment
from conv3d_core.engine.schedule import Schedule
from conv3d_core.errors import EngineError

# A GPU whose process ended so many times in a row, with nothing done in between, is left for the CPU.
GPU_DEATHS = 2


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Where the layer runs.

    Attributes:
        device: "cpu" or "gpu".
        backend: "metal", "cuda" or "cpu".
        device_name: as the device calls itself.
        mlx_version: such as "0.32.4".
        reason: why this device was taken.
        memory_bytes: memory of the device; of the machine for the CPU.
        blas: what multiplies matrices on the CPU, in words; empty on a GPU.
        lanes: evaluations that run at a time.
        fallback: why a GPU that is there is not used; empty otherwise.
    """

    device: str
    backend: str
    device_name: str
    mlx_version: str
    reason: str
    memory_bytes: int
    blas: str = ""
    lanes: int = 1
    fallback: str = ""


class Supervisor:
    """The worker process of one engine, and the threads that feed it.

    Args:
        device: "auto", "gpu" or "cpu".
        timeout_s: seconds that one step may take before its process is killed.
        lanes: evaluations at a time on the CPU; a GPU has one.
        accelerate: whether the worker may use a faster BLAS.
    """

    def __init__(self, device: str, timeout_s: float, lanes: int, accelerate: bool) -> None:
        self.journal = Journal()
        self.store = Store()
        self.schedule = Schedule(self.journal, self._room, self._make_room, self._settled)
        self._device = device
        self._timeout_s = timeout_s
        self._most_lanes = lanes
        self._accelerate = accelerate
        self._lock = threading.RLock()  # of all below; held while a process starts
        self._worker: WorkerProcess | None = None
        self._info: EngineInfo | None = None
        self._threads: set[int] = set()
        self._fallback = ""
        self._deaths = 0
        self._closed = False

    def info(self) -> EngineInfo:
        """What the worker runs on; starts it if none ever ran."""
        with self._lock:
            if self._info is None:
                self._ready()
            assert self._info is not None
            return self._info

    @property
    def device(self) -> str:
        """The device that the worker runs on; "cpu" before it started."""
        return self._info.device if self._info else "cpu"

    @property
    def lanes(self) -> int:
        """How many evaluations run at a time on that device."""
        return self._info.lanes if self._info else self._most_lanes

    def pid(self) -> int | None:
        """Process id of the worker, None where none runs."""
        worker = self._worker
        return worker.process.pid if worker is not None and worker.alive() else None

    def feed(self) -> EngineInfo:
        """What the worker runs on, and threads that take work from the schedule for it."""
        with self._lock:
            self._refuse_closed()
            info = self.info()
            self._start_lanes(info.lanes)
        return info

    def try_gpu_again(self) -> None:
        """Forget that the GPU failed: the next request asks for it again."""
        with self._lock:
            if self._fallback:
                self._fallback, self._deaths, self._info = "", 0, None
                self._drop()

    def close(self) -> None:
        """End the worker, also under a request, which then raises. Closing twice is fine."""
        self._closed = True
        worker = self._worker
        if worker is not None:
            worker.kill()  # without the lock: the thread that holds it may be waiting for this very process
        self.schedule.close(EngineError("engine", "it was closed while this request ran", "make a new Engine"))
        with self._lock:
            self._drop()

    def _start_lanes(self, count: int) -> None:
        for lane in set(range(1, count + 1)) - self._threads:
            self._threads.add(lane)
            threading.Thread(target=self._run_lane, args=(lane,), name=f"engine lane {lane}", daemon=True).start()

    def _run_lane(self, lane: int) -> None:
        reply = Block(0)
        while (taken := self.schedule.take()) is not None:
            work, step = taken
            if lane > self.lanes:  # the CPU had more of them than the GPU that was gone back to
                with self._lock:
                    self._threads.discard(lane)
                self.schedule.give_back(work, step)
                return
            served = False
            try:
                reply = self._serve(lane, work, step, reply)
                served = True
            finally:
                if not served:  # a fault in here: who waits must hear of it, and another thread takes over
                    fault = EngineError(
                        "engine", "this request met a fault of the engine itself", "see the server's log"
                    )
                    self.schedule.fail(work, fault)
                    with self._lock:
                        self._threads.discard(lane)
                        self._start_lanes(self.lanes)
            # While this thread waits for the next step it must not hold on to a result that nobody else wants.
            del taken, work, step

    def _serve(self, lane: int, work: Work, step: Step, reply: Block) -> Block:
        """One step: its answer goes to the work, or what went wrong does. Gives the block for the next reply."""
        try:
            worker, info = self._ready()
            if step.reply_bytes > reply.nbytes:
                larger = Block(step.reply_bytes)
                self.store.retire(reply)
                reply = larger
        except EngineError as error:
            self.schedule.fail(work, error)
            return reply
        printed = worker.printed_bytes()
        try:
            self._ask(worker, lane, work, step, reply)
        except EngineError as error:
            if self._leave_gpu(worker, info, f"MLX raised there ({error})"):
                self.schedule.give_back(work, step)
            else:
                # Its traceback would keep this process and the result alive for as long as somebody has the error.
                self.schedule.fail(work, error.with_traceback(None))
        except Expired:
            late = self._too_late()
            self._bury(worker, late)
            self.schedule.fail(work, late)
        except Ended:
            if worker.dismissed:  # for what another lane did
                self.schedule.give_back(work, step)
                return reply
            obituary = worker.obituary(printed)
            self._bury(worker, obituary)
            self._deaths += info.device == "gpu"
            if self._deaths >= GPU_DEATHS and self._leave_gpu(worker, info, f"its process ended again ({obituary})"):
                self.schedule.give_back(work, step)
            else:
                self.schedule.fail(work, obituary)
        else:
            self._deaths = 0
            self.schedule.complete(work, step)
        return reply

    def _ask(self, worker: WorkerProcess, lane: int, work: Work, step: Step, reply: Block) -> None:
        worker.unmap(lane, self.store.retired(), self._timeout_s)
        blocks = [stored.block for stored in work.stored]
        if not step.reply_bytes:
            worker.map(lane, blocks, self._timeout_s)
            step.accept(worker.ask(lane, step.operation, step.arguments, self._timeout_s))
            return
        worker.map(lane, [*blocks, reply], self._timeout_s)
        shape = worker.ask(lane, step.operation, {**step.arguments, "out": reply.number}, self._timeout_s)
        step.accept(reply.floats(shape))

    def _ready(self) -> tuple[WorkerProcess, EngineInfo]:
        """The worker, started if there is none."""
        with self._lock:
            self._refuse_closed()
            if self._worker is not None and not self._worker.alive():
                # It died between two steps: nobody's result is lost.
                self.journal.note("ended", str(self._worker.obituary(self._worker.printed_bytes())))
                self._drop()
            if self._worker is None:
                self._info = self._start()
            assert self._worker is not None
            assert self._info is not None
            return self._worker, self._info

    def _start(self) -> EngineInfo:
        if self._device != "auto" or self._fallback:
            return self._start_on("cpu" if self._fallback else self._device)
        try:
            return self._start_on("auto")
        except EngineError as error:
            self._refuse_closed()
            try:
                info = self._start_on("cpu")
            except EngineError:
                raise error from None
            self._fall_back(f"the GPU could not be started ({error})")
            return self._explained(info)

    def _start_on(self, device: str) -> EngineInfo:
        try:
            self._worker = worker = WorkerProcess(self._most_lanes, worker_environment(self._accelerate))
        except OSError as error:
            remedy = "free memory, processes or open files"
            raise EngineError("engine", f"the worker process cannot be started ({error})", remedy) from error
        started = False
        try:
            facts = worker.ask(0, "start", {"device": device}, self._timeout_s)
            started = True
        except Expired as error:
            raise self._too_late() from error
        except Ended as error:
            raise (_closed() if self._closed else worker.obituary(0)) from error
        finally:
            if not started:
                self._drop()
        info = EngineInfo(**facts, lanes=self._most_lanes if facts["device"] == "cpu" else 1)
        self.journal.note("started", f"process {worker.process.pid} on {info.device_name}, {info.reason}")
        return self._explained(info)

    def _explained(self, info: EngineInfo) -> EngineInfo:
        if not self._fallback:
            return info
        return replace(info, reason=f"auto: {self._fallback}, so it runs on the CPU", fallback=self._fallback)

    def _leave_gpu(self, worker: WorkerProcess, info: EngineInfo, why: str) -> bool:
        """Whether what failed on this worker may be asked of the CPU, to which everything then goes."""
        with self._lock:
            if self._device != "auto" or info.device != "gpu":
                return False
            if not self._fallback:
                self._fall_back(f"the GPU failed: {why}")
            if self._worker is worker:
                self._drop()
            return True

    def _fall_back(self, why: str) -> None:
        # Errors end in a full stop, and this becomes part of a sentence.
        self._fallback = why.replace(".)", ")")
        self.journal.note("fell back", f"to the CPU: {self._fallback}")

    def _bury(self, worker: WorkerProcess, error: EngineError) -> None:
        with self._lock:
            if self._worker is worker:
                self._drop()
                if not self._closed:
                    self.journal.note("ended", str(error))

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.dismiss()
            self._worker = None

    def _room(self) -> int:
        try:
            return budget_bytes() - BASE_BYTES
        except EngineError:  # who needs memory was told so; what needs none goes on, one after the other
            return 0

    def _make_room(self, held: int) -> None:
        self.store.trim(self._room() - held)

    def _settled(self, work: Work) -> None:
        for stored in work.stored:
            self.store.unpin(stored)

    def _too_late(self) -> EngineError:
        return EngineError(
            "engine",
            f"no result after {self._timeout_s:g} s, so the worker process was killed",
            "crop the input, use a smaller kernel_size or a larger stride, or give Engine a larger timeout_s",
            value=self._timeout_s,
        )

    def _refuse_closed(self) -> None:
        if self._closed:
            raise _closed()


def _closed() -> EngineError:
    return EngineError("engine", "it is closed", "make a new Engine")
