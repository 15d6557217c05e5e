"""Words that findings and fixes share: layers, axes, numbers of voxels, the size formula."""

from __future__ import annotations

from collections.abc import Sequence

from conv3d_core.axis import AXIS_NAMES, Axis
from conv3d_core.chain.layer import KINDS, Chain, Layer

MOST_LISTED = 6


def called(chain: Chain, index: int) -> str:
    """What a reader calls a layer: by its place and name in the text.

    >>> from conv3d_core.chain.reading import read_chain
    >>> called(read_chain("conv = nn.Conv3d(1, 8, 3)"), 0), called(read_chain("nn.Conv3d(1, 8, 3)\\nnn.ReLU()"), 1)
    ('conv', 'layer 2 (ReLU)')
    """
    name = named(chain.layers[index])
    return name if len(chain.layers) == 1 else f"layer {index + 1} ({name})"


def named(layer: Layer) -> str:
    """The name that the text gives a layer, or else its class.

    >>> named(Layer("ReLU", {}, "nn.ReLU", "self.act")), named(Layer("ReLU", {}, "nn.ReLU", "net.2"))
    ('self.act', 'ReLU')
    """
    place_only = layer.name.rpartition(".")[2].strip("()").isdecimal()
    return layer.name if layer.name and not place_only else layer.call.rpartition(".")[2] or layer.kind


def several(chain: Chain, indices: Sequence[int]) -> str:
    """Layers by their places.

    >>> from conv3d_core.chain.layer import Layer
    >>> several(Chain((Layer("ReLU", {}),) * 9), range(9))
    'layers 1, 2, 3, 4, 5 and 4 more'
    """
    if len(indices) == 1:
        return called(chain, indices[0])
    numbers = [str(index + 1) for index in indices]
    if len(numbers) > MOST_LISTED:
        numbers[MOST_LISTED - 1 :] = [f"{len(numbers) - MOST_LISTED + 1} more"]
    return f"layers {listed(numbers)}"


def sentence(text: str) -> str:
    """The text with a capital, unless it begins with a name out of somebody's code.

    >>> sentence("layer 2 (net.1) is"), sentence("conv is")
    ('Layer 2 (net.1) is', 'conv is')
    """
    return text[:1].upper() + text[1:] if text.startswith(("layer", "the ")) else text


def own_name(chain: Chain, layer: Layer, name: str) -> str:
    """How the chain's framework spells an argument."""
    signature, _ = KINDS[layer.kind].signatures(chain.framework)
    for own in signature.parameters if signature else ():
        if signature and signature.name(own) == name:
            return own
    return name


def listed(words: Sequence[str]) -> str:
    """Words in a row.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def axis_names(letters: Sequence[str]) -> str:
    """Axes in words.

    >>> axis_names("DHW")
    'depth, height and width'
    """
    return listed([AXIS_NAMES[letter] for letter in letters])


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "voxel"), counted(2000, "voxel")
    ('1 voxel', '2,000 voxels')
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def ordinal(number: int) -> str:
    """A number in its order.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22, 103)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '103rd']
    """
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{'th' if number % 100 in (11, 12, 13) else ending}"


def size_formula(axis: Axis, size: int) -> str:
    """The size formula with an axis' numbers, also where the kernel does not fit.

    >>> size_formula(Axis(3, stride=2, dilation=4), 4)
    'floor((4 + 2*0 - 9) / 2) + 1 = floor(-2.5) + 1 = -2, with the effective kernel 4*(3 - 1) + 1 = 9'
    """
    k, s, p = axis.effective_kernel_size, axis.stride, axis.padding
    span = axis.padded_size(size) - k
    # Two digits are for reading, cut towards zero and not rounded.
    whole, rest = divmod(abs(span), s)
    digits = f"{whole}.{rest * 100 // s:02d}".rstrip("0").rstrip(".")
    quotient = f"-{digits}" if span < 0 else digits
    text = f"floor(({size} + 2*{p} - {k}) / {s}) + 1 = floor({quotient}) + 1 = {span // s + 1}"
    if axis.dilation > 1:
        text += f", with the effective kernel {axis.dilation}*({axis.kernel_size} - 1) + 1 = {k}"
    return text
