"""A chain in either framework's terms: the same layers, with the axes where each of them looks for its own.

The two frameworks agree on what a layer does and not on where the channels are. So the walk along the chain keeps in
which order the array has the axes of the chain's own array, and moves them only where the next layer asks for it: a
convolution its framework's order, a flatten the order of the chain's own framework, since the order of the features
that come out, and with it the weights of what follows, is that of the axes.
"""

from __future__ import annotations

from typing import NamedTuple

from conv3d_core.chain import port_mlx, port_torch
from conv3d_core.chain.layer import Chain, Framework
from conv3d_core.chain.walk import Line, Order, Walk


class Ported(NamedTuple):
    """A chain in a framework's terms.

    Attributes:
        target: that framework.
        lines: what happens to ``x``, one after the other.
        needed: names of what is spelled out (`conv3d_core.chain.stand_ins`), in the order of use.
        sequential: whether it is an ``nn.Sequential``.
        paths: for each layer of the chain where its weights are, as the framework names them: "conv1", "layers.0".
        input_axes: which axis of the chain's own array each axis of the input is.
        output_axes: the same of the output.
        batched: whether a batch axis has to be put in front, and taken away behind; it is one of the axes above.
        literal: whether input and output have the chain's own axes because its text moves them.
    """

    target: Framework
    lines: tuple[Line, ...]
    needed: tuple[str, ...]
    sequential: bool
    paths: tuple[str, ...]
    input_axes: Order
    output_axes: Order
    batched: bool
    literal: tuple[bool, bool]


def port(chain: Chain, target: Framework, rank: int = 5) -> Ported:
    """A chain in a framework's terms; also in its own, where what it has not is spelled out.

    Args:
        chain: the layers.
        target: the framework.
        rank: how many axes the chain's own input has.

    Raises:
        SpecError: a layer, by its number and argument, that the framework cannot do.
    """
    layer = port_mlx.layer if target == "mlx" else port_torch.layer
    walk = Walk(chain, target, rank)
    start, literal = walk.order, walk.literal
    for index in range(len(chain.layers)):
        walk.index = index
        layer(walk, walk.layer)
    walk.finish()
    return Ported(
        target,
        tuple(walk.lines),
        tuple(walk.needed),
        walk.sequential,
        walk.paths(),
        start,
        walk.order,
        walk.batched,
        (literal, walk.literal),
    )
