"""Another number of channels, or of features, than a layer takes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from conv3d_core.chain.layer import Case, Layer, Sizes
from conv3d_core.chain.trace import Report, trace
from conv3d_core.diagnosis.edits import Change, inserted, resized, settings, together
from conv3d_core.diagnosis.failure import Failure
from conv3d_core.diagnosis.finding import Draft, Finding
from conv3d_core.diagnosis.fitting import inputs_with
from conv3d_core.diagnosis.inputs import layout_draft, moved, unbatched_channels
from conv3d_core.diagnosis.ranks import other_norms
from conv3d_core.diagnosis.values import TOLD, nearby
from conv3d_core.diagnosis.wording import called, counted, own_name, sentence

FLATTEN = Layer("Flatten", {"start_dim": 1, "end_dim": -1})


def channels_draft(failure: Failure) -> Draft | None:
    """What is wrong with the channels; None where it is not they."""
    name, layer, shape = failure.error.field, failure.layer, failure.shape
    if name not in TOLD:
        return None
    if name == "in_channels":
        swapped = layout_draft(failure.report)
        if swapped and swapped.finding.layer == failure.index:
            return swapped
        unbatched = unbatched_channels(failure.report, failure.index, shape)
        if unbatched:
            return unbatched
    if name == "input_dims":
        code, words = "linear-size", _linear_words(failure)
    else:
        code = "norm-channels" if layer.family == "norm" else "channels"
        words = _channel_words(failure)
    return failure.draft(code, words, lambda: _suiting(failure), _features(failure))


def on_width(report: Report) -> Iterator[Draft]:
    """PyTorch's Linear on a volume: it takes the last axis, which is W, and says nothing where that fits."""
    chain = report.case.chain
    for before, row in zip(report.rows, report.rows[1:], strict=False):
        if row.layer.kind != "Linear" or before.letters != "NCDHW":
            continue
        words = (
            f"{sentence(called(chain, row.index))} takes the last axis of {row.input_shape}, which is the width, and"
        )
        words += (
            f" nothing complains since that is {row.input_shape[-1]}. It mixes the voxels of a row, and no channels."
        )

        def changes(index: int = row.index, shape: Sizes = row.input_shape) -> Iterator[Change]:
            yield _flattened(index, shape)

        yield Draft(Finding("linear-size", "hint", row.index, None, words), changes)


def _linear_words(failure: Failure) -> str:
    shape = failure.shape
    words = f"{failure.who} takes {_wanted(failure)} features, and {shape} has {shape[-1]} in its last axis."
    if len(shape) > 2:
        words += " Nothing flattens the volume before it, so it takes the last axis alone"
        words += ", which is the width." if failure.framework == "torch" else "."
    return words


def _features(failure: Failure) -> str:
    """What a Flatten right before it made the features of."""
    before = failure.report.rows[-1] if failure.report.rows else None
    if failure.error.field != "input_dims" or before is None or before.layer.kind != "Flatten":
        return ""
    start = len(before.output_shape) - 1
    return f"{' * '.join(str(size) for size in before.input_shape[start:])} = {failure.shape[-1]}"


def _channel_words(failure: Failure) -> str:
    layer, shape, chain = failure.layer, failure.shape, failure.case.chain
    own = own_name(chain, layer, failure.error.field)
    if layer.kind == "LayerNorm":
        words = (
            f"{failure.who} takes {failure.error.value} in its last axis or axes, and {shape} ends with {shape[-1]}."
        )
        if failure.framework == "torch" and len(shape) == 5:
            words += " PyTorch's channels are axis 1, and not among the last."
        return words
    wanted, found = counted(_wanted(failure), "channel"), shape[_channel_place(failure)]
    giver = _giver(failure)
    words = f"{failure.who} takes {wanted} ({own}={_wanted(failure)}), and"
    if giver is None:
        words += f" the input {shape}" if shape == failure.case.input_shape else f" {shape}"
        return f"{words} has {found}."
    return f"{words} {called(chain, giver)} gives {found}."


def _wanted(failure: Failure) -> int:
    value = failure.error.value
    return value if type(value) is int else 0


def _channel_place(failure: Failure) -> int:
    return -1 if failure.framework == "mlx" else len(failure.shape) - 4 if len(failure.shape) >= 4 else 1


def _giver(failure: Failure) -> int | None:
    """The layer whose channels these are."""
    for index in range(failure.index - 1, -1, -1):
        layer = failure.case.chain.layers[index]
        if layer.family == "convolution" or layer.kind == "Linear":
            return index
        if layer.family == "shape":
            return None
    return None


def _suiting(failure: Failure) -> Iterator[Change]:
    layer, index, name, shape = failure.layer, failure.index, failure.error.field, failure.shape
    linear = layer.kind == "Linear"
    if linear and len(shape) > 2:
        yield inserted(index, FLATTEN, "flatten before it")
        yield _flattened(index, shape)
    if name == "dims" and layer.kind == "LayerNorm" and failure.framework == "torch":
        yield settings(index, dims=shape[1:])._replace(idea="dims all")
    for value in nearby(Layer(layer.kind, {}), failure.framework, name, shape):
        yield settings(index, **{name: value})._replace(idea=name)
    if name == "dims" and layer.kind == "GroupNorm":
        for channels in set(shape):
            for groups in nearby(Layer("GroupNorm", {"dims": channels}), failure.framework, "num_groups", shape):
                yield settings(index, dims=channels, num_groups=groups)
    yield from _given(failure)
    if linear:
        yield from inputs_with(failure.case, lambda case: _last_size(case, index), _wanted(failure))
    if layer.kind in ("InstanceNorm", "LayerNorm"):
        yield from other_norms(failure)


def _given(failure: Failure) -> Iterator[Change]:
    """What comes before made to give what the layer takes."""
    giver, wanted, shape = _giver(failure), failure.error.value, failure.shape
    linear = failure.error.field == "input_dims"
    if type(wanted) is not int or not shape:
        return
    layers = failure.case.chain.layers
    if giver is not None:
        if linear and failure.framework == "torch" and layers[giver].kind != "Linear":
            return
        given = "output_dims" if layers[giver].kind == "Linear" else "out_channels"
        change = settings(giver, **{given: wanted})
        yield change
        # The norms between count the same channels.
        for between in range(giver + 1, failure.index):
            for argument in ("num_features", "dims"):
                if argument in layers[between].arguments:
                    change = together(change, settings(between, **{argument: wanted}))
        yield change
    elif shape == failure.case.input_shape:
        place = -1 if linear else _channel_place(failure)
        if -len(shape) <= place < len(shape):
            sizes = list(shape)
            sizes[place] = wanted
            yield resized(tuple(sizes), f"use an input of {tuple(sizes)}", "input channels")
        if len(shape) == 5:
            yield moved(shape, failure.framework)


def _flattened(index: int, shape: Sizes) -> Change:
    flatten = inserted(index, FLATTEN, "flatten before it")
    features = settings(index, input_dims=math.prod(shape[1:]))
    return together(features, flatten)._replace(idea="flatten and set")


def _last_size(case: Case, index: int) -> int:
    """Of what comes to a layer; 0 where nothing does."""
    given = trace(case).given_to(index)
    return given[-1] if given else 0
