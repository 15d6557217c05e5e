"""How many bytes a request needs, how many it may have, and how that is said."""

from __future__ import annotations

import bisect
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cachetools.func import ttl_cache

from conv3d_core.engine.tiles import Cost, Grain, Tiling, box_cost, tiling
from conv3d_core.errors import EngineError
from conv3d_core.shapes import FLOAT32_BYTES, format_bytes, input_bytes, weight_bytes
from conv3d_core.spec import ConvSpec, Triple

VARIABLE = "CONV3D_MEMORY_BUDGET"
MOST_BYTES = 2 * 2**30
MEMINFO = "/proc/meminfo"
CGROUP = Path("/sys/fs/cgroup")
UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}

# What the worker holds besides what a request needs: interpreter, NumPy, MLX and a BLAS 44 MiB (measured), the buffers
# that MLX keeps for the next tile 64 MiB, the layers that are kept 16 MiB.
BASE_BYTES = 128 * 2**20

# Measured on 2 cores: unfolded data of 4-8 MiB a tile is fastest with either BLAS, and 2^27 MACs are some 50 ms.
CPU_GRAIN = Grain(unfolded=8 * 2**20, nbytes=64 * 2**20, macs=2**27, dilated_macs=2**24, splits=True)
# Measured on one H200: few and large evaluations are faster, and beyond this nothing is gained, since moving input and
# output takes most of the time. When a GPU fails the CPU gets its tiles: at their largest they take some seconds there.
GPU_GRAIN = Grain(unfolded=2**30, nbytes=2**30, macs=2**33, dilated_macs=2**31, splits=False)


def grain_for(device: str, dtype: str = "float32") -> Grain:
    """How large tiles are on a device ("cpu" or "gpu"), for a layer that computes in that type."""
    grain = CPU_GRAIN if device == "cpu" else GPU_GRAIN
    # In half precision MLX's loop for dilation rounds otherwise than its product without: that is the layer, too.
    return grain if dtype == "float32" else replace(grain, splits=False)


def gradient_grain(device: str) -> Grain:
    """How large the tiles of a gradient are: neighbouring outputs share most of what is unfolded for them.

    Measured on 2 cores: of three layers of 7 taps a side and 8 channels one output's gradient takes 0.64 s with the
    grain of outputs and 0.17 s with this one.
    """
    grain = grain_for(device)
    return replace(grain, unfolded=max(grain.unfolded, 64 * 2**20), nbytes=max(grain.nbytes, 128 * 2**20))


def budget_bytes() -> int:
    """CONV3D_MEMORY_BUDGET where it is set, else 2 GiB or half of the memory that is free now, whichever is less.

    Raises:
        EngineError: the variable is no number of bytes.
    """
    text = os.environ.get(VARIABLE, "").strip()
    return parse_bytes(text) if text else min(MOST_BYTES, free_bytes() // 2)


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


@ttl_cache(maxsize=1, ttl=0.5)
def free_bytes() -> int:
    """Memory that a process could get now, within its container; half of all where the system (macOS) does not say."""
    try:
        lines = Path(MEMINFO).read_text().splitlines()
    except OSError:
        return total_bytes() // 2
    sizes = dict(line.split(":", 1) for line in lines if ":" in line)
    return min(int(sizes["MemAvailable"].split()[0]) * 2**10, _container_bytes())


def _container_bytes() -> int:
    """What the container's limit leaves, its page cache counted as free; all memory where there is no limit.

    Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files".
    """
    try:
        limit, used, statistics = (
            (CGROUP / name).read_text() for name in ("memory.max", "memory.current", "memory.stat")
        )
    except OSError:
        return total_bytes()
    if limit.strip() == "max":
        return total_bytes()
    cached = dict(line.split() for line in statistics.splitlines())["inactive_file"]
    return max(0, int(limit) - int(used) + int(cached))


def total_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Part(NamedTuple):
    """A box of outputs that is asked for.

    Attributes:
        spec: the layer that gives it.
        sizes: outputs along D, H, W.
        items: of how many batch items.
    """

    spec: ConvSpec
    sizes: Triple
    items: int = 1


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs, in bytes, and how it is cut so that it needs no more.

    Attributes:
        inputs: of the input, or of the part of it that is sent.
        weights: of weight and bias, shared and in MLX.
        outputs: of all that is asked for.
        tiles: of the tiles that are computed at a time.
        tilings: how each part is cut.
    """

    inputs: int = 0
    weights: int = 0
    outputs: int = 0
    tiles: int = 0
    tilings: tuple[Tiling, ...] = ()

    @property
    def total(self) -> int:
        """All of it, without what the worker holds anyway."""
        return self.inputs + self.weights + self.outputs + self.tiles

    def fits(self) -> bool:
        """Whether the budget allows it now."""
        return BASE_BYTES + self.total <= budget_bytes()


def need_of(
    inputs: int,
    parts: Sequence[Part],
    grain: Grain,
    lanes: int,
    cost: Callable[[ConvSpec, Triple], Cost] = box_cost,
) -> Need:
    """What it takes to compute parts of one layer's output, from inputs of so many bytes.

    Tiles are made smaller than the grain where the budget leaves less, down to a 64th of it: still smaller ones would
    take for ever.
    """
    outputs = sum(math.prod(part.sizes) * part.items * part.spec.out_channels for part in parts) * FLOAT32_BYTES
    need = Need(inputs, 2 * weight_bytes(parts[0].spec), outputs)
    # A fifth for the answer: it is at most a quarter of what its tile holds, or a part of the grain, see `tiling`.
    left = (budget_bytes() - BASE_BYTES - need.total) // lanes * 4 // 5
    finer = replace(grain, nbytes=max(min(grain.nbytes, left), grain.nbytes // 64))
    tilings = tuple(tiling(part.spec, part.sizes, finer, lanes, cost) for part in parts)
    return replace(need, tiles=lanes * max(tiling.nbytes for tiling in tilings), tilings=tilings)


def whole_need(spec: ConvSpec, input_shape: Sequence[int], lanes: int) -> Need:
    """What it takes to compute the whole output on the CPU.

    Raises:
        ShapeError: the input does not fit the layer.
    """
    batch, d, h, w, _ = spec.output_shape(input_shape)
    return need_of(input_bytes(input_shape), [Part(spec, (d, h, w), batch)], grain_for("cpu"), lanes)


def planes_need(spec: ConvSpec, input_shape: Sequence[int], lanes: int) -> Need:
    """What it takes to compute three planes of the output on the CPU, with the whole input in shared memory.

    Raises:
        ShapeError: the input does not fit the layer.
    """
    _, d, h, w, _ = spec.output_shape(input_shape)
    parts = [Part(spec, sizes) for sizes in ((1, h, w), (d, 1, w), (d, h, 1))]
    return need_of(input_bytes(input_shape), parts, grain_for("cpu"), lanes)


def refuse_beyond_budget(need: Need, what: str, crop: Callable[[], Triple | None] = lambda: None) -> None:
    """Stop a request before anything of it is allocated: MLX's CPU build does not survive a failed allocation.

    Args:
        need: what it needs.
        what: what it is, in words.
        crop: gives an input that would fit, where there is one.

    Raises:
        EngineError: more bytes are needed than the budget has.
    """
    budget, total = budget_bytes(), BASE_BYTES + need.total
    if total <= budget:
        return
    parts = {"input": need.inputs, "weights": need.weights, "output": need.outputs, "tiles": need.tiles}
    sums = [f"{name} {format_bytes(count)}" for name, count in (parts | {"MLX": BASE_BYTES}).items() if count]
    problem = f"{what} needs up to {format_bytes(total)} ({', '.join(sums)}), and the budget is {format_bytes(budget)}"
    if budget <= BASE_BYTES:
        remedy = f"set {VARIABLE} to more than {format_bytes(BASE_BYTES)}"
    elif sizes := crop():
        remedy = f"crop the input to {' x '.join(map(str, sizes))}, use a larger stride, or set {VARIABLE}"
    else:
        remedy = f"use a smaller kernel_size or set {VARIABLE}"
    raise EngineError("memory", problem, remedy, value=total)


def largest_crop(spec: ConvSpec, sizes: Triple, fits: Callable[[Triple], bool]) -> Triple | None:
    """The largest input (D, H, W) in the proportions of this one that fits; None where not even the smallest does.

    >>> largest_crop(ConvSpec(1, 1, 3), (100, 50, 3), lambda sizes: sizes[0] <= 40)
    (40, 20, 3)
    """
    smallest = [max(1, axis.effective_kernel_size - 2 * axis.padding) for axis in spec.axes]
    longest = max(sizes)

    def scaled(length: int) -> Triple:
        d, h, w = (max(least, size * length // longest) for least, size in zip(smallest, sizes, strict=True))
        return d, h, w

    length = bisect.bisect(range(1, longest + 1), False, key=lambda length: not fits(scaled(length)))
    return scaled(length) if length or fits(scaled(0)) else None
