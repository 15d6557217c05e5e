"""Another number of axes than a layer takes."""

from __future__ import annotations

from collections.abc import Iterator

from conv3d_core.axis import AXES
from conv3d_core.chain.layer import Layer
from conv3d_core.diagnosis.edits import Change, inserted, removed, replaced, resized
from conv3d_core.diagnosis.failure import Failure
from conv3d_core.diagnosis.finding import Draft
from conv3d_core.diagnosis.fitting import larger_input
from conv3d_core.diagnosis.inputs import missing_batch
from conv3d_core.diagnosis.wording import called, named

# PyTorch's, by the number of axes.
BATCH_NORMS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}
MOST_GROUPS = 8


def ranks_draft(failure: Failure) -> Draft | None:
    """What is wrong with the number of axes, or of values; None where it is neither."""
    if failure.error.field != "input":
        return None
    layer, shape = failure.layer, failure.shape
    if "variance" in str(failure.error):
        words = f"{failure.who} gets {shape}, one value of each channel: it has no variance to train on."
        return failure.draft("too-few-values", words, lambda: _more_values(failure))
    if layer.kind == "BatchNorm" and failure.framework == "mlx" and len(shape) == 5:
        words = f"{failure.who}: MLX's BatchNorm takes two to four axes, and {shape} has five. MLX has no BatchNorm3d."
        return failure.draft("batchnorm-5d", words, lambda: other_norms(failure))
    if layer.family != "norm":
        batch = missing_batch(failure.report, failure.index, shape)
        if batch:
            return batch
    return failure.draft("wrong-rank-layer", failure.problem, lambda: _other_axes(failure))


def other_norms(failure: Failure) -> Iterator[Change]:
    """Norms that take volumes, in the place of the layer."""
    if not failure.shape:
        return
    channels = failure.shape[1 if failure.framework == "torch" and len(failure.shape) > 1 else -1]
    index, torch = failure.index, failure.framework == "torch"
    # Of at least two channels each: a group of one is an InstanceNorm.
    groups = max(number for number in (1, *range(2, min(MOST_GROUPS, channels // 2) + 1)) if channels % number == 0)
    for number in dict.fromkeys((groups, 1)):
        group = Layer("GroupNorm", {"num_groups": number, "dims": channels})
        change = replaced(index, group, f"use GroupNorm({number}, {channels}) instead")
        yield change._replace(idea=f"{change.idea} {number}")
    instance = Layer("InstanceNorm", {"dims": channels, "affine": True})
    yield replaced(index, instance, f"use InstanceNorm{'3d' * torch}({channels}, affine=True) instead")
    last = failure.shape[-1]
    yield replaced(index, Layer("LayerNorm", {"dims": last}), f"use LayerNorm({last}) instead")


def _more_values(failure: Failure) -> Iterator[Change]:
    shape = failure.case.input_shape
    if len(shape) > 1:
        yield resized((2, *shape[1:]), f"use a batch of 2: {(2, *shape[1:])}", "batch")
    yield from larger_input(failure.case, failure.index, AXES)
    yield removed(failure.index, f"remove {named(failure.layer)}")


def _other_axes(failure: Failure) -> Iterator[Change]:
    layer, index, shape = failure.layer, failure.index, failure.shape
    layers = failure.case.chain.layers
    if layer.kind == "BatchNorm" and failure.framework == "torch":
        name = BATCH_NORMS.get(len(shape))
        if name:
            yield replaced(index, Layer("BatchNorm", layer.arguments, f"nn.{name}"), f"use {name} instead")
        if len(shape) == 4 and shape == failure.case.input_shape:
            yield resized((1, *shape), f"add axis 0: {(1, *shape)}", "batch")
    if layer.kind == "Dropout3d":
        yield replaced(index, Layer("Dropout", layer.arguments), "use Dropout instead")
    for before in range(index - 1, -1, -1):
        if layers[before].family == "shape":
            change = removed(before, f"remove {called(failure.case.chain, before)}")
            yield change._replace(moved=-1)
    if len(shape) < 5 and shape == failure.case.input_shape:
        for axes in ((1,) * (5 - len(shape)) + shape, shape + (1,) * (5 - len(shape))):
            yield resized(axes, f"give five axes: {axes}", f"{axes}")
    elif len(shape) == 4 and failure.framework == "mlx":
        yield inserted(index, Layer("ExpandDims", {"axis": 0}), "add the batch axis before it")
    if layer.family == "norm":
        yield from other_norms(failure)
    yield removed(index, f"remove {named(layer)}")
