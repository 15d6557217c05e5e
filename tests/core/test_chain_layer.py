"""The kinds of layers: their parameters are those of the installed frameworks."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from conv3d_core import SpecError
from conv3d_core.chain import KINDS, Layer
from conv3d_core.chain.layer import REQUIRED, Signature


def parameters(constructor: Any) -> dict[str, object]:
    found = list(inspect.signature(constructor).parameters.values())[1:]
    return {
        parameter.name: REQUIRED if parameter.default is parameter.empty else parameter.default
        for parameter in found
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def check(signature: Signature, module: Any) -> None:
    assert parameters(getattr(module, signature.call).__init__) == dict(signature.parameters), signature.call


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_those_of_mlx(kind: str) -> None:
    import mlx.nn

    signature = KINDS[kind].mlx
    if signature:
        check(signature, mlx.nn)
    else:
        assert not hasattr(mlx.nn, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_those_of_pytorch(kind: str) -> None:
    torch_nn = pytest.importorskip("torch.nn")
    signature = KINDS[kind].torch
    if signature:
        check(signature, torch_nn)


def test_an_argument_is_what_was_written_or_the_frameworks_default() -> None:
    layer = Layer("Linear", {"input_dims": 8})
    assert layer.value("input_dims", "mlx") == 8
    assert layer.value("bias", "torch") is True
    with pytest.raises(SpecError, match=r"^output_dims: it is missing in Linear; give it\.$"):
        layer.value("output_dims", "torch")
    with pytest.raises(SpecError, match=r"^groups: Linear has no such argument; leave it out\.$"):
        layer.value("groups", "torch")


def test_a_pytorch_convolution_is_a_spec_where_mlx_has_it() -> None:
    written = {"in_channels": 1, "out_channels": 4, "kernel_size": 3, "padding": "same", "groups": 1}
    assert Layer("Conv3d", written).spec().padding == (1, 1, 1)
    with pytest.raises(SpecError, match=r"^groups: 2 is not 1"):
        Layer("Conv3d", {**written, "groups": 2}).spec()
    with pytest.raises(SpecError, match=r"^layer: 'ReLU' is no Conv3d"):
        Layer("ReLU", {}).spec()
