"""The process that reads one volume, see `conv3d_core.volumes.isolated`: it holds itself to limits, reads, and ends.

Run as ``python -m conv3d_core.volumes.reading_process CONNECTION RESULT`` with two descriptors.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import resource
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import folder
from conv3d_core.volumes.door import choose, entries_of
from conv3d_core.volumes.entry import Entry, Part
from conv3d_core.volumes.formats.raw import RawLayout
from conv3d_core.volumes.limits import shown
from conv3d_core.volumes.load import load
from conv3d_core.volumes.members import Data
from conv3d_core.volumes.volume import Float32

MOST_LISTED = 1000
REPORT_S = 0.1


def main(connection: Connection, result: int) -> None:
    """Answer one request, over the connection."""
    asked = _receive(connection)
    hold_to(asked["data_bytes"] + asked["spare_bytes"])
    try:
        entries = entries_of(_files(asked), asked["name"], _raw(asked["raw"]))
        _send(connection, {"entries": [_listed(entry) for entry in entries[:MOST_LISTED]]})
        entry = choose(entries, asked["member"])
        part = Part(**{**asked["part"], "box": _box(asked["part"]["box"])})
        volume = load(entry, part, asked["name"], _Room(connection, result, entry), _Report(connection))
    except VolumeError as error:
        _send(connection, {"error": _error(error)})
    except MemoryError:
        problem = "reading it needs more memory than its size explains"
        remedy = "save it in another format, or read a part of it"
        _send(connection, {"error": _error(VolumeError("file", problem, remedy))})
    else:
        affine = None if volume.affine is None else volume.affine.tolist()
        fields = {"name": volume.name, "spacing_mm": volume.spacing_mm, "affine": affine, "dtype": volume.dtype}
        fields |= {"shape": volume.shape, "source": volume.source, "notes": volume.notes}
        _send(connection, {"volume": fields})


def hold_to(nbytes: int) -> None:
    """Limit this process to so many bytes more than it holds now; no file is written, and none left if it dies."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    held = _held_bytes()
    if held:
        # Private memory that can be written to: what is mapped of a file, and the result, which is shared, are not.
        resource.setrlimit(resource.RLIMIT_DATA, (held + nbytes, resource.RLIM_INFINITY))


def allow(nbytes: int) -> None:
    """Raise that limit."""
    limit, most = resource.getrlimit(resource.RLIMIT_DATA)
    if limit != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (limit + nbytes, most))


def _held_bytes() -> int:
    """As the kernel counts it for RLIMIT_DATA; 0 where it does not say (macOS)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))


def _files(asked: dict[str, Any]) -> list[tuple[str, Data]]:
    if "root" in asked:
        with folder.opened(Path(asked["root"]), asked["path"]) as descriptor:
            if folder.is_file(descriptor):
                return [(asked["path"], folder.mapped(descriptor))]
            return folder.files_under(descriptor)
    data = memoryview(folder.mapped(asked["data"]))
    return [(name, data[at : at + nbytes]) for name, at, nbytes in asked["files"]]


class _Room:
    """Memory for the result, which the parent makes when it has seen how much."""

    def __init__(self, connection: Connection, result: int, entry: Entry) -> None:
        self._connection = connection
        self._result = result
        self._declared = math.prod(entry.shape) * entry.dtype.itemsize
        self._chosen = entry.name

    def __call__(self, shape: tuple[int, ...]) -> Float32:
        nbytes = 4 * math.prod(shape)
        _send(self._connection, {"room": nbytes, "declared": max(nbytes, self._declared), "chosen": self._chosen})
        _receive(self._connection)
        allow(2 * nbytes)  # sums of voxels are taken in float64
        array: Float32 = np.frombuffer(mmap.mmap(self._result, nbytes), np.float32).reshape(shape)
        return array


class _Report:
    """Tells how much is done, not too often."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = time.monotonic() + REPORT_S

    def __call__(self, done: float) -> None:
        if time.monotonic() > self._next:
            _send(self._connection, {"done": done})
            self._next = time.monotonic() + REPORT_S


def _listed(entry: Entry) -> dict[str, Any]:
    # Of what is refused a header may declare sizes that nothing has.
    sizes = entry.sizes if min(entry.sizes) > 0 and math.prod(entry.sizes) < 2**48 else (1, 1, 1, 1)
    problem = str(entry.refusal) if entry.refusal else ""
    facts = {"name": entry.name, "sizes": sizes, "stored": entry.stored, "source": entry.source}
    return facts | {"spacing_mm": entry.spacing_mm, "problem": problem}


def _error(error: VolumeError) -> dict[str, Any]:
    value = error.value if isinstance(error.value, int | str | tuple | list | None) else shown(repr(error.value))
    return {"args": error.args, "field": error.field, "axis": error.axis, "value": value}


def _raw(layout: dict[str, Any] | None) -> RawLayout | None:
    return RawLayout(**{**layout, "shape": tuple(layout["shape"])}) if layout else None


def _box(box: list[list[int]] | None) -> Any:
    return None if box is None else tuple((first, last) for first, last in box)


def _send(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def _receive(connection: Connection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(connection.recv_bytes())
    return message


if __name__ == "__main__":
    os.umask(0o077)
    main(Connection(int(sys.argv[1])), int(sys.argv[2]))
