"""The MLX program that computes the output on screen, for a fresh interpreter: the same bits with MLX's own BLAS."""

from __future__ import annotations

from collections.abc import Sequence

from conv3d_core.edits import Edits, number_text
from conv3d_core.errors import SpecError
from conv3d_core.kernels import EACH, KERNELS, RANDOM, factors, kernel_names
from conv3d_core.spec import ConvSpec
from conv3d_core.trained import Trained

_FULL_PRECISION = [
    "import os",
    "",
    "# CUDA multiplies in TF32 by default, an error of 3e-4. MLX reads this once, so it comes first.",
    'os.environ["MLX_ENABLE_TF32"] = "0"',
    "",
]


def reproduction(
    spec: ConvSpec,
    source: str,
    seed: int,
    input_shape: Sequence[int],
    device: str,
    dtype: str = "float32",
    edits: Edits = (),
    trained: Trained | None = None,
) -> str:
    """A program that reads ``input.npy`` and writes ``output.npy``; it needs MLX and NumPy and nothing of ours.

    Args:
        spec: the layer.
        source: "random", "each", a name in `KERNELS`, or "file".
        seed: of the random weights.
        input_shape: (N, D, H, W, C), for the comment.
        device: "cpu" or "gpu": where the output on screen was computed.
        dtype: what the layer computes in: "float32", "float16" or "bfloat16".
        edits: what was changed by hand in the weights of that source.
        trained: what the source "file" is; the program loads it by its name.

    Raises:
        SpecError: no such source, or a kernel size too small for the kernel.
    """
    if source not in (RANDOM, EACH, *KERNELS) and trained is None:
        raise SpecError("kernel", f"{source!r} is not a source of weights", f"use {RANDOM}, {EACH} or a named kernel")
    lines = list(_FULL_PRECISION) if device == "gpu" else []
    lines += ["import mlx.core as mx", "import mlx.nn as nn", "import numpy as np", ""]
    lines.append(f"mx.set_default_device(mx.{device})")
    if source == RANDOM:
        lines.append(f"mx.random.seed({seed})")
    lines.append(f"layer = {spec.to_mlx()}")
    if trained:
        lines += ["", *trained.program(spec)]
    elif source != RANDOM:
        lines += ["", *_named_weights(spec, source)]
    if edits:
        lines += ["", *_edited_weights(edits)]
    half = dtype != "float32"
    lines += [f"layer.set_dtype(mx.{dtype})"] if half else []
    lines += ["", f'x = mx.array(np.load("input.npy"))  # {tuple(input_shape)}: N, D, H, W, C']
    lines += [f"y = layer(x.astype(mx.{dtype})).astype(mx.float32)" if half else "y = layer(x)"]
    lines += ["mx.eval(y)", 'np.save("output.npy", np.array(y))', "print(y.shape)"]
    return "\n".join(lines) + "\n"


def _named_weights(spec: ConvSpec, source: str) -> list[str]:
    names = kernel_names(source, spec)
    used = list(dict.fromkeys(names))
    lines = ["# Each kernel is a sum of outer products: a factor along D, one along H, one along W.", "kernels = ["]
    for name in used:
        lines.append(f"    [  # {KERNELS[name].title}")
        lines += [f"        ({', '.join(str(list(row)) for row in term)})," for term in factors(name, spec.kernel_size)]
        lines.append("    ],")
    lines += [
        "]",
        'taps = [sum(np.einsum("i,j,k->ijk", *term) for term in kernel).astype(np.float32) for kernel in kernels]',
        f"weight = np.stack([taps[channel % {len(used)}] for channel in range({spec.out_channels})])",
    ]
    if spec.in_channels > 1:
        lines.append("# The same kernel on every input channel; together they take the mean.")
    lines.append(
        f"layer.weight = mx.array(np.repeat(weight[..., None] / {spec.in_channels}, {spec.in_channels}, axis=-1))"
    )
    return lines


def _edited_weights(edits: Edits) -> list[str]:
    return [
        "# Changed by hand: (o, kd, kh, kw, i): value.",
        "edits = {",
        *(f"    {tap}: {number_text(value)}," for tap, value in edits),
        "}",
        "weight = np.array(layer.weight)",
        "for tap, value in edits.items():",
        "    weight[tap] = value",
        "layer.weight = mx.array(weight)",
    ]
