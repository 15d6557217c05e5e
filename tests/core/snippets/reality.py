"""The real layers of a chain and of a snippet, and the shapes that they give: MLX lazily, PyTorch without any data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conv3d_core.chain.layer import KINDS, Chain, Framework, Layer, Sizes
from tests.core.snippets import Snippet


def real_shapes(chain: Chain, input_shape: Sizes) -> list[Sizes]:
    """The shape after each layer, from the framework's own layers; whatever these raise comes out."""
    if chain.framework == "mlx":
        import mlx.core as mx

        return _applied(chain, mx.zeros(input_shape))
    torch: Any = pytest.importorskip("torch")
    with torch.device("meta"), torch.no_grad():
        return _applied(chain, torch.zeros(input_shape))


def real_output(snippet: Snippet) -> Sizes:
    """The shape that the snippet's own module gives. Its text is run: it is ours, and only a test does so."""
    if snippet.framework == "mlx":
        import mlx.core as mx
        import mlx.nn

        return _ran(snippet, {"mx": mx, "nn": mlx.nn, "x": mx.zeros(snippet.input_shape)})
    torch: Any = pytest.importorskip("torch")
    with torch.device("meta"), torch.no_grad():
        x = torch.zeros(snippet.input_shape)
        return _ran(snippet, {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "x": x})


def _ran(snippet: Snippet, names: dict[str, Any]) -> Sizes:
    names["__name__"] = "snippet"
    # Ours, from this folder; without this file's own future.
    exec(compile(snippet.text, snippet.name, "exec", dont_inherit=True), names)
    made = eval(snippet.run, names)
    if callable(getattr(made, "eval", None)):
        made.eval()  # a batch of one has no statistics
    return tuple((made(names["x"]) if callable(made) else made).shape)


def _applied(chain: Chain, x: Any) -> list[Sizes]:
    shapes = []
    for layer in chain.layers:
        x = real_layer(layer, chain.framework)(x)
        x = x[0] if isinstance(x, tuple) else x  # a pooling layer's indices
        shapes.append(tuple(x.shape))
    return shapes


def real_layer(layer: Layer, framework: Framework) -> Callable[[Any], Any]:
    """The framework's own layer, or what its text says on ``x``."""
    arguments: Any = layer.arguments
    if layer.kind == "ExpandDims":
        axis = arguments["axis"]
        return lambda x: x.unsqueeze(axis) if framework == "torch" else _mlx().expand_dims(x, axis)
    if layer.kind in ("Mean", "Max"):
        name = "amax" if (layer.kind, framework) == ("Max", "torch") else layer.kind.lower()
        return lambda x: getattr(x, name)(**arguments)  # PyTorch takes these names, too
    if layer.kind == "Transpose":
        axes = arguments["axes"]
        return lambda x: x.permute(axes) if framework == "torch" else x.transpose(*axes)
    if layer.kind == "Flatten" and framework == "mlx":
        return lambda x: _mlx().flatten(x, arguments["start_dim"], arguments["end_dim"])
    signature = getattr(KINDS[layer.kind], framework)
    own = {signature.name(name): name for name in signature.parameters} if signature else {}
    nn: Any = pytest.importorskip("torch.nn" if framework == "torch" else "mlx.nn")
    written = layer.call.rpartition(".")[2]
    made = getattr(nn, written if written[:1].isupper() and hasattr(nn, written) else signature.call)
    module = made(**{own.get(name, name): value for name, value in arguments.items()})
    return module.eval() if framework == "torch" else module


def _mlx() -> Any:
    import mlx.core as mx

    return mx
