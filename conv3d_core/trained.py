"""A layer's weights out of a file, as far as a layer of the explorer takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from conv3d_core.chain.layer import Framework
from conv3d_core.errors import ShapeError
from conv3d_core.spec import ConvSpec, Shape

Floats = NDArray[np.float32]
FROM_TORCH = (0, 2, 3, 4, 1)
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Trained:
    """Where weights were found: everything that names them, and not the numbers.

    Attributes:
        file: its name, and its format.
        name: of the layer.
        key: under which the weight stands in the file.
        bias_key: and the bias; None where there is none.
        layout: in which the weight is stored: "mlx" is (O, KD, KH, KW, I), "torch" (O, I, KD, KH, KW).
        shape: of the weight in MLX's layout.
        digest: of the numbers as they are stored.
    """

    file: str
    format: Literal["safetensors", "npz"]
    name: str
    key: str
    bias_key: str | None
    layout: Framework
    shape: Shape
    digest: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's, as far as weights tell them."""
        out_channels, *kernel_size, in_channels = self.shape
        return {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "kernel_size": tuple(kernel_size),
            "bias": self.bias_key is not None,
        }

    def is_whole(self, spec: ConvSpec) -> bool:
        """Whether the layer takes all of them."""
        return spec.weight_shape == self.shape

    def check(self, spec: ConvSpec) -> None:
        """Whether a layer can take them.

        Raises:
            ShapeError: another kernel_size, or more channels than there are.
        """
        out_channels, *kernel_size, in_channels = self.shape
        if spec.kernel_size != tuple(kernel_size):
            there = _product(kernel_size)
            raise ShapeError(
                "kernel_size",
                f"the layer has {_product(spec.kernel_size)} taps and {self.name!r} of the file {there}",
                f"use kernel_size={_size(kernel_size)}, or other weights",
                value=spec.kernel_size,
            )
        for field, wanted, most in (
            ("in_channels", spec.in_channels, in_channels),
            ("out_channels", spec.out_channels, out_channels),
        ):
            if wanted > most:
                raise ShapeError(
                    field,
                    f"the layer has {wanted} and {self.name!r} of the file {most}",
                    f"use {field} <= {most}, or other weights",
                    value=wanted,
                )

    def check_input(self, spec: ConvSpec, channels: int) -> None:
        """Whether a volume has the channels of a layer that is taken with all of its own.

        Raises:
            ShapeError: more, or fewer.
        """
        wanted = self.shape[4]
        if spec.in_channels != wanted or channels == wanted:
            return
        takes = f"{wanted} channel{'s' if wanted > 1 else ''}"
        fewer = "the first of them" if channels == 1 else f"the first {channels} of them"
        remedy = f"use in_channels={channels} for {fewer}" if channels < wanted else f"keep {takes} of the volume"
        raise ShapeError(
            "layer",
            f"{self.name!r} of the file takes {takes} and the volume has {channels}",
            f"{remedy}, or choose a layer that takes {channels}",
            value=wanted,
        )

    def cut(self, spec: ConvSpec, weight: Floats, bias: Floats | None) -> tuple[Floats, Floats]:
        """Weight and bias of a layer with these taps: of as many channels as it has, the first ones.

        Args:
            spec: the layer.
            weight: float32, in MLX's layout.
            bias: float32 (O,); None for zeros, with which ``nn.Conv3d`` starts.

        Raises:
            ShapeError: another kernel_size, or more channels than there are.
        """
        self.check(spec)
        outputs = spec.out_channels
        offset = np.zeros(outputs, np.float32) if bias is None else bias[:outputs]
        return np.ascontiguousarray(weight[:outputs, ..., : spec.in_channels]), offset

    def words(self, spec: ConvSpec) -> str:
        """Which part of the file's layer is taken; empty where that is all.

        >>> stored = Trained("a.npz", "npz", "conv", "conv.weight", None, "mlx", (16, 3, 3, 3, 32), "")
        >>> stored.words(ConvSpec(1, 16, 3))
        'of its 32 input channels the first 1'
        """
        parts = [
            f"{of} {kind} channels the first {taken}"
            for kind, of, taken in (
                ("input", self.shape[4], spec.in_channels),
                ("output", self.shape[0], spec.out_channels),
            )
            if taken < of
        ]
        return f"of its {', and of its '.join(parts)}" if parts else ""

    def program(self, spec: ConvSpec) -> list[str]:
        """Lines of Python that put them into ``layer``, from the file beside the program."""
        transposed = f".transpose{FROM_TORCH}" if self.layout == "torch" else ""
        note = "  # PyTorch's (O, I, KD, KH, KW) to MLX's (O, KD, KH, KW, I)" if transposed else ""
        channels, outputs = "", ""
        if not self.is_whole(spec):
            channels, outputs = f"[:{spec.out_channels}, ..., :{spec.in_channels}]", f"[:{spec.out_channels}]"
        load, put = f'mx.load({self.file!r}, format="safetensors")', "{}.astype(mx.float32)"
        if self.format == "npz":
            # Not mx.load, after which the program was aborted at its end in 2 of 100 runs.
            load, put = f"np.load({self.file!r})", "mx.array({}.astype(np.float32))"
        lines = [
            f"stored = {load}",
            f"weight = stored[{self.key!r}]{transposed}{channels}{note}",
            f"layer.weight = {put.format('weight')}",
        ]
        if spec.bias and self.bias_key is not None:
            lines.append(f"layer.bias = {put.format(f'stored[{self.bias_key!r}]{outputs}')}")
        return lines


def _product(sizes: Any) -> str:
    return _TIMES.join(map(str, sizes))


def _size(sizes: list[int]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else str(tuple(sizes))
