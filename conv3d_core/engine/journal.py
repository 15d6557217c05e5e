"""What the engine did lately, for people: requests, restarts, what was cancelled."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

LENGTH = 200


class Event(NamedTuple):
    """One line of the log.

    Attributes:
        at: when, seconds since the epoch.
        kind: "started", "done", "failed", "cancelled", "superseded", "ended" or "fell back".
        text: what, in words.
    """

    at: float
    kind: str
    text: str


class Journal:
    """The last events, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=LENGTH)

    def note(self, kind: str, text: str) -> None:
        """Add an event that happens now."""
        with self._lock:
            self._events.append(Event(time.time(), kind, text))

    def events(self) -> list[Event]:
        """The last events, the newest first."""
        with self._lock:
            return list(reversed(self._events))
