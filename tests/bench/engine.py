"""How fast the engine is: MLX's own layer, our whole volume, our planes, and PyTorch where it is installed.

All in one run, one after the other on the same input, because only ratios carry from one machine to another. Each time
is the median of some calls after a warm-up. All have the volume already, as the app has; MLX's own layer and PyTorch's
are timed alone, ours from the call to the result in another process. Nothing is remembered.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from conv3d_core import ConvSpec, EngineError
from conv3d_core.engine import Content, Engine
from conv3d_core.engine.layer import times_ms
from conv3d_core.shapes import format_bytes

REPEATS = 9
# From here on a plane is held against PyTorch's whole volume.
LARGE = 96**3


@dataclass
class Row:
    """One layer on one volume; milliseconds and bytes, None where it could not or was not asked to run.

    `fast` is with a faster BLAS in the place of MLX's own, `plain` without.
    """

    size: tuple[int, int, int]
    spec: str
    raw_ms: float | None = None
    plain_ms: float | None = None
    fast_ms: float | None = None
    plain_plane_ms: float | None = None
    plain_planes_ms: float | None = None
    fast_plane_ms: float | None = None
    fast_planes_ms: float | None = None
    torch_ms: float | None = None
    raw_peak: int | None = None
    plain_peak: int | None = None
    fast_peak: int | None = None

    @property
    def voxels(self) -> int:
        """Of the input."""
        return int(np.prod(self.size))


def grid(quick: bool) -> Iterator[tuple[int, ConvSpec]]:
    """Volumes, channels, kernels, strides, dilations."""
    yield 64, ConvSpec(1, 8, 3, padding=1)
    yield 64, ConvSpec(8, 16, 3, padding=1)
    yield 96, ConvSpec(1, 8, 3, padding=1)
    yield 96, ConvSpec(1, 8, 5, padding=2)
    yield 96, ConvSpec(1, 8, 3, padding=2, dilation=2)
    if quick:
        return
    yield 64, ConvSpec(8, 16, 5, padding=2)
    yield 64, ConvSpec(8, 16, 3, padding=2, dilation=2)
    yield 96, ConvSpec(1, 8, 3, stride=2, padding=1)
    yield 96, ConvSpec(8, 16, 3, stride=2, padding=1)
    yield 96, ConvSpec(1, 8, 5, padding=4, dilation=2)
    yield 96, ConvSpec(1, 8, 7, padding=3)
    yield 96, ConvSpec(16, 32, 3, padding=1)
    yield 128, ConvSpec(1, 8, 3, padding=1)
    yield 128, ConvSpec(1, 8, 3, padding=3, dilation=3)
    yield 128, ConvSpec(1, 1, 3, padding=1)
    yield 128, ConvSpec(8, 16, 3, padding=1)
    yield 192, ConvSpec(1, 4, 3, padding=1)


def measure(size: Sequence[int], spec: ConvSpec, device: str, raw: bool = True) -> Row:
    """All of one row, each engine in a fresh process so that its peak is this layer's."""
    d, h, w = size
    random = np.random.default_rng(0)
    x = random.normal(size=(1, d, h, w, spec.in_channels)).astype(np.float32)
    weight = random.normal(size=spec.weight_shape).astype(np.float32)
    bias = np.zeros(spec.out_channels, np.float32)
    volume = Content.of(x)
    row = Row((d, h, w), spec.to_mlx().removeprefix("nn."))
    if raw:
        with Engine(device, accelerate=False) as engine:
            row.raw_ms = median(lambda: engine.raw_times_ms(spec, x, weight, bias, REPEATS))
            row.raw_peak = peak(engine)
    for kind, accelerate in (("plain", False), ("fast", True)):
        with Engine(device, accelerate=accelerate, cache_bytes=0) as engine:
            if accelerate and (engine.info.device == "gpu" or engine.info.blas.startswith("MLX's own")):
                continue
            middle = tuple(n // 2 for n in spec.output_shape(x.shape)[1:4])
            calls: dict[str, Callable[[], object]] = {
                "ms": lambda e=engine: e.run(spec, volume, weight, bias),
                "planes_ms": lambda e=engine, m=middle: e.planes(spec, volume, m, weight, bias),
                "plane_ms": lambda e=engine, m=middle: e.plane(spec, volume, "D", m[0], weight, bias),
            }
            for name, call in calls.items():
                setattr(row, f"{kind}_{name}", median(lambda c=call: times_ms(c, REPEATS)))
            setattr(row, f"{kind}_peak", peak(engine))
    row.torch_ms = torch_ms(spec, x, weight, bias, device)
    return row


def peak(engine: Engine) -> int:
    """The most that the worker held, or of a GPU's memory MLX in it."""
    memory = engine.memory()
    return memory.mlx_peak if engine.info.device == "gpu" else memory.process_peak


def torch_ms(spec: ConvSpec, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, device: str) -> float | None:
    """PyTorch's layer on the same numbers; None where it is not installed, or has no such device."""
    try:
        import torch
    except ImportError:
        return None
    if device == "gpu" and not torch.cuda.is_available():
        return None
    torch.backends.cudnn.allow_tf32 = False  # as the engine
    place = "cuda" if device == "gpu" else "cpu"
    layer = torch.nn.Conv3d(
        spec.in_channels, spec.out_channels, spec.kernel_size, spec.stride, spec.padding, spec.dilation
    )
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.transpose(0, 4, 1, 2, 3).copy()))
        layer.bias.copy_(torch.from_numpy(bias))
        layer.to(place)
        array = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 4, 1, 2, 3))).to(place)

        def call() -> None:
            layer(array)
            if place == "cuda":
                torch.cuda.synchronize()

        return median(lambda: times_ms(call, REPEATS))


def median(times: Callable[[], list[float]]) -> float | None:
    """The median, or None where the engine cannot do it."""
    try:
        return statistics.median(times())
    except EngineError as error:
        print(f"    not run: {error}")
        return None


def ratio(first: float | None, second: float | None) -> float | None:
    """How many times the first is the second."""
    return first / second if first and second else None


HEAD = (
    "volume", "layer", "nn.Conv3d", "ours", "ours+BLAS", "plane", "3 planes", "PyTorch", "raw/ours", "raw/+BLAS",
    "raw/plane", "raw/3", "+BLAS/torch", "torch/3", "peak raw", "peak ours",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """A row of the table. Planes are those of the faster engine that is there."""
    plane = row.fast_plane_ms or row.plain_plane_ms
    planes = row.fast_planes_ms or row.plain_planes_ms
    times = [row.raw_ms, row.plain_ms, row.fast_ms, plane, planes, row.torch_ms]
    ratios = [
        ratio(row.raw_ms, row.plain_ms),
        ratio(row.raw_ms, row.fast_ms),
        ratio(row.raw_ms, row.plain_plane_ms),
        ratio(row.raw_ms, row.plain_planes_ms),
        ratio(row.fast_ms, row.torch_ms),
        ratio(row.torch_ms, row.fast_planes_ms),
    ]
    peaks = [row.raw_peak, row.fast_peak or row.plain_peak]
    return [
        "x".join(map(str, row.size)) if len(set(row.size)) > 1 else f"{row.size[0]}^3",
        row.spec,
        *(f"{ms:.1f}" if ms else "-" for ms in times),
        *(f"{r:.2f}" if r and r < 10 else f"{r:.0f}" if r else "-" for r in ratios),
        *(format_bytes(peak) if peak else "-" for peak in peaks),
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows under their heads, columns aligned."""
    lines = [list(HEAD), *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    left = 2  # names; all the rest are numbers
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def findings(rows: Sequence[Row], shallow: Row, deep: Row, huge: Row) -> list[dict[str, Any]]:
    """What the engine promises, and what was measured of it."""

    def middle(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    k5 = next(row for row in rows if row.size[0] == 96 and "kernel_size=5, padding=2" in row.spec)
    slow = [row for row in rows if row.raw_ms and row.raw_ms > 20]
    large = [row for row in rows if row.voxels >= LARGE]
    worst = [ratio(row.plain_ms, row.raw_ms) for row in slow]
    found: list[tuple[str, float | None, str, float]] = [
        ("96^3 k5: one plane sooner than raw", ratio(k5.raw_ms, k5.plain_plane_ms), ">=", 60),
        ("96^3 k5: three planes sooner than raw", ratio(k5.raw_ms, k5.plain_planes_ms), ">=", 20),
        ("a plane of 512 deep over one of 64", ratio(deep.plain_plane_ms, shallow.plain_plane_ms), "<=", 1.5),
        ("whole, faster than raw, median", middle([ratio(r.raw_ms, r.plain_ms) for r in rows]), ">=", 1.8),
        ("whole + BLAS, faster than raw, median", middle([ratio(r.raw_ms, r.fast_ms) for r in rows]), ">=", 8),
        ("whole over raw where raw > 20 ms, worst", max((w for w in worst if w), default=None), "<=", 1.1),
        ("whole + BLAS over PyTorch, median", middle([ratio(r.fast_ms, r.torch_ms) for r in rows]), "<=", 2.5),
        (
            "three planes + BLAS sooner than PyTorch's whole from 96^3, median",
            middle([ratio(r.torch_ms, r.fast_planes_ms) for r in large]),
            ">=",
            5,
        ),
        ("128^3 8->16 k7, peak of the worker in MiB", (huge.fast_peak or huge.plain_peak or 0) / 2**20, "<=", 2048),
    ]
    return [
        {
            "what": what,
            "measured": value,
            "wanted": f"{relation} {limit:g}",
            "held": None if value is None else (value >= limit if relation == ">=" else value <= limit),
        }
        for what, value, relation, limit in found
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the numbers go")
    parser.add_argument("--quick", action="store_true", help="five layers")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="a GPU is held to no promise")
    options = parser.parse_args()
    with Engine(options.device) as engine:
        info = engine.info
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = ", ".join(filter(None, (info.device_name, f"{cores} cores", f"MLX {info.mlx_version}", info.blas)))
    print(f"{date.today()}, {told}")
    print("ms; raw is nn.Conv3d at once with MLX's own BLAS; planes beside raw are without a faster BLAS, too\n")
    rows = []
    for size, spec in grid(options.quick):
        rows.append(measure((size, size, size), spec, options.device))
        print(f"{size}^3 {rows[-1].spec}", flush=True)
    layer = ConvSpec(1, 8, 3, padding=1)
    shallow, deep = (measure((depth, 96, 96), layer, options.device, raw=False) for depth in (64, 512))
    huge = measure((128, 128, 128), ConvSpec(8, 16, 7, padding=3), options.device, raw=False)
    print(f"\n{table([*rows, shallow, deep, huge])}\n")
    promises = findings(rows, shallow, deep, huge) if options.device == "cpu" else []
    for promise in promises:
        value = promise["measured"]
        verdict = {True: "held", False: "NOT HELD", None: "not measured"}[promise["held"]]
        print(f"{promise['what']:66} {'-' if value is None else f'{value:.2f}':>8}  {promise['wanted']:>8}  {verdict}")
    options.json.write_text(
        json.dumps(
            {
                "date": str(date.today()),
                "machine": platform.platform(),
                "cores": cores,
                "engine": asdict(info),
                "rows": [asdict(row) for row in [*rows, shallow, deep, huge]],
                "promises": promises,
            },
            indent=1,
        )
    )
    print(f"\n{options.json}")


if __name__ == "__main__":
    main()
