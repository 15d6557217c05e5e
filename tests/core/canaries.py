"""What no file may ever reach, and what shows that one did."""

from __future__ import annotations

# Planted where a path in a header could lead: never to be read, never to be shown.
CANARY = "canary.raw"
SECRET = b"SECRET-OF-THIS-MACHINE "
# Touched by code that a file brings with it.
TOUCHED = "touched-by-a-file"
