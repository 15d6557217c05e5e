"""Values near to one that an argument cannot have."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence

from conv3d_core.chain.layer import KINDS, REQUIRED, Framework, Layer, Sizes
from conv3d_core.diagnosis.windows import with_axes
from conv3d_core.source_code import short
from conv3d_core.spec import MAX_ELEMENTS

MINIMUM: Mapping[str, int] = {
    "kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_padding": 0, "size": 1,
    "in_channels": 1, "out_channels": 1, "num_features": 1, "dims": 1, "num_groups": 1, "groups": 1,
    "input_dims": 1, "output_dims": 1, "num_parameters": 1,
}  # fmt: skip
TRIPLES = ("kernel_size", "stride", "padding", "dilation", "output_padding", "size")
# What the array itself tells: how many channels there are, or how many features.
TOLD = ("in_channels", "num_features", "dims", "input_dims", "num_parameters")
# Where nothing tells, what many write.
USUAL: Mapping[str, object] = {
    "kernel_size": 3, "out_channels": 8, "num_groups": 1, "output_dims": 10, "scale_factor": 2, "axis": 0, "p": 0.5,
    "eps": 1e-5, "momentum": 0.1, "negative_slope": 0.01, "alpha": 1.0, "beta": 1.0, "threshold": 20.0, "init": 0.25,
    "dim": -1,
}  # fmt: skip
WORDS: Mapping[str, Sequence[str]] = {
    "mode": ("nearest", "linear", "trilinear", "bilinear", "bicubic", "cubic", "nearest-exact", "area"),
    "padding_mode": ("zeros", "reflect", "replicate", "circular"),
    "approx": ("none", "tanh", "precise", "fast"),
}
MAX_GROUPS = 4096


def nearby(layer: Layer, framework: Framework, name: str, shape: Sizes) -> Iterator[object]:
    """Values for an argument, the nearest to what is written first. Whether they work is for others to try.

    >>> layer = Layer("Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": (3, 3)})
    >>> list(nearby(layer, "mlx", "kernel_size", (1, 8, 8, 8, 1)))[0]
    3
    """
    seen: list[str] = []
    for value in _values(layer, framework, name, shape):
        text = repr(short(value))
        if text not in seen and text != repr(short(layer.arguments.get(name))):
            seen.append(text)
            yield short(value)


def _values(layer: Layer, framework: Framework, name: str, shape: Sizes) -> Iterator[object]:
    value = layer.arguments.get(name)
    if name == "num_groups" or (name == "groups" and framework == "torch"):
        yield from _divisors(layer, name, shape)
    if name in TOLD and value is None:
        yield from _told(framework, shape)
    if name in TRIPLES:
        yield from _triples(layer, name, value)
    elif name in MINIMUM:
        yield from _integers(value, MINIMUM[name])
    elif name in WORDS:
        written = value if isinstance(value, str) else ""
        yield from difflib.get_close_matches(written, WORDS[name], len(WORDS[name]), 0.5)
    elif isinstance(value, bool | str) or value is None:
        yield from (True, False) if value else (False, True)
    elif isinstance(value, int | float) and abs(value) <= MAX_ELEMENTS:
        yield from (abs(value), round(value))
    if name == "scale_factor":
        yield from _scales(value)
    if name in TOLD:
        yield from _told(framework, shape)
    default = _default(layer, framework, name)
    if default is not REQUIRED:
        yield default
    if name in USUAL:
        yield USUAL[name]
    yield from WORDS.get(name, ())
    if name in ("start_dim", "end_dim", "axis", "dim"):
        yield from sorted(range(-len(shape), len(shape)), key=lambda axis: abs(axis - (_number(value) or 0)))
    if name == "axes":
        yield tuple(range(len(shape)))


def _told(framework: Framework, shape: Sizes) -> Iterator[int]:
    places = [-1] if framework == "mlx" else [len(shape) - 4, 1, -1]
    yield from (shape[place] for place in places if -len(shape) <= place < len(shape))


def _divisors(layer: Layer, name: str, shape: Sizes) -> list[int]:
    """Of the channels, the nearest to what is written first."""
    whole = 0
    for argument in ("dims",) if name == "num_groups" else ("in_channels", "out_channels"):
        channels = layer.arguments.get(argument)
        if isinstance(channels, int) and not isinstance(channels, bool) and channels > 0:
            whole = math.gcd(whole, channels)
    wanted = _number(layer.arguments.get(name)) or 1
    found = [number for number in range(1, min(whole, MAX_GROUPS) + 1) if whole % number == 0]
    return sorted(found, key=lambda number: (abs(number - wanted), number))[:6]


def _number(value: object) -> int | float | None:
    """A number that something may have been meant as."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    if isinstance(value, int | float) and abs(value) <= MAX_ELEMENTS:
        return value
    return None


def _integers(value: object, minimum: int) -> Iterator[int]:
    if isinstance(value, tuple | list):
        for part in value[:3]:
            yield from _integers(part, minimum)
        return
    number = _number(value)
    if number is None:
        return
    if abs(number) > minimum and number < 0:
        yield max(minimum, round(abs(number)))
    for whole in (round(number), math.floor(number), math.ceil(number)):
        yield max(minimum, whole)


def _triples(layer: Layer, name: str, value: object) -> Iterator[object]:
    minimum = MINIMUM[name]
    if name == "padding" and isinstance(value, str):
        yield from _paddings(layer, value)
        return
    if not isinstance(value, tuple | list):
        number = _number(value)
        if number is not None and number < minimum == 0:
            yield 0
        yield from _integers(value, minimum)
        return
    parts = [next(_near(part, minimum), None) for part in value[:8]]
    numbers = [part for part in parts if part is not None]
    if len(numbers) < len(parts) or not numbers:
        yield from numbers[:1]
        return
    if len(set(numbers)) == 1:
        yield numbers[0]
    if len(numbers) == 2:
        # Of a layer for planes: the axis across them comes first.
        yield (1 if minimum else 0, *numbers)
        yield (numbers[0], *numbers)
    if len(numbers) > 2:
        yield tuple(numbers[:3])
        yield tuple(numbers[-3:])
    yield numbers[0]


def _near(part: object, minimum: int) -> Iterator[int]:
    number = _number(part)
    if number is not None:
        yield minimum if number < minimum else max(minimum, round(number))


def _paddings(layer: Layer, word: str) -> Iterator[object]:
    """Numbers for a word: what keeps the size at stride 1, or for an even kernel what nearly does."""
    kernel, dilation = layer.arguments.get("kernel_size"), layer.arguments.get("dilation", 1)
    sizes = [[*v] if isinstance(v, tuple | list) else [v] * 3 for v in (kernel, dilation)]
    if word == "valid":
        yield 0
    if all(len(three) == 3 and all(type(n) is int for n in three) for three in sizes):
        spans = [d * (k - 1) for k, d in zip(*sizes, strict=True) if isinstance(d, int) and isinstance(k, int)]
        yield with_axes((0, 0, 0), {place: max(0, span // 2) for place, span in enumerate(spans)})
        yield with_axes((0, 0, 0), {place: max(0, -(-span // 2)) for place, span in enumerate(spans)})
    yield 0


def _scales(value: object) -> Iterator[object]:
    for part in value if isinstance(value, tuple | list) else [value]:
        number = _number(part)
        if number is not None and number:
            yield abs(number)
    yield 1


def _default(layer: Layer, framework: Framework, name: str) -> object:
    signature = getattr(KINDS[layer.kind], framework)
    for own, default in signature.parameters.items() if signature else ():
        if signature.name(own) == name:
            return default
    return REQUIRED
