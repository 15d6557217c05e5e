"""Layers, inputs and single axes for Hypothesis: small enough for brute force, wide enough for every case."""

from __future__ import annotations

from hypothesis import strategies as st

from conv3d_core import ConvSpec
from conv3d_core.axis import Axis
from conv3d_core.spec import Shape, Triple

sizes = st.integers(1, 9)


@st.composite
def axes(draw: st.DrawFn, *, fits: int | None = None) -> Axis:
    """One axis of a layer; with `fits`, one whose kernel fits an input of that size."""
    axis = Axis(
        kernel_size=draw(st.integers(1, 5)),
        stride=draw(st.integers(1, 4)),
        padding=draw(st.integers(0, 6)),
        dilation=draw(st.integers(1, 3)),
    )
    if fits is None or axis.fits(fits):
        return axis
    return axis._replace(padding=-(-(axis.effective_kernel_size - fits) // 2))


@st.composite
def fitting_axes(draw: st.DrawFn) -> tuple[Axis, int]:
    """One axis and an input size that its kernel fits."""
    size = draw(sizes)
    return draw(axes(fits=size)), size


def triples(low: int, high: int) -> st.SearchStrategy[Triple]:
    """Three integers (D, H, W), or the same one three times."""
    number = st.integers(low, high)
    return st.tuples(number, number, number) | number.map(lambda n: (n, n, n))


@st.composite
def specs(draw: st.DrawFn, *, channels: int = 3, kernel: int = 4, padding: int = 3) -> ConvSpec:
    """Any small layer."""
    return ConvSpec(
        draw(st.integers(1, channels)),
        draw(st.integers(1, channels)),
        draw(triples(1, kernel)),
        stride=draw(triples(1, 3)),
        padding=draw(triples(0, padding)),
        dilation=draw(triples(1, 3)),
        bias=draw(st.booleans()),
    )


@st.composite
def layers_and_inputs(draw: st.DrawFn, *, channels: int = 3, kernel: int = 4, slack: int = 4) -> tuple[ConvSpec, Shape]:
    """A layer and an input shape (N, D, H, W, C) that it takes, up to `slack` larger than it must be."""
    spec = draw(specs(channels=channels, kernel=kernel))
    d, h, w = (
        max(1, axis.effective_kernel_size - 2 * axis.padding) + draw(st.integers(0, slack)) for axis in spec.axes
    )
    return spec, (draw(st.integers(1, 2)), d, h, w, spec.in_channels)
