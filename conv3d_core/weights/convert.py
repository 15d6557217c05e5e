"""All weights of a chain in the other framework's layout and under the names of its printed program.

What both frameworks' forms are made from is PyTorch's: a layer's own names, one weight for all groups of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from conv3d_core.chain.layer import NAMES, Chain, Framework, Layer
from conv3d_core.chain.port import port
from conv3d_core.chain.walk import Walk
from conv3d_core.errors import SpecError, WeightsError
from conv3d_core.volumes.limits import clean
from conv3d_core.volumes.members import natural
from conv3d_core.weights.checkpoint import Array, Checkpoint
from conv3d_core.weights.found import BATCHES, conv3d_layers

Arrays = Mapping[str, Array]
Shapes = dict[str, tuple[int, ...]]
# Of a chain's input: a volume, or what else a chain may begin with.
RANKS = (5, 4, 3, 2, 1)


def convert(checkpoint: Checkpoint, chain: Chain, to: Framework, given: Framework | None = None) -> Checkpoint:
    """The chain's weights as the program of `to_mlx` or `to_torch` loads them, strictly.

    A convolution's weight goes between (O, I, KD, KH, KW) in PyTorch and (O, KD, KH, KW, I) in MLX, a transposed one's
    between (I, O, KD, KH, KW) and (O, KD, KH, KW, I); a grouped one becomes one for each group in MLX. A Linear's stays
    (O, I): the programs flatten in the chain's own order. The layers' names in the file are found by the names in the
    chain's text, and else by their shapes, in natural order.

    Args:
        checkpoint: of a model that has the chain's layers, in either framework; of its own names or the text's.
        chain: the layers.
        to: whose weights come out.
        given: whose the checkpoint is; told by the file and the shapes if not given.

    Raises:
        WeightsError: a layer's weights are not there, or both layouts fit and it is not said which it is.
        SpecError: a layer that cannot be written for one of the frameworks.

    >>> conv = Layer("Conv3d", {"in_channels": 2, "out_channels": 8, "kernel_size": 3}, name="self.conv")
    >>> trained = {"conv.weight": np.ones((8, 2, 3, 3, 3), np.float32), "conv.bias": np.ones(8, np.float32)}
    >>> convert(Checkpoint(trained), Chain((conv,), "torch"), "mlx").arrays["conv.weight"].shape
    (8, 3, 3, 3, 2)
    """
    said = given or checkpoint.framework
    owners: tuple[Framework, ...] = (said,) if said else ("torch", "mlx")
    found: dict[Framework, tuple[dict[int, dict[str, Array]], set[str]]] = {}
    missing: WeightsError | None = None
    for framework in owners:
        try:
            found[framework] = _find(checkpoint, chain, framework)
        except WeightsError as error:
            missing = missing or error
    if missing and not found:
        raise missing
    layers, used = found[_owner(checkpoint, chain, list(found))]
    paths = _paths(chain, to)
    arrays: dict[str, Array] = {}
    for index, canonical in layers.items():
        for name, array in _form(chain, index, to).out(canonical).items():
            arrays[f"{paths[index]}.{name}"] = np.ascontiguousarray(array)
    left_out = tuple(clean(name) for name in checkpoint.arrays if name not in used)
    return Checkpoint(arrays, to, left_out, name=checkpoint.name)


def _owner(checkpoint: Checkpoint, chain: Chain, fitting: list[Framework]) -> Framework:
    """Whose a checkpoint is whose shapes fit these."""
    if len(fitting) == 1 or not any(layer.family == "convolution" for layer in chain.layers):
        return fitting[0]
    layers = conv3d_layers(checkpoint)
    if layers and not any(layer.readings[0].shape != layer.readings[1].shape for layer in layers):
        sure = any(not layer.ambiguous for layer in layers)
        told = any(name.endswith(BATCHES) for name in checkpoint.arrays)
        if not sure and not told:
            names = " or ".join(NAMES.values())
            problem = "the sizes agree in both layouts, so nothing tells whether they are MLX's or PyTorch's"
            raise WeightsError("layout", problem, f"say whether it is {names}")
    return layers[0].layout if layers else fitting[0]


def _find(checkpoint: Checkpoint, chain: Chain, framework: Framework) -> tuple[dict[int, dict[str, Array]], set[str]]:
    """Each layer's weights in the common form, and the names that were used."""
    prefixes = sorted({prefix for name in checkpoint.arrays for prefix in _prefixes(name)}, key=natural)
    printed = _paths(chain, framework)
    layers: dict[int, dict[str, Array]] = {}
    by_path: dict[str, int] = {}
    used: set[str] = set()
    taken: set[str] = set()
    for index, layer in enumerate(chain.layers):
        form = _form(chain, index, framework)
        if not form.shapes or printed[index] in by_path:
            continue
        own = layer.name.removeprefix("self.")
        named = [own, printed[index], *(prefix for prefix in prefixes if own and prefix.endswith(f".{own}"))]
        for prefix in [*named, *prefixes]:
            if prefix not in taken and _fits(checkpoint.arrays, prefix, form.shapes):
                break
        else:
            raise _missing(checkpoint, layer, index, framework, form.shapes)
        taken.add(prefix)
        by_path[printed[index]] = index
        stem = f"{prefix}." if prefix else ""
        used |= {stem + name for name in (*form.shapes, BATCHES)}
        layers[index] = form.into({name: checkpoint.arrays[stem + name] for name in form.shapes})
    return layers, used


def _prefixes(name: str) -> Iterator[str]:
    """All that a name can begin with: "a.b.weight" is of "a.b", and of "a" where that is a layer of several."""
    parts = name.split(".")[:-1]
    for length in range(max(0, len(parts) - 2), len(parts) + 1):
        yield ".".join(parts[:length])


def _fits(arrays: Arrays, prefix: str, shapes: Shapes) -> bool:
    stem = f"{prefix}." if prefix else ""
    return all(stem + name in arrays and arrays[stem + name].shape == shape for name, shape in shapes.items())


def _missing(checkpoint: Checkpoint, layer: Layer, index: int, framework: Framework, shapes: Shapes) -> WeightsError:
    wanted = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:3])
    has = [f"{clean(name)} {array.shape}" for name, array in checkpoint.arrays.items() if array.ndim > 1][:3]
    problem = f"layer {index + 1}, {layer.call or layer.kind}, wants {wanted} of {NAMES[framework]}"
    return WeightsError(
        "weights",
        f"{problem}, and no name in the file has these",
        f"use the file of this chain; it has {', '.join(has)}",
    )


def _paths(chain: Chain, framework: Framework) -> tuple[str, ...]:
    """Where each layer is in the printed program; that is the same for any input that the chain takes."""
    refused: SpecError | None = None
    for rank in RANKS:
        try:
            return port(chain, framework, rank).paths
        except SpecError as error:
            refused = refused or error
    assert refused is not None
    raise refused


@dataclass(frozen=True)
class _Form:
    """How a framework keeps a layer's weights.

    Attributes:
        shapes: by the framework's names below the layer's.
        into: makes the common form of them.
        out: the inverse.
    """

    shapes: Shapes
    into: Callable[[Arrays], dict[str, Array]] = dict
    out: Callable[[Arrays], dict[str, Array]] = dict


def _form(chain: Chain, index: int, framework: Framework) -> _Form:
    walk = Walk(chain, framework, 5)
    walk.index = index
    kind = walk.layer.kind
    if kind in ("Conv3d", "ConvTranspose3d"):
        return _convolution(walk)
    if kind == "LayerNorm":
        return _layer_norm(walk)
    if kind in ("BatchNorm", "GroupNorm", "InstanceNorm"):
        return _norm(walk)
    if kind == "Linear":
        inputs, outputs = walk.integer("input_dims"), walk.integer("output_dims")
        return _Form({"weight": (outputs, inputs), **({"bias": (outputs,)} if walk.value("bias") else {})})
    if kind == "PReLU":
        return _Form({"weight": (walk.integer("num_parameters"),)})
    return _Form({})


def _convolution(walk: Walk) -> _Form:
    inputs, outputs, kernel = walk.integer("in_channels"), walk.integer("out_channels"), walk.triple("kernel_size", 1)
    groups = walk.integer("groups")
    transposed = walk.layer.kind == "ConvTranspose3d"
    bias = bool(walk.value("bias"))
    # PyTorch splits what is first: the outputs, or a transposed one's inputs; the bias is always the outputs'.
    first, second = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    if walk.target == "torch":
        return _Form({"weight": (first, second, *kernel), **({"bias": (outputs,)} if bias else {})})
    back = (4, 0, 1, 2, 3) if transposed else (0, 4, 1, 2, 3)
    forth = (1, 2, 3, 4, 0) if transposed else (0, 2, 3, 4, 1)
    stems = [f"layers.{group}." for group in range(groups)] if groups > 1 else [""]
    shapes: Shapes = {}
    for stem in stems:
        shapes[f"{stem}weight"] = (outputs // groups, *kernel, inputs // groups)
        if bias:
            shapes[f"{stem}bias"] = (outputs // groups,)

    def into(arrays: Arrays) -> dict[str, Array]:
        common = {"weight": np.concatenate([arrays[f"{stem}weight"].transpose(back) for stem in stems])}
        return common | ({"bias": np.concatenate([arrays[f"{stem}bias"] for stem in stems])} if bias else {})

    def out(common: Arrays) -> dict[str, Array]:
        result = {}
        for name, array in common.items():
            for stem, part in zip(stems, np.split(array, groups), strict=True):
                result[stem + name] = part.transpose(forth) if name == "weight" else part
        return result

    return _Form(shapes, into, out)


def _layer_norm(walk: Walk) -> _Form:
    dims = walk.value("dims")
    shape = walk.sizes("dims") if isinstance(dims, tuple) else (walk.integer("dims"),)
    names = [name for name in ("weight", "bias") if walk.value("affine") and (name == "weight" or walk.value("bias"))]
    if walk.target == "torch" or len(shape) == 1:
        return _Form(dict.fromkeys(names, shape))
    flat = (int(np.prod(shape)),)
    return _Form(
        dict.fromkeys(names, flat),
        lambda arrays: {name: array.reshape(shape) for name, array in arrays.items()},
        lambda common: {name: array.reshape(flat) for name, array in common.items()},
    )


def _norm(walk: Walk) -> _Form:
    """Also where PyTorch's has no bias: MLX's has one, of zeros."""
    features = (walk.integer("num_features" if walk.layer.kind == "BatchNorm" else "dims"),)
    shapes: Shapes = {}
    unbiased = walk.value("affine") and walk.chain.framework == "torch" and not walk.value("bias")
    if walk.value("affine"):
        shapes |= (
            {"weight": features} if unbiased and walk.target == "torch" else {"weight": features, "bias": features}
        )
    if walk.layer.kind == "BatchNorm" and walk.value("track_running_stats"):
        shapes |= {"running_mean": features, "running_var": features}

    def into(arrays: Arrays) -> dict[str, Array]:
        return {name: array for name, array in arrays.items() if not (unbiased and name == "bias")}

    def out(common: Arrays) -> dict[str, Array]:
        result = dict(common)
        if unbiased and walk.target == "mlx":
            result["bias"] = np.zeros(features, np.float32)
        if "running_mean" in shapes and walk.target == "torch":
            result[BATCHES] = np.zeros((), np.int64)
        return result

    return _Form(shapes, into, out)
