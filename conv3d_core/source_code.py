"""Layer text <-> constructor arguments, for MLX and PyTorch. Text is read by `ast` and never run."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import overload

from conv3d_core.errors import SpecError, shown

MAX_TEXT = 20_000
LAYER = "Conv3d"
# MLX and PyTorch agree up to here; then MLX has bias, and PyTorch groups, bias, padding_mode.
SHARED_ARGUMENTS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
MLX_ARGUMENTS = (*SHARED_ARGUMENTS, "bias")
TORCH_ARGUMENTS = (*SHARED_ARGUMENTS, "groups", "bias", "padding_mode")
DEFAULTS: Mapping[str, object] = {"stride": 1, "padding": 0, "dilation": 1, "bias": True}
# A printed PyTorch layer has these words without their quotes: padding=same, padding_mode=circular.
WORDS = ("same", "valid", "zeros", "reflect", "replicate", "circular")
LARGEST = 2**63  # no parameter comes near; it keeps arithmetic and messages short
EXAMPLE = "nn.Conv3d(1, 8, kernel_size=3)"

_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def write_call(name: str, arguments: Mapping[str, object]) -> str:
    """The constructor call as text, defaults left out, for any values, also impossible ones.

    >>> write_call("nn.Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": (3, 3, 3), "stride": 2})
    'nn.Conv3d(1, 8, kernel_size=3, stride=2)'
    """
    parts = [repr(arguments["in_channels"]), repr(arguments["out_channels"])]
    for key in MLX_ARGUMENTS[2:]:
        value = short(arguments.get(key, DEFAULTS.get(key)))
        # Compared as text: True == 1 and 1.0 == 1, and both would be another call.
        if key not in DEFAULTS or repr(value) != repr(DEFAULTS[key]):
            parts.append(f"{key}={value!r}")
    return f"{name}({', '.join(parts)})"


def read_call(text: str) -> dict[str, object]:
    """The arguments of the one ``Conv3d(...)`` call in a text, by MLX's names; values are not validated.

    Takes MLX or PyTorch, printed layers too, positional or keyword arguments and integer arithmetic.
    PyTorch's ``padding="same"`` and ``"valid"`` are passed on as they are.

    Raises:
        SpecError: no call or more than one, a call that is not valid Python, a value that is not a literal,
            or what MLX's layer does not have (groups, padding modes).

    >>> read_call("self.conv = torch.nn.Conv3d(3, 2 * 8, (1, 3, 3), padding='same', groups=1)")
    {'in_channels': 3, 'out_channels': 16, 'kernel_size': (1, 3, 3), 'padding': 'same'}
    """
    call = _find_call(text)
    try:
        arguments = _arguments(call)
    except RecursionError:
        raise SpecError("text", f"{shown(text)} is nested too deeply", f"paste one layer, such as {EXAMPLE}") from None
    return mlx_arguments(arguments)


def mlx_arguments(arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments without those that only PyTorch's layer has.

    Raises:
        SpecError: one of these asks for what MLX's layer does not do (groups, padding modes).
    """
    values = dict(arguments)
    groups = values.pop("groups", 1)
    if groups != 1:
        raise SpecError("groups", f"{shown(groups)} is not 1, and MLX has no grouped 3-D convolution", "use groups=1")
    mode = values.pop("padding_mode", "zeros")
    if mode != "zeros":
        raise SpecError(
            "padding_mode", f"{shown(mode)} is not what nn.Conv3d does", "use 'zeros', or pad before with mx.pad"
        )
    for ignored in ("device", "dtype"):
        values.pop(ignored, None)
    return values


def _find_call(text: str) -> ast.Call:
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise SpecError(
            "text", f"it is not text of at most {MAX_TEXT:,} characters", f"paste one layer, such as {EXAMPLE}"
        )
    # A pasted line often ends with the comma that separated it from the next layer, or begins with its name
    # in a printed model, "(layers.0): ", which is not Python.
    source = re.sub(r"^\([\w.]+\):\s*", "", text.strip()).rstrip(",").strip()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg.split(";")[0] if isinstance(error, SyntaxError) else type(error).__name__
        raise SpecError(
            "text", f"{shown(text)} is not a Python call ({reason})", f"paste one layer, such as {EXAMPLE}"
        ) from None
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == LAYER]
    if len(calls) != 1:
        found = "no Conv3d call" if not calls else f"{len(calls)} Conv3d calls"
        raise SpecError("text", f"{shown(text)} has {found}", f"paste one layer, such as {EXAMPLE}")
    return calls[0]


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _arguments(call: ast.Call) -> dict[str, object]:
    values = [_literal(node) for node in call.args]
    # The seventh argument is bias in MLX and groups in PyTorch; only one of them is a truth value.
    torch_order = len(values) > len(MLX_ARGUMENTS) or (
        len(values) == len(MLX_ARGUMENTS) and not isinstance(values[-1], bool)
    )
    names = TORCH_ARGUMENTS if torch_order else MLX_ARGUMENTS
    if len(values) > len(names):
        raise SpecError(
            "text", f"{len(values)} positional arguments are more than {LAYER} takes", f"use at most {len(names)}"
        )
    arguments: dict[str, object] = dict(zip(names, values, strict=False))
    for keyword in call.keywords:
        if keyword.arg is None:
            raise SpecError(
                "text", f"**{_text(keyword.value)} cannot be read without running it", "write the arguments out"
            )
        if keyword.arg not in (*TORCH_ARGUMENTS, "device", "dtype"):
            raise SpecError(keyword.arg, f"{LAYER} has no such argument", f"use {', '.join(MLX_ARGUMENTS)}")
        if keyword.arg in arguments:
            raise SpecError(keyword.arg, "it is given twice", "give it once")
        # Where the layer lives and in what type does not change what it computes here: not even read.
        arguments[keyword.arg] = None if keyword.arg in ("device", "dtype") else _value(keyword)
    for required in SHARED_ARGUMENTS[:3]:
        if required not in arguments:
            raise SpecError(required, "it is missing", f"give it, as in {EXAMPLE}")
    return arguments


def _value(keyword: ast.keyword) -> object:
    node = keyword.value
    if keyword.arg in ("padding", "padding_mode") and isinstance(node, ast.Name) and node.id in WORDS:
        return node.id
    return _literal(node)


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Constant):
        return bounded(node.value)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _literal(node.operand)
        if isinstance(value, int | float):
            return -value if isinstance(node.op, ast.USub) else +value
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _literal(node.left), _literal(node.right)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return arithmetic(node, left, right)
    raise SpecError("text", f"{_text(node)} is not a number", "write the number itself; text is never run")


def _text(node: ast.expr) -> str:
    try:
        return shown(ast.unparse(node))
    except ValueError:  # an integer inside that Python refuses to print
        return "it"


def arithmetic(node: ast.BinOp, left: float, right: float) -> object:
    """The number that ``left <operator> right`` is in Python: 16 // 2 is 8, and 16 / 2 is 8.0.

    Raises:
        SpecError: there is none (a division by zero, another operator), or one that no parameter reaches.

    >>> arithmetic(ast.BinOp(op=ast.Pow()), 2, 5), arithmetic(ast.BinOp(op=ast.Div()), 16, 2)
    (32, 8.0)
    """
    operation = _ARITHMETIC.get(type(node.op))
    if operation is None:
        raise SpecError("text", f"{_text(node)} is not a number", "write the number itself; text is never run")
    if right == 0 and isinstance(node.op, ast.FloorDiv | ast.Div | ast.Mod):
        raise SpecError("text", f"{_text(node)} divides by zero", "use a number other than 0")
    if isinstance(node.op, ast.Pow) and not (0 <= right <= 64 and abs(left) <= LARGEST):
        raise SpecError("text", f"{_text(node)} is no power of a parameter", "write the number itself")
    try:
        return bounded(operation(left, right))
    except OverflowError:
        return bounded(LARGEST + 1)


def bounded(value: object) -> object:
    """The value, unless it is an integer that no parameter reaches.

    Raises:
        SpecError: it is one.
    """
    if isinstance(value, int) and abs(value) > LARGEST:
        raise SpecError("text", f"{shown(value)} is too large for a parameter", "use a smaller number", value=value)
    return value


@overload
def short(value: tuple[int, int, int]) -> int | tuple[int, int, int]: ...
@overload
def short(value: object) -> object: ...
def short(value: object) -> object:
    """A triple of equal numbers as the one number, all else as it is.

    >>> short((3, 3, 3)), short((1, 3, 3)), short((None, None, None))
    (3, (1, 3, 3), (None, None, None))
    """
    # Three None are sizes of an AdaptiveAvgPool3d, and one is none.
    if isinstance(value, tuple) and len(value) == 3 and value[0] is not None and len(set(map(repr, value))) == 1:
        return value[0]
    return value
