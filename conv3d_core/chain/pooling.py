"""MaxPool3d and AvgPool3d: the sizes of both frameworks, which differ in padding and at the end of an axis."""

from __future__ import annotations

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.chain.given import Effect, Given
from conv3d_core.chain.reach import Taps
from conv3d_core.errors import ShapeError, shown
from conv3d_core.shapes import input_bytes
from conv3d_core.spec import Triple, does_not_fit


def pool3d(given: Given) -> Effect:
    """The effect of a MaxPool3d or an AvgPool3d. Of more than one argument, ``stride=None`` is the kernel size.

    Raises:
        Conv3dError: it is none, or the array does not fit it.
    """
    torch, most = given.framework == "torch", given.layer.kind == "MaxPool3d"
    kernel, padding = given.triple("kernel_size", 1), given.triple("padding", 0)
    stride = kernel if given.value("stride") is None else given.triple("stride", 1)
    dilation: Triple = given.triple("dilation", 1) if torch and most else (1, 1, 1)
    ceil = given.flag("ceil_mode") if torch else False
    if torch:
        _check_torch(given, most)
    volume = given.volume()
    sizes, padded, readings = {}, {}, {}
    for letter, position, *numbers in zip(AXES, volume.space, kernel, stride, padding, dilation, strict=True):
        axis, size = Axis(*numbers), given.shape[position]
        if torch and axis.padding > axis.kernel_size // 2:
            given.refuse(
                "padding",
                f"{axis.padding} along {letter} is more than half of kernel_size {axis.kernel_size}",
                f"use at most {axis.kernel_size // 2}",
                axis=letter,
            )
        if torch and not most and axis.kernel_size > size:
            raise _larger_than_input(letter, axis, size)
        sizes[position] = _outputs(letter, axis, size, ceil)
        padded[position] = axis.padded_size(size)
        readings[position] = Taps(axis)
    whole = given.replaced(padded)
    given.check_elements("padded input", "padding", whole)
    shape = given.replaced(sizes)
    scratch = input_bytes(whole) if not torch and max(padding) else 0
    return Effect(shape, volume.letters, scratch_bytes=scratch, readings=readings)


def _outputs(letter: str, axis: Axis, size: int, ceil: bool) -> int:
    """How many windows begin, and with ``ceil`` also one more that ends beyond the padded input.

    The one more must begin in the input or the padding before it. PyTorch leaves it out otherwise.
    """
    span = axis.padded_size(size) - axis.effective_kernel_size
    outputs = span // axis.stride + 1
    if ceil:
        outputs = -(-span // axis.stride) + 1
        if (outputs - 1) * axis.stride >= size + axis.padding:
            outputs -= 1
    if outputs < 1:
        raise does_not_fit(letter, axis, size)
    return outputs


def _larger_than_input(letter: str, axis: Axis, size: int) -> ShapeError:
    name = AXIS_NAMES[letter]
    return ShapeError(
        name,
        f"kernel_size {axis.kernel_size} is larger than the input of {size}, and PyTorch does not count the padding",
        f"use kernel_size <= {size} or {name} >= {axis.kernel_size}",
        field="kernel_size",
        axis=letter,
        value=axis.kernel_size,
    )


def _check_torch(given: Given, most: bool) -> None:
    """What has no say in the sizes."""
    if most:
        # Where they are given, the reader of the text follows the pooled array alone: ``x, indices = pool(x)``.
        given.flag("return_indices")
        return
    given.flag("count_include_pad")
    divisor = given.value("divisor_override")
    if divisor is not None and (isinstance(divisor, bool) or not isinstance(divisor, int) or not divisor):
        given.refuse("divisor_override", f"{shown(divisor)} is no divisor", "use an integer other than 0, or None")
