"""The program we hand out computes our output in a fresh interpreter without our library.

With MLX's own BLAS bit for bit; with a faster one in its place to float32 rounding.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conv3d_core import ConvSpec, SpecError
from conv3d_core.edits import Edit, Edits, edited
from conv3d_core.engine import Engine
from conv3d_core.kernels import RANDOM, kernel_weights
from conv3d_core.reproduce import reproduction


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(device="cpu", accelerate=False) as engine:
        yield engine


@pytest.fixture(scope="module")
def fast() -> Iterator[Engine]:
    with Engine(device="cpu") as engine:
        yield engine


# Numbers whose shortest text is read as they are, small and large.
EDITS = (Edit((0, 1, 1, 1, 0), 0.10000000149011612), Edit((1, 0, 2, 0, 0), -3.0), Edit((1, 2, 2, 2, 0), 1.5e-10))


@pytest.mark.parametrize(
    ("spec", "source", "dtype", "edits"),
    [
        (ConvSpec(1, 8, 3, stride=2, padding=1), "each", "float32", ()),
        (ConvSpec(3, 10, (2, 3, 4), padding=(0, 1, 2), dilation=(1, 2, 1)), "each", "float32", ()),
        (ConvSpec(2, 4, (3, 1, 2), stride=(1, 2, 1)), RANDOM, "float32", ()),
        (ConvSpec(1, 2, 3, bias=False), RANDOM, "float32", ()),
        (ConvSpec(3, 2, 5, bias=False), "laplacian", "float32", ()),
        (ConvSpec(1, 2, 3), RANDOM, "float16", ()),
        (ConvSpec(2, 8, 3, dilation=2), "each", "bfloat16", ()),
        (ConvSpec(1, 2, 3), "each", "float32", EDITS),
        (ConvSpec(2, 2, 3, stride=2), RANDOM, "float32", EDITS),
        (ConvSpec(1, 2, 3, bias=False), "gaussian", "float16", EDITS),
    ],
    ids=lambda value: (value.to_mlx() if isinstance(value, ConvSpec) else str(value)) if value != EDITS else "edited",
)
def test_the_program_computes_the_same_bits(
    spec: ConvSpec, source: str, dtype: str, edits: Edits, engine: Engine, fast: Engine, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).normal(size=(1, 9, 10, 11, spec.in_channels)).astype(np.float32)
    seed = 7
    weight, bias = engine.initial_weights(spec, seed) if source == RANDOM else kernel_weights(source, spec)
    arguments = {"weight": edited(weight, edits), "bias": bias if spec.bias else None, "dtype": dtype}
    expected = engine.run(spec, x, **arguments)
    if dtype == "float32":
        close = 2e-6 * float(np.abs(expected).max())
        np.testing.assert_allclose(fast.run(spec, x, **arguments), expected, rtol=0, atol=close)
    np.save(tmp_path / "input.npy", x)
    program = reproduction(spec, source, seed, x.shape, "cpu", dtype, edits)
    assert "conv3d_core" not in program
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{expected.shape}\n"
    np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), expected)


def test_the_program_reads_like_a_person_wrote_it() -> None:
    program = reproduction(ConvSpec(1, 8, 3, stride=2, padding=1), RANDOM, 3, (1, 94, 116, 98, 1), "cpu")
    assert program.splitlines() == [
        "import mlx.core as mx",
        "import mlx.nn as nn",
        "import numpy as np",
        "",
        "mx.set_default_device(mx.cpu)",
        "mx.random.seed(3)",
        "layer = nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=1)",
        "",
        'x = mx.array(np.load("input.npy"))  # (1, 94, 116, 98, 1): N, D, H, W, C',
        "y = layer(x)",
        "mx.eval(y)",
        'np.save("output.npy", np.array(y))',
        "print(y.shape)",
    ]


def test_what_was_changed_by_hand_stands_in_the_program() -> None:
    lines = reproduction(ConvSpec(1, 2, 3), "box", 0, (1, 9, 9, 9, 1), "cpu", edits=EDITS[:2]).splitlines()
    begin = lines.index("# Changed by hand: (o, kd, kh, kw, i): value.")
    assert lines[begin + 1 : begin + 9] == [
        "edits = {",
        "    (0, 1, 1, 1, 0): 0.1,",
        "    (1, 0, 2, 0, 0): -3,",
        "}",
        "weight = np.array(layer.weight)",
        "for tap, value in edits.items():",
        "    weight[tap] = value",
        "layer.weight = mx.array(weight)",
    ]


def test_in_half_precision_the_program_says_so() -> None:
    lines = reproduction(ConvSpec(1, 8, 3), RANDOM, 3, (1, 9, 9, 9, 1), "cpu", "bfloat16").splitlines()
    assert lines.index("layer.set_dtype(mx.bfloat16)") > lines.index("layer = nn.Conv3d(1, 8, kernel_size=3)")
    assert "y = layer(x.astype(mx.bfloat16)).astype(mx.float32)" in lines


def test_on_a_gpu_the_program_does_not_lose_digits_to_tf32() -> None:
    lines = reproduction(ConvSpec(1, 8, 3), RANDOM, 3, (1, 9, 9, 9, 1), "gpu").splitlines()
    setting = lines.index('os.environ["MLX_ENABLE_TF32"] = "0"')
    assert lines.index("import os") < setting < lines.index("import mlx.core as mx")
    assert lines[setting - 1].startswith("# CUDA ")
    assert "TF32" not in reproduction(ConvSpec(1, 8, 3), RANDOM, 3, (1, 9, 9, 9, 1), "cpu")


def test_refuses_what_has_no_weights() -> None:
    with pytest.raises(SpecError, match=r"kernel: .blur. is not a source of weights; use random, each"):
        reproduction(ConvSpec(1, 1, 3), "blur", 0, (1, 3, 3, 3, 1), "cpu")
    with pytest.raises(SpecError, match="kernel_size: Sobel W compares voxels and needs 2 taps along W"):
        reproduction(ConvSpec(1, 1, (3, 3, 1)), "sobel_w", 0, (1, 3, 3, 3, 1), "cpu")
