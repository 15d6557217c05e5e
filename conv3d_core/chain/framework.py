"""Whose words a text is in: MLX's or PyTorch's."""

from __future__ import annotations

import ast
from collections import Counter

from conv3d_core.chain.layer import Framework

_TORCH_CLASSES = frozenset(
    [
        "BatchNorm1d",
        "BatchNorm2d",
        "BatchNorm3d",
        "InstanceNorm1d",
        "InstanceNorm2d",
        "InstanceNorm3d",
        "Flatten",
        "Unflatten",
        "ModuleList",
        "ModuleDict",
        "AdaptiveAvgPool3d",
        "AdaptiveMaxPool3d",
        "Hardsigmoid",
        "Hardtanh",
        "Parameter",
        "ConstantPad3d",
        "ZeroPad3d",
    ]
)
_MLX_CLASSES = frozenset(["BatchNorm", "InstanceNorm", "HardTanh", "RoPE", "ReLU2"])
_TORCH_KEYWORDS = frozenset(
    [
        "in_features",
        "out_features",
        "inplace",
        "groups",
        "padding_mode",
        "normalized_shape",
        "num_channels",
        "elementwise_affine",
        "start_dim",
        "end_dim",
        "ceil_mode",
        "return_indices",
        "count_include_pad",
        "dim",
        "keepdim",
        "output_size",
        "approximate",
        "recompute_scale_factor",
    ]
)
_MLX_KEYWORDS = frozenset(
    [
        "input_dims",
        "output_dims",
        "dims",
        "start_axis",
        "end_axis",
        "axis",
        "axes",
        "keepdims",
        "pytorch_compatible",
        "approx",
    ]
)
_TORCH_METHODS = frozenset(["view", "permute", "unsqueeze", "size", "cuda", "contiguous", "backward", "zero_grad"])
# Functions that MLX keeps beside its layers, where PyTorch has them in torch.nn.functional.
_MLX_FUNCTIONS = frozenset(
    [
        "relu",
        "relu6",
        "gelu",
        "silu",
        "elu",
        "selu",
        "celu",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "softmax",
        "softplus",
        "mish",
        "value_and_grad",
    ]
)
_BASES = {"mx": ("mlx", 4), "mlx": ("mlx", 4), "torch": ("torch", 4), "F": ("torch", 2), "tnn": ("torch", 3)}


def find_framework(tree: ast.AST) -> Framework:
    """The framework that most of a text's words belong to; MLX where they tell nothing.

    >>> find_framework(ast.parse("nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8))"))
    'torch'
    """
    votes: Counter[str] = Counter()
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _imported(node, votes, modules)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            votes["torch"] += 4 * (node.name == "forward")
            votes["mlx"] += 4 * (node.name == "__call__")
        elif isinstance(node, ast.Name):
            base, weight = _BASES.get(node.id, ("", 0))
            votes[modules.get(node.id, base)] += weight
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            _member(node.value.id, node.attr, votes, modules)
        elif isinstance(node, ast.Call):
            _call(node, votes, modules)
    return "torch" if votes["torch"] > votes["mlx"] else "mlx"


def _imported(node: ast.Import | ast.ImportFrom, votes: Counter[str], modules: dict[str, str]) -> None:
    for name in node.names:
        path = name.name if isinstance(node, ast.Import) else f"{node.module}.{name.name}"
        owner = path.partition(".")[0]
        framework = "mlx" if owner == "mlx" else "torch" if owner in ("torch", "torchvision", "monai") else ""
        if framework:
            votes[framework] += 20
            modules[name.asname or (owner if isinstance(node, ast.Import) else name.name)] = framework


def _member(base: str, name: str, votes: Counter[str], modules: dict[str, str]) -> None:
    if base in modules:
        votes[modules[base]] += 5
    elif base == "nn":
        votes["mlx"] += 3 * (name in _MLX_FUNCTIONS)
        votes["torch"] += 3 * (name in ("functional", "utils", "Parameter"))
    elif name in _TORCH_METHODS:
        votes["torch"] += 1


def _call(node: ast.Call, votes: Counter[str], modules: dict[str, str]) -> None:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if isinstance(node.func, ast.Name):
        name = node.func.id
        votes[modules.get(name, "")] += 5
    votes["torch"] += 4 * (name in _TORCH_CLASSES)
    votes["mlx"] += 4 * (name in _MLX_CLASSES)
    votes["torch"] += name == "Dropout2d"
    votes["mlx"] += name == "transpose" and len(node.args) > 3
    # The seventh argument is bias in MLX and groups in PyTorch; only one of them is a truth value.
    if name == "Conv3d" and len(node.args) >= 7:
        seventh = node.args[6]
        is_bias = isinstance(seventh, ast.Constant) and isinstance(seventh.value, bool)
        votes["mlx" if is_bias and len(node.args) == 7 else "torch"] += 2
    # inplace
    votes["torch"] += 2 * (name in ("ReLU", "SiLU", "ReLU6") and len(node.args) == 1)
    votes["torch"] += 2 * (
        name in ("LeakyReLU", "ELU", "OrderedDict") and len(node.args) == 1 + (name != "OrderedDict")
    )
    for keyword in node.keywords:
        votes["torch"] += 2 * (keyword.arg in _TORCH_KEYWORDS)
        votes["mlx"] += 2 * (keyword.arg in _MLX_KEYWORDS)
        votes["torch"] += 2 * (keyword.arg == "dilation" and name == "MaxPool3d")
        votes["torch"] += (
            keyword.arg == "padding"
            and not isinstance(keyword.value, ast.Name | ast.Tuple)
            and (isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str))
        )
