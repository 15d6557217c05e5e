"""MaxPool3d and AvgPool3d: the sizes of both frameworks, which differ in padding and at the end of an axis.

And what pools whole axes: PyTorch's AdaptiveAvgPool3d and AdaptiveMaxPool3d, and a mean or maximum over axes.
"""

from __future__ import annotations

from fractions import Fraction

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.chain.given import Effect, Given
from conv3d_core.chain.reach import Averaged, Taps
from conv3d_core.errors import ShapeError, SpecError, shown
from conv3d_core.shapes import input_bytes
from conv3d_core.spec import Triple, does_not_fit, integer_of, triple_of


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


def adaptive3d(given: Given) -> Effect:
    """The effect of an AdaptiveAvgPool3d or AdaptiveMaxPool3d: ``output_size`` voxels, of windows that may overlap.

    Output o of O reads the I voxels from ``floor(o*I/O)`` to before ``ceil((o+1)*I/O)``; of 1 it reads all.

    Raises:
        Conv3dError: it is none, or the array does not fit it; or MLX has no such layer.
    """
    kind = given.layer.kind
    if given.framework == "mlx":
        most = kind == "AdaptiveMaxPool3d"
        whole = f"mx.{'max' if most else 'mean'}(x, axis=(1, 2, 3), keepdims=True)"
        part = "a MaxPool3d" if most else "an AvgPool3d"
        raise SpecError("layer", f"MLX has no {kind}", f"use {whole}, or {part} of the right kernel_size")
    if kind == "AdaptiveMaxPool3d":
        _check_indices(given)
    volume = given.volume()
    wanted = given.value("output_size")
    sizes = [given.shape[position] for position in volume.space]
    if isinstance(wanted, list | tuple) and len(wanted) == len(sizes):
        wanted = [size if number is None else number for number, size in zip(wanted, sizes, strict=True)]
    outputs = dict(zip(volume.space, triple_of("output_size", wanted, 1), strict=True))
    shape = given.replaced(outputs)
    given.check_elements("output", "output_size", shape)
    readings = {place: Averaged(Fraction(given.shape[place], number)) for place, number in outputs.items()}
    return Effect(shape, volume.letters, readings=readings)


def over_axes(given: Given) -> Effect:
    """The effect of a mean or a maximum over axes, which are then gone, or of size 1 with ``keepdims``.

    Raises:
        SpecError: there are no such axes, or no other.
    """
    axis = given.layer.arguments.get("axis")
    some = axis if isinstance(axis, list | tuple) else [axis]
    if axis is None or not some:
        given.refuse("axis", f"{shown(axis)} is not some axes", "name those over which it goes, such as (1, 2, 3)")
    keeps = given.layer.arguments.get("keepdims", False)
    if not isinstance(keeps, bool):
        given.refuse("keepdims", f"{shown(keeps)} is not Python's True or False", "use True or False")
    count = len(given.shape)
    numbers = [integer_of("axis", number, -count) for number in some]
    for number in numbers:
        if number >= count:
            remedy = f"use {-count} to {count - 1}"
            given.refuse("axis", f"axis {number} of {given.shape} is not there", remedy)
    places = {number % count for number in numbers}
    if len(places) < len(numbers):
        given.refuse("axis", f"{shown(axis)} names an axis of {given.shape} twice", "name each once")
    if keeps:
        readings = {place: Averaged(Fraction(given.shape[place])) for place in places}
        return Effect(given.replaced(dict.fromkeys(places, 1)), given.letters, readings=readings)
    left = [place for place in range(count) if place not in places]
    if not left:
        problem = f"{shown(axis)} leaves no axis of {given.shape} for a layer behind"
        given.refuse("axis", problem, "name fewer, or keepdims=True")
    return Effect(tuple(given.shape[place] for place in left), "".join(given.letters[place] for place in left))


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
        _check_indices(given)
        return
    given.flag("count_include_pad")
    divisor = given.value("divisor_override")
    if divisor is not None and (isinstance(divisor, bool) or not isinstance(divisor, int) or not divisor):
        given.refuse("divisor_override", f"{shown(divisor)} is no divisor", "use an integer other than 0, or None")


def _check_indices(given: Given) -> None:
    # Where they are given, the reader of the text follows the pooled array alone: ``x, indices = pool(x)``.
    given.flag("return_indices")
