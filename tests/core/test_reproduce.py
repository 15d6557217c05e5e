"""The program we hand out computes our output, bit for bit, in a fresh interpreter without our library."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conv3d_core import ConvSpec, SpecError
from conv3d_core.engine import Engine
from conv3d_core.kernels import RANDOM, kernel_weights
from conv3d_core.reproduce import reproduction


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(device="cpu") as engine:
        yield engine


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        (ConvSpec(1, 8, 3, stride=2, padding=1), "each"),
        (ConvSpec(3, 10, (2, 3, 4), padding=(0, 1, 2), dilation=(1, 2, 1)), "each"),
        (ConvSpec(2, 4, (3, 1, 2), stride=(1, 2, 1)), RANDOM),
        (ConvSpec(1, 2, 3, bias=False), RANDOM),
        (ConvSpec(3, 2, 5, bias=False), "laplacian"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.to_mlx(),
)
def test_the_program_computes_the_same_bits(spec: ConvSpec, source: str, engine: Engine, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(1, 9, 10, 11, spec.in_channels)).astype(np.float32)
    seed = 7
    weight, bias = engine.initial_weights(spec, seed) if source == RANDOM else kernel_weights(source, spec)
    expected = engine.run(spec, x, weight=weight, bias=bias if spec.bias else None)
    np.save(tmp_path / "input.npy", x)
    program = reproduction(spec, source, seed, x.shape, "cpu")
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
