"""Conv3d and ConvTranspose3d: sizes, costs and what their outputs read, in both frameworks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from conv3d_core import shapes
from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.chain.given import Effect, Given, Volume
from conv3d_core.chain.reach import Spread, Taps
from conv3d_core.errors import ShapeError, shown
from conv3d_core.shapes import FLOAT32_BYTES
from conv3d_core.spec import ConvSpec, Triple, does_not_fit

MODES = ("zeros", "reflect", "replicate", "circular")


def conv3d(given: Given) -> Effect:
    """The effect of a Conv3d.

    Raises:
        Conv3dError: it is none, or the array does not fit it.
    """
    return _mlx_conv3d(given) if given.framework == "mlx" else _torch_conv3d(given)


def _mlx_conv3d(given: Given) -> Effect:
    spec = ConvSpec.from_dict(given.layer.arguments)
    shape = spec.output_shape(given.shape)
    unfolded = shapes.unfolded_bytes(spec, given.shape)
    held = (
        shapes.input_bytes(given.shape) + shapes.output_bytes(spec, given.shape) + shapes.weight_bytes(spec) + unfolded
    )
    volume = given.volume()
    return Effect(
        shape,
        volume.letters,
        shapes.parameter_count(spec),
        shapes.macs(spec, given.shape),
        unfolded,
        shapes.peak_bytes(spec, given.shape) - held,
        {position: Taps(axis) for position, axis in zip(volume.space, spec.axes, strict=True)},
    )


def _torch_conv3d(given: Given) -> Effect:
    inputs, outputs, kernel, stride, dilation, groups, bias = _arguments(given)
    mode = given.word("padding_mode", MODES)
    padding = given.value("padding")
    if isinstance(padding, str):
        given.word("padding", ("valid", "same"))
        if padding == "same" and max(stride) > 1:
            given.refuse("padding", f"'same' does not go with stride {shown(stride)}", "use stride 1, or numbers")
        before = after = (0, 0, 0)
        if padding == "same":
            # Of an odd number of zeros, the one more comes after.
            reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            before, after = _three([r // 2 for r in reach]), _three([r - r // 2 for r in reach])
    else:
        before = after = given.triple("padding", 0)
    volume = given.volume()
    given.check_channels("in_channels", inputs, volume.channel)
    sizes = {volume.channel: outputs}
    padded = {}
    readings = {}
    for letter, position, *numbers, start, end in zip(
        AXES, volume.space, kernel, stride, dilation, before, after, strict=True
    ):
        k, s, d = numbers
        size, axis = given.shape[position], Axis(k, s, start, d)
        _check_mode(letter, mode, max(start, end), size)
        padded[position] = start + size + end
        if start == end and not axis.fits(size):
            raise does_not_fit(letter, axis, size)
        sizes[position] = (padded[position] - axis.effective_kernel_size) // s + 1
        readings[position] = Taps(axis)
    given.check_elements("padded input", "padding", given.replaced(padded))
    shape = given.replaced(sizes)
    given.check_elements("output", "out_channels", shape)
    taps = math.prod(kernel) * (inputs // groups)
    parameters = outputs * taps + (outputs if bias else 0)
    return Effect(shape, volume.letters, parameters, math.prod(shape) * taps, readings=readings)


def _check_mode(letter: str, mode: str, padding: int, size: int) -> None:
    """Whether there are voxels enough for a padding that is made of them."""
    most = {"reflect": size - 1, "circular": size}.get(mode, padding)
    if padding > most:
        name = AXIS_NAMES[letter]
        raise ShapeError(
            name,
            f"padding {padding} with padding_mode='{mode}' does not fit an input of {size}",
            f"use padding <= {most}, {name} >= {padding + (mode == 'reflect')} or padding_mode='zeros'",
            field="padding",
            axis=letter,
            value=padding,
        )


def conv_transpose3d(given: Given) -> Effect:
    """The effect of a ConvTranspose3d: per axis ``(i - 1)*s - 2*p + d*(k - 1) + output_padding + 1`` outputs.

    MLX takes any output padding; PyTorch one below the stride or the dilation. Padding beyond the kernel's reach cuts
    outputs off; at a stride above 1 MLX 0.32.4 cuts inputs off instead, a stride's worth of outputs each, and is
    refused.

    Raises:
        Conv3dError: it is none, or the array does not fit it.

    Source: Dumoulin & Visin 2016, relationship 14.
    """
    inputs, outputs, kernel, stride, dilation, groups, bias = _arguments(given)
    if given.framework == "torch" and given.value("padding_mode") != "zeros":
        mode = shown(given.value("padding_mode"))
        given.refuse("padding_mode", f"{mode} is not 'zeros', and a transposed convolution has no other", "use 'zeros'")
    padding, added = given.triple("padding", 0), given.triple("output_padding", 0)
    volume = given.volume()
    given.check_channels("in_channels", inputs, volume.channel)
    sizes = {volume.channel: outputs}
    readings = {}
    for letter, position, k, s, p, d, more in zip(
        AXES, volume.space, kernel, stride, padding, dilation, added, strict=True
    ):
        if given.framework == "torch" and more >= max(s, d):
            given.refuse(
                "output_padding",
                f"{more} along {letter} is not below the stride {s} or the dilation {d}",
                f"use at most {max(s, d) - 1}",
                axis=letter,
            )
        axis, size = Axis(k, s, p, d), given.shape[position]
        most = axis.effective_kernel_size - 1
        if given.framework == "mlx" and s > 1 and p > most:
            given.refuse(
                "padding",
                f"{p} along {letter} is more than the effective kernel - 1 = {most}, and at stride {s} MLX then cuts"
                " inputs off where outputs are meant",
                f"use at most {most}",
                axis=letter,
            )
        sizes[position] = _spread_size(letter, axis, size, more)
        readings[position] = Spread(axis)
    given.check_elements("output", "out_channels", given.replaced({**sizes, volume.channel: max(inputs, outputs)}))
    shape = given.replaced(sizes)
    taps = math.prod(kernel) * inputs
    unfolded = scratch = 0
    if given.framework == "mlx" and max(*stride, *dilation) == 1:
        # With no zeros between inputs or taps it is a convolution of an input padded by the taps' reach, and unfolds.
        unfolded = _positions(shape, volume) * taps * FLOAT32_BYTES
        padded = [size + k - 1 for size, k in zip((shape[i] for i in volume.space), kernel, strict=True)]
        scratch = shapes.input_bytes((shape[0], *padded, inputs)) + shapes.input_bytes(shape)
    return Effect(
        shape,
        volume.letters,
        taps * outputs // groups + (outputs if bias else 0),
        _positions(given.shape, volume) * taps * outputs // groups,
        unfolded,
        scratch,
        readings=readings,
    )


def _spread_size(letter: str, axis: Axis, size: int, added: int) -> int:
    spread = (size - 1) * axis.stride + axis.effective_kernel_size + added
    outputs = spread - 2 * axis.padding
    if outputs < 1:
        name = AXIS_NAMES[letter]
        ends = f" + {added}" if added else ""
        raise ShapeError(
            name,
            f"padding {axis.padding} takes 2*{axis.padding} from the {spread} outputs"
            f" ({size - 1}*{axis.stride} + {axis.effective_kernel_size}{ends}) and leaves none",
            f"use padding <= {(spread - 1) // 2} or {name} >= {size + -(-(1 - outputs) // axis.stride)}",
            field="padding",
            axis=letter,
            value=axis.padding,
        )
    return outputs


def _positions(shape: Sequence[int], volume: Volume) -> int:
    return math.prod(size for i, size in enumerate(shape) if i != volume.channel)


def _arguments(given: Given) -> tuple[int, int, Triple, Triple, Triple, int, bool]:
    """The channels, kernel size, stride, dilation, groups and bias: what both layers have in both frameworks."""
    inputs, outputs = given.integer("in_channels", 1), given.integer("out_channels", 1)
    kernel, stride = given.triple("kernel_size", 1), given.triple("stride", 1)
    dilation = given.triple("dilation", 1)
    groups = given.integer("groups", 1) if given.framework == "torch" else 1
    for name, channels in (("in_channels", inputs), ("out_channels", outputs)):
        if channels % groups:
            given.refuse("groups", f"{name}={channels} is not a multiple of {groups}", "use a divisor of both channels")
    given.check_elements("weight", "kernel_size", (outputs, *kernel, inputs // groups))
    return inputs, outputs, kernel, stride, dilation, groups, given.flag("bias")


def _three(numbers: Sequence[int]) -> Triple:
    d, h, w = numbers
    return d, h, w
