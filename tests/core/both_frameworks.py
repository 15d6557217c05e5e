"""Runs a chain's printed programs in MLX and in PyTorch, with the same weights and the same input."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from conv3d_core.chain.layer import Case, Framework
from conv3d_core.chain.port import port
from conv3d_core.chain.writing import to_mlx, to_torch
from conv3d_core.weights import Checkpoint, convert, write_npz, write_safetensors

torch = pytest.importorskip("torch")


class Program(NamedTuple):
    """A printed program that has run."""

    framework: Framework
    text: str
    model: Any
    printed: str
    batched: bool

    def __call__(self, array: np.ndarray) -> np.ndarray:
        if self.framework == "torch":
            with torch.no_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
                return self.model(torch.from_numpy(np.ascontiguousarray(array))).numpy()
        given = mx.array(np.ascontiguousarray(array))
        return np.array(self.model(given[None])[0] if self.batched else self.model(given))

    def weights(self) -> dict[str, np.ndarray]:
        return weights_of(self.model)

    def load(self, checkpoint: Checkpoint) -> None:
        """Strictly, from a file; MLX's as .npz too."""
        assert checkpoint.framework == self.framework
        if self.framework == "torch":
            from safetensors.torch import load

            self.model.load_state_dict(load(write_safetensors(checkpoint)), strict=True)
            return
        with tempfile.TemporaryDirectory() as folder:
            for ending, file in (("npz", write_npz(checkpoint)), ("safetensors", write_safetensors(checkpoint))):
                path = Path(folder) / f"weights.{ending}"
                path.write_bytes(file)
                self.model.load_weights(str(path))
                mx.eval(self.model.parameters())  # read before the file is gone


def program(case: Case, framework: Framework) -> Program:
    text = to_mlx(case) if framework == "mlx" else to_torch(case)
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
        exec(compile(text, "printed.py", "exec"), names)
    batched = port(case.chain, framework, len(case.input_shape)).batched
    return Program(framework, text, names["model"], printed.getvalue().strip(), batched)


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """A module's, by their names."""
    if isinstance(model, torch.nn.Module):
        return {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return {name: np.array(value) for name, value in tree_flatten(model.parameters())}


def trained(program: Program, seed: int = 0) -> Checkpoint:
    """Its weights, with numbers that no layer begins with."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, array in program.weights().items():
        if array.dtype.kind != "f":
            arrays[name] = array
        elif name.endswith("running_var"):
            arrays[name] = random.uniform(0.5, 2, array.shape).astype(np.float32)
        else:
            arrays[name] = (array + random.normal(0, 0.3, array.shape)).astype(np.float32)
    return Checkpoint(arrays, program.framework)


def agree(case: Case) -> tuple[Program, Program]:
    """Both programs run as printed, load each other's weights strictly, and give the same; the chain's own first."""
    own, other = case.chain.framework, "torch" if case.chain.framework == "mlx" else "mlx"
    first, second = program(case, own), program(case, other)
    weights = trained(first)
    if weights.arrays:
        first.load(weights)
        there = convert(weights, case.chain, other)
        second.load(there)
        back = convert(there, case.chain, own)
        assert back.arrays.keys() == weights.arrays.keys()
        for name, array in weights.arrays.items():
            np.testing.assert_array_equal(back.arrays[name], array)
    ported = port(case.chain, other, len(case.input_shape))
    array = np.random.default_rng(1).normal(size=case.input_shape).astype(np.float32)
    result = first(array)
    actual = second(_moved(array, ported.input_axes, ported.batched))
    assert first.printed == str(result.shape)
    assert second.printed == str(actual.shape)
    close(actual, _moved(result, ported.output_axes, ported.batched), 1e-5)
    return first, second


def close(actual: np.ndarray, expected: np.ndarray, error: float) -> None:
    """Sums of many terms are rounded as their terms are, not as what is left of them."""
    assert actual.shape == expected.shape
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    np.testing.assert_allclose(actual, expected, rtol=error, atol=error * largest)


def takes_over(case: Case, model: Any) -> None:
    """The other framework's program, with the weights of a module that is the chain, gives what the module gives."""
    own, other = case.chain.framework, "torch" if case.chain.framework == "mlx" else "mlx"
    first = Program(own, "", model.eval(), "", False)
    second = program(case, other)
    if second.weights():
        second.load(convert(Checkpoint(first.weights(), own), case.chain, other))
    ported = port(case.chain, other, len(case.input_shape))
    array = np.random.default_rng(1).normal(size=case.input_shape).astype(np.float32)
    actual = second(_moved(array, ported.input_axes, ported.batched))
    close(actual, _moved(first(array), ported.output_axes, ported.batched), 1e-4)


def _moved(array: np.ndarray, axes: tuple[int, ...], batched: bool) -> np.ndarray:
    return array[None].transpose(axes)[0] if batched else array.transpose(axes)
