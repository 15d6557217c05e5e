"""An input whose axes are in another order than the framework reads them, or of which one is missing."""

from __future__ import annotations

from collections.abc import Iterator

from conv3d_core.chain.layer import LAYOUTS, NAMES, Case, Framework, Layer, Layout, Sizes
from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis.edits import Change, inserted, resized, settings, together
from conv3d_core.diagnosis.finding import Draft, Finding, Severity
from conv3d_core.diagnosis.wording import called, counted, sentence

MOST_CHANNELS = 4  # of an input that is a picture or a scan
ORDER: dict[Layout, str] = {"NDHWC": "(N, D, H, W, C)", "NCDHW": "(N, C, D, H, W)"}
OTHER: dict[Framework, Framework] = {"mlx": "torch", "torch": "mlx"}
# The places of the axes of the other layout in this one.
MOVES: dict[Layout, tuple[int, ...]] = {"NDHWC": (0, 2, 3, 4, 1), "NCDHW": (0, 4, 1, 2, 3)}
MOVE: dict[Framework, str] = {"mlx": "move axis 1 last", "torch": "move the last axis to axis 1"}


def swapped(shape: Sizes, to: Layout) -> Sizes:
    """A shape in the other layout made one in this.

    >>> swapped((1, 3, 8, 9, 10), "NDHWC")
    (1, 8, 9, 10, 3)
    """
    return tuple(shape[place] for place in MOVES[to])


def layout_draft(report: Report) -> Draft | None:
    """Channels on the wrong side: for sure, where the layer or the owner says so, or by the looks of it."""
    case = report.case
    framework, shape = case.chain.framework, case.input_shape
    wanted, other = LAYOUTS[framework], LAYOUTS[OTHER[framework]]
    index = _first_reader(case)
    if index is None or len(shape) != 5 or min(shape) < 1 or case.layout == wanted:
        return None
    channels = case.chain.layers[index].arguments.get("in_channels")
    here, there = (4, 1) if framework == "mlx" else (1, 4)
    words = f"{NAMES[framework]} reads {ORDER[wanted]}: of {shape} it takes axis {here} for the channels, which has"
    words += f" {shape[here]}."
    who = called(case.chain, index)
    severity: Severity = "error"
    if case.layout == other:
        words += f" You say that the input is {ORDER[other]}, with {counted(shape[there], 'channel')} in axis {there}."
        if shape[here] == channels:
            severity = "silent"
            words += f" {sentence(who)} takes {channels}, so nothing complains, and the result is wrong."
    elif shape[here] != channels == shape[there] and not _is_cube(shape, there):
        words += f" {sentence(who)} takes {channels}, as axis {there} has: the input seems to be {ORDER[other]}, as"
        words += f" {NAMES[OTHER[framework]]} orders axes."
    elif shape[here] == channels and _looks_swapped(shape, here, there):
        severity = "hint"
        words += f" Axis {there}, of {shape[there]}, looks more like channels. If the input is {ORDER[other]}, nothing"
        words += " complains, and the result is wrong."
    else:
        return None

    def changes() -> Iterator[Change]:
        yield moved(shape, framework)
        axes = MOVES[wanted]
        yield inserted(0, Layer("Transpose", {"axes": axes}), f"transpose by {axes} before the first layer")
        if severity == "silent":
            yield together(settings(index, in_channels=shape[there]), moved(shape, framework))
            yield resized(shape, f"say that the input is {ORDER[wanted]}", "said", wanted)

    return Draft(Finding("channels-first", severity, index, None, words), changes)


def moved(shape: Sizes, framework: Framework) -> Change:
    """The input with its channels where the framework reads them."""
    wanted = LAYOUTS[framework]
    to = swapped(shape, wanted)
    return resized(to, f"{MOVE[framework]}: {to}", "moved", wanted)


def missing_batch(report: Report, index: int, shape: Sizes) -> Draft | None:
    """An axis too few for a layer that reads volumes."""
    case, layer = report.case, report.case.chain.layers[index]
    framework, channels = case.chain.framework, layer.arguments.get("in_channels")
    if len(shape) not in (3, 4) or shape != case.input_shape:
        return None
    words = f"{sentence(called(case.chain, index))} takes five axes {ORDER[LAYOUTS[framework]]}, and {shape} has"
    words += f" {len(shape)}: the batch axis is missing{'.' if len(shape) == 4 else ', and the channels.'}"
    if framework == "mlx" and layer.kind == "Conv3d":
        words += f" MLX's own message speaks of the weight, since it takes {len(shape)} axes for a {len(shape) - 2}-D"
        words += " convolution."

    def changes() -> Iterator[Change]:
        if len(shape) == 3:
            full = (1, *shape, 1) if framework == "mlx" else (1, 1, *shape)
            yield resized(full, f"add axes for batch and channels: {full}", "batch and channels")
            return
        if framework == "mlx" and shape[0] == channels != shape[-1]:
            last = (1, *shape[1:], shape[0])
            yield resized(last, f"add axis 0, and move the channels last: {last}", "batch and moved")
        yield resized((1, *shape), f"add axis 0: {(1, *shape)}", "batch")
        where = "x = mx.expand_dims(x, 0)" if framework == "mlx" else "x = x.unsqueeze(0)"
        yield inserted(0, Layer("ExpandDims", {"axis": 0}), f"begin with {where}")
        if framework == "mlx" and channels == 1 != shape[-1]:
            yield resized((*shape, 1), f"add a last axis for the channels: {(*shape, 1)}", "channels")

    return Draft(Finding("missing-batch", "error", index, None, words), changes)


def unbatched_channels(report: Report, index: int, shape: Sizes) -> Draft | None:
    """Four axes, which PyTorch reads as (C, D, H, W), and whose last one has the channels, or none has."""
    case, layer = report.case, report.case.chain.layers[index]
    channels = layer.arguments.get("in_channels")
    if case.chain.framework != "torch" or len(shape) != 4 or shape != case.input_shape:
        return None
    if channels not in (1, shape[3]):
        return None
    words = f"PyTorch reads four axes as one volume (C, D, H, W), so {shape} has {counted(shape[0], 'channel')}, and"
    words += f" {called(case.chain, index)} takes {channels}."
    if shape[3] == channels:
        words += f" The last axis has {channels}: the channels are last, as MLX has them."
    else:
        words += " If the first axis is the batch, there is none for the channels."

    def changes() -> Iterator[Change]:
        if shape[3] == channels:
            first = (shape[3], *shape[:3])
            yield resized(first, f"move the last axis first: {first}", "moved")
            yield resized((1, *first), f"move the last axis first and add axis 0: {(1, *first)}", "moved and batch")
        else:
            apart = (shape[0], 1, *shape[1:])
            yield resized(apart, f"add axis 1 for the channels: {apart}", "channels")

    return Draft(Finding("unbatched-channels", "error", index, None, words), changes)


def _first_reader(case: Case) -> int | None:
    """The layer that first reads the input's axes as N, C, D, H, W; None where something moves them before."""
    for index, layer in enumerate(case.chain.layers):
        if layer.kind in ("Conv3d", "ConvTranspose3d"):
            return index
        if layer.family in ("shape", "linear"):
            return None
    return None


def _is_cube(shape: Sizes, there: int) -> bool:
    """Whether the axes are a cube as they are read: then it is chance that the channels are as many as its sides."""
    return len({shape[there], *shape[2:4]}) == 1 != shape[there]


def _looks_swapped(shape: Sizes, here: int, there: int) -> bool:
    """Where few channels and many voxels seem to have changed places, or where both readings fit the layer."""
    rest = shape[2:4]
    few = shape[there] <= MOST_CHANNELS < min(shape[here], *rest) and shape[here] in rest
    both = shape[there] == shape[here] > 1 and shape[here] < min(rest) and len(set(rest)) == 1
    return few or both
