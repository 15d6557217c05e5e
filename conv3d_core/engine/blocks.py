"""Arrays in memory that this process and the worker share, found again by their content.

A block is an anonymous file in memory whose descriptor is handed to the worker: it has no name, so nothing can be left
behind, and /dev/shm, which containers keep small, is not involved.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from conv3d_core.engine.operands import Floats
from conv3d_core.errors import EngineError
from conv3d_core.isolation import anonymous_file

_NUMBERS = itertools.count(1)

# Idle blocks that are kept at most: by their bytes, and by their number, because each takes file descriptors, of which
# a process may have 256 or 1024.
IDLE_BYTES = 512 * 2**20
IDLE_BLOCKS = 32


class Block:
    """Shared memory of a fixed size.

    Raises:
        EngineError: the system has none, or no file descriptor for it.

    Attributes:
        number: its name; no other block of this process ever has it.
        descriptor: the file descriptor behind it.
        nbytes: how much it can hold; memory is taken as it is written.
        key: name of its content, None where it has none.
        pins: how many requests need it.
    """

    def __init__(self, nbytes: int, key: str | None = None) -> None:
        self.number = next(_NUMBERS)
        self.nbytes = -(-max(nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        self.key = key
        self.pins = 0
        try:
            self.descriptor = anonymous_file()
            # The mapping itself ends with the last array that looks into it.
            self.close = weakref.finalize(self, os.close, self.descriptor)
            os.truncate(self.descriptor, self.nbytes)
            self._bytes = mmap.mmap(self.descriptor, self.nbytes)
        except OSError as error:
            remedy = "free memory, processes or open files"
            raise EngineError("engine", f"shared memory cannot be had ({error})", remedy) from error

    def floats(self, shape: tuple[int, ...]) -> Floats:
        """The first numbers of the block as an array of that shape."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._bytes, np.float32, count).reshape(shape)


@dataclass(frozen=True, slots=True)
class Stored:
    """An array in a block."""

    block: Block
    shape: tuple[int, ...]

    @property
    def reference(self) -> tuple[int, tuple[int, ...]]:
        """What the worker is told: the block's number and the shape."""
        return self.block.number, self.shape


class Store:
    """Blocks that requests need, and idle ones that are kept because they may be needed again.

    An array that is put with a key is written once, however often it is put. One without a key goes into an idle
    block of a fitting size: fresh shared memory costs a page fault every 4 KiB, ten times more than the copy.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pinned: dict[int, Block] = {}
        self._idle: OrderedDict[int, Block] = OrderedDict()  # the longest unused first
        self._retired: list[int] = []

    def put(self, array: Floats, key: str | None = None) -> Stored:
        """The array in a block, pinned until `unpin`.

        Args:
            array: float32, any strides.
            key: name of the content; whoever gives it answers for it.
        """
        with self._lock:
            block = self._find(array.nbytes, key)
            found = block is not None
            if block is None:
                block = Block(array.nbytes, key)
            block.pins += 1
            self._idle.pop(block.number, None)
            self._pinned[block.number] = block
            # Under the lock, so that nobody finds the key before the content is there.
            if key is None or not found:
                block.floats(array.shape)[...] = array
        return Stored(block, array.shape)

    def unpin(self, stored: Stored) -> None:
        """Say that a request no longer needs it."""
        block = stored.block
        with self._lock:
            block.pins -= 1
            if not block.pins:
                del self._pinned[block.number]
                self._idle[block.number] = block
                self._trim(IDLE_BYTES)

    def trim(self, most_bytes: int) -> None:
        """Give idle blocks back, the longest unused first, until those that stay hold no more than that."""
        with self._lock:
            self._trim(most_bytes)

    def retire(self, block: Block) -> None:
        """A block that was never put here, and that nobody uses any more."""
        with self._lock:
            self._retired.append(block.number)

    def retired(self) -> list[int]:
        """Numbers of blocks given back since the last call: the worker should let go of them, too."""
        with self._lock:
            numbers, self._retired = self._retired, []
        return numbers

    def _trim(self, most_bytes: int) -> None:
        held = sum(block.nbytes for block in self._idle.values())
        while held > max(most_bytes, 0) or len(self._idle) > IDLE_BLOCKS:
            _, block = self._idle.popitem(last=False)
            held -= block.nbytes
            self._retired.append(block.number)
            block.close()

    def _find(self, nbytes: int, key: str | None) -> Block | None:
        if key is not None:
            everywhere = itertools.chain(self._pinned.values(), self._idle.values())
            return next((block for block in everywhere if block.key == key), None)
        fitting = (b for b in self._idle.values() if b.key is None and nbytes <= b.nbytes <= 4 * max(nbytes, 2**16))
        return next(fitting, None)
