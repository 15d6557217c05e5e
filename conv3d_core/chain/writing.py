"""A chain as text: as the ``nn.Sequential`` that `read_chain` reads, and as whole programs of MLX and of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from conv3d_core.chain import stand_ins
from conv3d_core.chain.layer import LAYOUTS, Case, Chain, Passed
from conv3d_core.chain.port import Ported, port
from conv3d_core.chain.spelling import attribute_names, layer_call, sequential, signature_of, write_class

__all__ = ["layer_call", "to_class", "to_mlx", "to_sequential", "to_torch"]

_IMPORTS = {"mlx": ["import mlx.core as mx", "import mlx.nn as nn"], "torch": ["import torch", "from torch import nn"]}
_LOADING = {
    "mlx": ['# model.load_weights("weights.safetensors")'],
    "torch": [
        "# from safetensors.torch import load_file",
        '# model.load_state_dict(load_file("weights.safetensors"))',
    ],
}
_WEIGHTED = ("Conv3d", "ConvTranspose3d", "BatchNorm", "GroupNorm", "LayerNorm", "InstanceNorm", "Linear", "PReLU")
_MODES = ("BatchNorm", "InstanceNorm", "Dropout", "Dropout3d")


def to_sequential(chain: Chain) -> str:
    """The chain as one ``nn.Sequential``; as a class where the framework has a function for one of its layers only.

    >>> from conv3d_core.chain.layer import Layer
    >>> conv = Layer("Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": 3})
    >>> print(to_sequential(Chain((conv, Layer("ReLU", {})), "mlx")))
    nn.Sequential(
        nn.Conv3d(1, 8, kernel_size=3),
        nn.ReLU(),
    )
    """
    if any(signature_of(layer, chain.framework) is None for layer in chain.layers):
        return to_class(chain)
    return sequential([layer_call(layer, chain.framework) for layer in chain.layers])


def to_class(chain: Chain, name: str = "Model") -> str:
    """The chain as a module with a line for each layer, once where it is made and once where it is applied."""
    made, applied = [], []
    names = attribute_names(chain.layers)
    for layer, attribute in zip(chain.layers, names, strict=True):
        call = layer_call(layer, chain.framework)
        if signature_of(layer, chain.framework) is None:
            applied.append(f"x = {call}")
        else:
            made.append(f"self.{attribute} = {call}")
            applied.append(f"x = self.{attribute}(x)")
    return write_class(name, made, applied, chain.framework)


def to_mlx(case: Case) -> str:
    """A program that makes the chain in MLX and gives it an input, for ``pip install mlx`` and nothing else.

    Raises:
        SpecError: a layer that MLX cannot do, by its number and argument.

    >>> from conv3d_core.chain.layer import Layer
    >>> conv = Layer("Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": 3})
    >>> print(to_mlx(Case(Chain((conv, Layer("ReLU", {})), "torch"), (1, 1, 32, 32, 32))))
    import mlx.core as mx
    import mlx.nn as nn
    <BLANKLINE>
    model = nn.Sequential(
        nn.Conv3d(1, 8, kernel_size=3),
        nn.ReLU(),
    )
    # model.load_weights("weights.safetensors")
    <BLANKLINE>
    x = mx.random.normal((1, 32, 32, 32, 1))  # N, D, H, W, C
    y = model(x)
    mx.eval(y)
    print(y.shape)
    """
    ported = port(case.chain, "mlx", len(case.input_shape))
    sizes = _input_sizes(case, ported)
    call = "model(x[None])[0]  # MLX takes batches" if ported.batched else "model(x)"
    lines = [f"x = mx.random.normal({sizes})", f"y = {call}", "mx.eval(y)", "print(y.shape)"]
    lines[0] += _letters(ported, len(case.input_shape))
    return _program(case.chain, ported, lines)


def to_torch(case: Case) -> str:
    """The same in PyTorch, for ``pip install torch`` and nothing else.

    Raises:
        SpecError: a layer that PyTorch cannot do, by its number and argument.

    >>> from conv3d_core.chain.layer import Layer
    >>> conv = Layer("Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": 3})
    >>> print(to_torch(Case(Chain((conv, Layer("BatchNorm", {"num_features": 8})), "mlx"), (1, 32, 32, 32, 1))))
    import torch
    from torch import nn
    <BLANKLINE>
    model = nn.Sequential(
        nn.Conv3d(1, 8, kernel_size=3),
        nn.BatchNorm3d(8),
    )
    model.eval()  # as it is used; model.train() to go on training
    # from safetensors.torch import load_file
    # model.load_state_dict(load_file("weights.safetensors"))
    <BLANKLINE>
    x = torch.randn(1, 1, 32, 32, 32)  # N, C, D, H, W
    with torch.no_grad():
        y = model(x)
    print(tuple(y.shape))
    """
    ported = port(case.chain, "torch", len(case.input_shape))
    lines = [f"x = torch.randn{_input_sizes(case, ported)}", "with torch.no_grad():", "    y = model(x)"]
    lines[0] = lines[0].replace(",)", ")") + _letters(ported, len(case.input_shape))
    return _program(case.chain, ported, [*lines, "print(tuple(y.shape))"])


def _program(chain: Chain, ported: Ported, use: Sequence[str]) -> str:
    lines = list(_IMPORTS[ported.target])
    if "F" in ported.needed:
        lines.append("from torch.nn import functional as F")
    lines += ["", *dict.fromkeys(_passed(item) for item in chain.passed if item.before is not None)]
    texts = stand_ins.MLX if ported.target == "mlx" else stand_ins.TORCH
    for name in ported.needed:
        if name in texts:
            lines += ["", texts[name], ""]
    if ported.sequential:
        lines += ["model = " + sequential([line.made for line in ported.lines])]
    else:
        made = [f"self.{line.module} = {line.made}" for line in ported.lines if line.made]
        applied = [f"x = {line.applied}" + (f"  # {line.note}" if line.note else "") for line in ported.lines]
        lines += ["", write_class("Model", made, applied, ported.target), "", "", "model = Model()"]
    if any(layer.kind in _MODES for layer in chain.layers):
        lines.append("model.eval()  # as it is used; model.train() to go on training")
    if any(layer.kind in _WEIGHTED for layer in chain.layers):
        lines += _LOADING[ported.target]
    return "\n".join([*lines, "", *use]) + "\n"


def _passed(item: Passed) -> str:
    what = "Not here, though it changes the values" if item.keeps_shape else "Not read, and not here"
    return f"# {what}: line {item.line}, {' '.join(item.text.split())}"


def _input_sizes(case: Case, ported: Ported) -> tuple[int, ...]:
    shape = (1, *case.input_shape) if ported.batched else case.input_shape
    sizes = tuple(shape[axis] for axis in ported.input_axes)
    return sizes[1:] if ported.batched else sizes


def _letters(ported: Ported, rank: int) -> str:
    """What the axes of the input are, where they are what the framework takes them for."""
    if rank != 5 or ported.literal[0]:
        return ""
    return f"  # {', '.join(LAYOUTS[ported.target])}"
