"""Reading in a process of its own: what crashes, hangs or bloats there is an explained error here.

A process reads once. It gets the bytes (or the files of a folder, which it opens without following a link), writes the
result into memory that both see, and is gone; of what it says only JSON is believed, and checked.
"""

from __future__ import annotations

import json
import math
import mmap
import operator
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.isolation import anonymous_file, process_environment, seal, status_in_words
from conv3d_core.volumes.entry import WHOLE, Part
from conv3d_core.volumes.formats.raw import RawLayout
from conv3d_core.volumes.limits import MAX_VOLUME_BYTES, MIB
from conv3d_core.volumes.volume import Volume

MODULE = "conv3d_core.volumes.reading_process"
# A file of no size to speak of has so long, and a larger one more: the slowest decoder here gives some 20 MiB/s.
BASE_S = 8.0
BYTES_PER_S = 4 * MIB
# Whatever a header declares.
MOST_S = 300.0
# Beyond what is handed in and what comes out.
SPARE_BYTES = 256 * MIB
POLL_S = 0.1
WATCH_S = 0.5
AT_A_TIME = 2
MAX_MESSAGE = 16 * MIB
# Where it is, the system counts memory as it is held to its limit.
LIMITS = Path("/proc/self/status")

_turn = threading.BoundedSemaphore(AT_A_TIME)


@dataclass(frozen=True, slots=True)
class Listed:
    """An array of a file, as its header tells.

    Attributes:
        name: to choose it by; empty where the file holds one.
        sizes: (D, H, W, C) as it comes out.
        stored: its type and shape in the file.
        source: one line, which axis of the file becomes which.
        spacing_mm: along D, H, W, or None.
        problem: why it cannot be read; empty where it can.
    """

    name: str
    sizes: tuple[int, int, int, int]
    stored: str
    source: str
    spacing_mm: tuple[float, float, float] | None
    problem: str

    @property
    def nbytes(self) -> int:
        """Of all of it as float32."""
        return 4 * math.prod(self.sizes)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of reading.

    Attributes:
        entries: the arrays that are there, as far as headers were read.
        chosen: the name of the one that was read.
        volume: it, or None.
        error: why there is none.
    """

    entries: tuple[Listed, ...]
    chosen: str
    volume: Volume | None
    error: VolumeError | None


@dataclass(frozen=True, slots=True)
class Upload:
    """Files with their bytes."""

    files: tuple[tuple[str, bytes | memoryview], ...]


@dataclass(frozen=True, slots=True)
class InFolder:
    """A file or a folder inside a folder on this machine, out of which nothing is read.

    Attributes:
        root: that folder.
        path: of the file or folder, relative to it.
    """

    root: Path
    path: str


def read(
    given: Upload | InFolder,
    name: str,
    member: str | None = None,
    part: Part = WHOLE,
    raw: RawLayout | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Outcome:
    """Read a volume in a process of its own; see `read_volume` for what is read.

    Args:
        given: what to read.
        name: of the volume.
        member: which array, where there are several.
        part: what of it.
        raw: the layout of numbers without a header; the format is not looked at.
        progress: is told how much is done, also while nothing moves; what it raises ends the process.
    """
    asked = {"name": name, "member": member, "part": asdict(part), "raw": asdict(raw) if raw else None}
    while not _turn.acquire(timeout=POLL_S):
        progress(0.0)
    try:
        with _Reading(given) as reading:
            return reading.run(asked, progress)
    except OSError as error:
        remedy = "free memory, processes or open files"
        return Outcome((), "", None, VolumeError("file", f"it cannot be read now ({error})", remedy))
    finally:
        _turn.release()


class _Reading:
    """One process, from its start to its end."""

    def __init__(self, given: Upload | InFolder) -> None:
        self._given = given
        self._where: dict[str, Any] = {}
        self._data_bytes = 0
        self._entries: tuple[Listed, ...] = ()
        self._chosen = ""
        self._room = 0
        self._done = 0.0

    def __enter__(self) -> _Reading:
        with ExitStack() as stack:
            self._result = self._file(stack)
            passed = [self._result, *self._hand_over(stack)]
            self._connection, theirs = Pipe()
            stack.callback(self._connection.close)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", MODULE, str(theirs.fileno()), str(self._result)],
                    pass_fds=[theirs.fileno(), *passed],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,  # Ctrl+C in the terminal is for the parent
                )
            stack.callback(self._process.wait)
            stack.callback(self._process.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, asked: dict[str, Any], progress: Callable[[float], None]) -> Outcome:
        """Ask, and hear what comes of it."""
        self._send({**asked, **self._where, "data_bytes": self._data_bytes, "spare_bytes": SPARE_BYTES})
        deadline = time.monotonic() + BASE_S + self._data_bytes / (16 * BYTES_PER_S)
        try:
            while True:
                message = self._receive(deadline, lambda: progress(self._done))
                if "entries" in message:
                    self._entries = tuple(_listed(**entry) for entry in message["entries"])
                elif "room" in message:
                    self._make_room(int(message["room"]))
                    self._chosen = str(message["chosen"])
                    most = BASE_S + int(message["declared"]) / BYTES_PER_S
                    deadline = time.monotonic() + min(MOST_S, most)
                    self._send({})
                elif "done" in message:
                    self._done = min(1.0, max(0.0, float(message["done"])))
                    progress(self._done)
                elif "error" in message:
                    return Outcome(self._entries, self._chosen, None, _error(**message["error"]))
                else:
                    return Outcome(self._entries, self._chosen, self._volume(**message["volume"]), None)
        except _EndedError as ended:
            return Outcome(self._entries, self._chosen, None, ended.explained)
        except VolumeError as error:
            return Outcome(self._entries, self._chosen, None, error.with_traceback(None))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return Outcome(self._entries, self._chosen, None, _lost("what it said made no sense"))

    def _hand_over(self, stack: ExitStack) -> list[int]:
        """Bytes go into one file in memory, one behind the other; what is in a folder is opened there."""
        if isinstance(self._given, InFolder):
            self._where = {"root": str(self._given.root), "path": self._given.path}
            return []
        data = self._file(stack)
        files = []
        for name, content in self._given.files:
            left = memoryview(content).cast("B")
            files.append((name, self._data_bytes, len(left)))
            self._data_bytes += len(left)
            while left:
                left = left[os.write(data, left) :]
        self._where = {"data": data, "files": files}
        return [data]

    def _make_room(self, nbytes: int) -> None:
        if not 0 < nbytes <= MAX_VOLUME_BYTES:
            raise _EndedError(_lost(f"it asked for {nbytes:,} bytes"))
        os.truncate(self._result, nbytes)
        seal(self._result)
        self._room = nbytes

    def _volume(self, shape: Sequence[int], **fields: Any) -> Volume:
        d, h, w, c = (int(size) for size in shape)
        if min(d, h, w, c) < 1 or 4 * d * h * w * c != self._room:
            raise _EndedError(_lost(f"its shape {tuple(shape)} does not fit"))
        # Nobody writes to it any more; the mapping lives as long as the array.
        self._process.kill()
        self._process.wait()
        mapped = mmap.mmap(self._result, self._room, prot=mmap.PROT_READ)
        array = np.frombuffer(mapped, np.float32).reshape(d, h, w, c)
        fields["notes"] = tuple(str(note) for note in fields["notes"])
        if fields["spacing_mm"] is not None:
            fields["spacing_mm"] = tuple(fields["spacing_mm"])
        if fields["affine"] is not None:
            fields["affine"] = np.array(fields["affine"], np.float64)
        return Volume(array, **fields)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise _EndedError(self._obituary()) from error

    def _receive(self, deadline: float, waiting: Callable[[], None]) -> dict[str, Any]:
        watched = time.monotonic()
        try:
            while not self._connection.poll(POLL_S):
                waiting()
                now = time.monotonic()
                if now > deadline:
                    raise _EndedError(_late())
                if now - watched > WATCH_S:
                    watched = now
                    self._check_memory()
            # JSON, and never a pickle: who has taken over a decoder must not be able to run anything here.
            message = json.loads(self._whole_message(deadline))
            if not isinstance(message, dict):
                raise ValueError(f"{message!r} is no message")
        except (EOFError, OSError) as error:
            raise _EndedError(_late() if time.monotonic() > deadline else self._obituary()) from error
        if time.monotonic() > deadline:
            raise _EndedError(_late())
        return message

    def _whole_message(self, deadline: float) -> bytes:
        """A message that has begun. Of one that never ends, the process' end is the end."""
        watchdog = threading.Timer(max(0.0, deadline - time.monotonic()) + POLL_S, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._connection.recv_bytes(MAX_MESSAGE)
        finally:
            watchdog.cancel()

    def _check_memory(self) -> None:
        """Where the system does not hold a process to its limit (macOS) its memory is looked at."""
        if LIMITS.exists():
            return
        asked = ["ps", "-o", "rss=", "-p", str(self._process.pid)]
        text = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        most = self._data_bytes + self._room + 2 * SPARE_BYTES
        if text.isdigit() and int(text) * 1024 > most:
            raise _EndedError(_bloated())

    def _obituary(self) -> VolumeError:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return _lost("it closed its end")
        return _lost(f"it ended with {status_in_words(status)}")

    @staticmethod
    def _file(stack: ExitStack) -> int:
        descriptor = anonymous_file()
        stack.callback(os.close, descriptor)
        return descriptor


class _EndedError(Exception):
    """The process gave no result."""

    def __init__(self, explained: VolumeError) -> None:
        super().__init__(str(explained))
        self.explained = explained


def _environment() -> dict[str, str]:
    environment = process_environment()
    # Decoders that are found at run time are code that nobody chose.
    environment["HDF5_PLUGIN_PATH"] = "/nonexistent"
    return environment


def _listed(sizes: Sequence[int], spacing_mm: Sequence[float] | None, **texts: str) -> Listed:
    d, h, w, c = (operator.index(size) for size in sizes)
    if min(d, h, w, c) < 1 or d * h * w * c >= 2**48:
        raise ValueError(f"{sizes} are no sizes")
    spacing = None
    if spacing_mm is not None:
        z, y, x = map(float, spacing_mm)
        spacing = (z, y, x)
    return Listed(sizes=(d, h, w, c), spacing_mm=spacing, **{name: _text(text) for name, text in texts.items()})


def _error(args: Sequence[str], field: str, axis: str | None, value: Any) -> VolumeError:
    where, problem, remedy = map(_text, args)
    value = tuple(map(_text, value)) if isinstance(value, list) and field == "member" else value
    return VolumeError(
        where, problem, remedy, field=_text(field), axis=axis if axis is None else _text(axis), value=value
    )


def _text(text: str) -> str:
    """A text that is one, and can be shown.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return text.encode(errors="replace").decode()


def _late() -> VolumeError:
    return VolumeError("file", "reading it took too long and was stopped", "save it in another format, or a part of it")


def _bloated() -> VolumeError:
    problem = "reading it took more memory than its size explains and was stopped"
    return VolumeError("file", problem, "save it in another format, or a part of it")


def _lost(how: str) -> VolumeError:
    return VolumeError("file", f"its decoder did not survive it ({how})", "save it in another format, or copy it again")
