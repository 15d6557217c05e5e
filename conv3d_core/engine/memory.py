"""How many bytes the worker may hold, and how that is said."""

from __future__ import annotations

import os
import re
from pathlib import Path

from conv3d_core.errors import EngineError
from conv3d_core.shapes import format_bytes

VARIABLE = "CONV3D_MEMORY_BUDGET"
MEMINFO = "/proc/meminfo"
UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def budget_bytes() -> int:
    """CONV3D_MEMORY_BUDGET where it is set, else half of the memory that is free now.

    Raises:
        EngineError: the variable is no number of bytes.
    """
    text = os.environ.get(VARIABLE, "").strip()
    return parse_bytes(text) if text else free_bytes() // 2


def parse_bytes(text: str) -> int:
    """Bytes of a text with a binary unit or none.

    Raises:
        EngineError: it is no such text.

    >>> parse_bytes("1.5 GiB"), parse_bytes("4096")
    (1610612736, 4096)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text.strip())
    if match is None or match[2].upper() not in UNITS:
        remedy = "use bytes, or a number with KiB, MiB or GiB"
        raise EngineError(VARIABLE, f"{text!r} is no size", remedy, field="memory", value=text)
    return int(float(match[1]) * UNITS[match[2].upper()])


def free_bytes() -> int:
    """Memory that a process could get now; half of all memory where the system (macOS) does not say."""
    try:
        lines = Path(MEMINFO).read_text().splitlines()
    except OSError:
        return total_bytes() // 2
    sizes = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(sizes["MemAvailable"].split()[0]) * 2**10


def total_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def refuse_beyond_budget(needed: int, what: str) -> None:
    """Stop a request before anything of it is allocated: MLX's CPU build does not survive a failed allocation.

    Raises:
        EngineError: more bytes are needed than the budget has.
    """
    budget = budget_bytes()
    if needed > budget:
        raise EngineError(
            "memory",
            f"{what} needs up to {format_bytes(needed)}, and the budget is {format_bytes(budget)}",
            f"crop the input, use a smaller kernel_size or a larger stride, or set {VARIABLE}",
            value=needed,
        )
