"""Memory for results, used again once nobody holds the result that was in it.

A fresh megabyte costs its page faults, which on a virtual machine can take longer than the layer that fills it: 2 ms
where the host has not backed the memory yet, against 0.05 ms where it was in use before (measured).
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

from conv3d_core.engine.operands import Floats

# Idle memory that is kept at most.
IDLE_BYTES = 256 * 2**20
# Below this the allocator has warm memory of its own.
LEAST_BYTES = 2**20


class _Lease(np.ndarray):
    """Stands between a result and its memory: NumPy's views keep it alive, so it dies with the last of them."""


class Recycler:
    """Makes arrays whose memory comes back by itself."""

    def __init__(self) -> None:
        # A lease may be collected at any point, also in a thread that holds this lock already.
        self._lock = threading.RLock()
        self._idle: deque[NDArray[np.uint8]] = deque()  # the last that came back at the right

    def empty(self, shape: tuple[int, ...]) -> Floats:
        """A writable float32 array of that shape, with any numbers in it."""
        nbytes = math.prod(shape) * np.dtype(np.float32).itemsize
        if nbytes < LEAST_BYTES:
            return np.empty(shape, np.float32)
        block = self._take(nbytes)
        lease = block.view(_Lease)
        weakref.finalize(lease, self._give_back, block).atexit = False
        return lease[:nbytes].view(np.ndarray).view(np.float32).reshape(shape)

    def _take(self, nbytes: int) -> NDArray[np.uint8]:
        with self._lock:
            blocks = [self._idle.popleft() for _ in range(len(self._idle))]
            fitting = [block for block in blocks if nbytes <= block.nbytes <= 2 * nbytes]
            taken = min(fitting, key=lambda block: block.nbytes) if fitting else None
            self._idle.extendleft(block for block in reversed(blocks) if block is not taken)
        return np.empty(nbytes, np.uint8) if taken is None else taken

    def _give_back(self, block: NDArray[np.uint8]) -> None:
        with self._lock:
            self._idle.append(block)
            held = sum([idle.nbytes for idle in list(self._idle)])
            while held > IDLE_BYTES and self._idle:
                held -= self._idle.popleft().nbytes
