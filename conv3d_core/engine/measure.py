"""How long a layer takes on a device: MLX's own layer at once, and ours in tiles, by planes, by one plane."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

from conv3d_core.engine.client import Engine
from conv3d_core.engine.layer import times_ms
from conv3d_core.engine.operands import Floats
from conv3d_core.errors import EngineError
from conv3d_core.shapes import macs
from conv3d_core.spec import ConvSpec

STEPS = RAW, WHOLE, PLANES, PLANE = "nn.Conv3d at once", "whole volume in tiles", "three planes", "one plane"


class Timing(NamedTuple):
    """One row of a measurement.

    Attributes:
        what: RAW, WHOLE, PLANES or PLANE.
        device: as it calls itself.
        ms: median of the repeats, None where it could not run.
        macs: multiply-accumulates of what was computed.
        note: why it could not run; else empty.
    """

    what: str
    device: str
    ms: float | None
    macs: int
    note: str = ""

    @property
    def gmacs_per_s(self) -> float | None:
        """Throughput in 10^9 multiply-accumulates a second."""
        return None if self.ms is None else self.macs / self.ms / 1e6


def timings(
    engine: Engine, plain: Engine, spec: ConvSpec, x: Floats, weight: Floats, bias: Floats | None, repeats: int = 3
) -> Iterator[Timing]:
    """Each measurement as soon as it is done, after a warm-up.

    Ours are the times of a caller: input to the worker, result back. MLX's own are of its evaluation alone.

    Args:
        engine: ours.
        plain: an engine on the same device that is not accelerated, for MLX's own layer.
        spec: the layer.
        x: (1, D, H, W, C) float32.
        weight: (O, KD, KH, KW, I) float32.
        bias: (O,) float32, or None.
        repeats: how often each is timed.

    Raises:
        ShapeError: the input does not fit the layer.
    """
    outputs = spec.output_shape(x.shape)
    d, h, w = (size // 2 for size in outputs[1:4])
    whole = macs(spec, x.shape)
    one = whole // outputs[1]
    three = sum(whole // size for size in outputs[1:4])
    device = engine.info.device_name
    yield _timing(RAW, device, whole, lambda: plain.raw_times_ms(spec, x, weight, bias, repeats))

    def timed(call: Callable[[], object]) -> Callable[[], list[float]]:
        return lambda: times_ms(call, repeats)

    yield _timing(WHOLE, device, whole, timed(lambda: engine.run(spec, x, weight, bias)))
    yield _timing(PLANES, device, three, timed(lambda: engine.planes(spec, x, (d, h, w), weight, bias)))
    yield _timing(PLANE, device, one, timed(lambda: engine.plane(spec, x, "D", d, weight, bias)))


def _timing(what: str, device: str, count: int, times_ms: Callable[[], list[float]]) -> Timing:
    try:
        return Timing(what, device, statistics.median(times_ms()), count)
    except EngineError as error:
        return Timing(what, device, None, count, str(error))
