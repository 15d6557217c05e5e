"""Which build of MLX is installed, told without importing it."""

from __future__ import annotations

from importlib.metadata import distributions

import pytest

without_cuda = pytest.mark.skipif(
    any(each.name.startswith("mlx-cuda") for each in distributions()),
    reason="MLX's CUDA build has memory, threads, sockets and a GPU of its own",
)
