"""Padding that does not do what it is there for: kernels without a middle, outputs that see nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator

from conv3d_core.axis import AXES
from conv3d_core.chain.trace import Report, Row
from conv3d_core.diagnosis.axes import Wrong
from conv3d_core.diagnosis.edits import Change, settings, together
from conv3d_core.diagnosis.finding import Draft, Finding
from conv3d_core.diagnosis.windows import Along, three_of, with_axes
from conv3d_core.diagnosis.wording import axis_names, called, counted, sentence
from conv3d_core.source_code import short


def is_shifted(row: Row, along: Along) -> bool:
    """Whether a kernel is even where the size was meant to stay."""
    return (
        row.layer.kind == "Conv3d"
        and along.axis.stride == 1
        and along.axis.effective_kernel_size % 2 == 0
        and (along.axis.padding > 0 or along.outputs == along.size)
        and abs(along.outputs - along.size) <= 1
    )


def shifted(found: Wrong) -> Draft:
    """Outputs half a voxel off their inputs."""
    first, written = found.first, found.row.layer.arguments.get("padding", 0)
    k = first.axis.effective_kernel_size
    words = (
        f"{found.who} has {'a kernel' if first.axis.dilation == 1 else 'an effective kernel'} of {k} along"
        f" {axis_names(found.letters)}, which has no middle tap: each output lies half a voxel off its input"
    )
    stays = first.outputs == first.size
    if stays:
        words += f". padding='same' adds {counted(k - 1, 'zero')}, one more behind than before."
    else:
        words += f", and no padding keeps the size: {first.size:,} become {first.outputs:,}."

    def changes() -> Iterator[Change]:
        for by in (-1, 1):
            sizes = [each.axis.kernel_size + by for each in found.wrong]
            zeros = [each.axis.dilation * (size - 1) // 2 for each, size in zip(found.wrong, sizes, strict=True)]
            kernel, padding = found.set("kernel_size", sizes), found.set("padding", zeros)
            as_it_is = isinstance(written, str) or padding.settings[found.row.index]["padding"] == short(written)
            yield (kernel if as_it_is else together(kernel, padding))._replace(idea=f"kernel {by}")
        # Without padding nobody expects the size to stay.
        yield found.set("padding", [0] * len(found.wrong))

    return found.draft("even-kernel-shift", "hint" if stays else "silent", words, changes)


def is_beyond(along: Along) -> bool:
    """Whether there are outputs that see nothing but padding."""
    return along.axis.padding >= along.axis.effective_kernel_size and along.only_padding > 0


def beyond(found: Wrong) -> Draft:
    """Outputs that see nothing but padding."""
    first = found.first
    p, k, count = first.axis.padding, first.axis.effective_kernel_size, first.only_padding
    inner = math.prod(axis.outputs - axis.only_padding for axis in found.axes)
    whole = math.prod(axis.outputs for axis in found.axes)
    words = (
        f"{found.who}: {count:,} of {counted(first.outputs, 'output')} along {first.name}"
        f" {'see' if count > 1 else 'sees'} nothing but padding, since a window of {k} reaches {k - 1} over the edge"
        f" and {counted(p, 'zero')} {'are' if p > 1 else 'is'} on each side.{found.also}{'.' if found.also else ''}"
        f" In all {whole - inner:,} of {whole:,} outputs hold"
        f" {'the bias alone' if found.row.layer.kind == 'Conv3d' else 'the value of no voxel'}."
    )

    def changes() -> Iterator[Change]:
        yield found.set("padding", [(each.axis.effective_kernel_size - 1) // 2 for each in found.wrong])
        most = found.set("padding", [each.axis.effective_kernel_size - 1 for each in found.wrong])
        yield most._replace(idea="most padding")
        if found.row.layer.kind == "Conv3d" and first.axis.kernel_size > 1:
            yield found.set("dilation", [-(-a.axis.padding // max(1, a.axis.kernel_size - 1)) for a in found.wrong])
        yield found.set("kernel_size", [-(-each.axis.padding // each.axis.dilation) + 1 for each in found.wrong])

    return found.draft("padding-beyond-reach", "silent", words, changes)


def output_padding(report: Report, row: Row) -> Draft | None:
    """More output padding than a stride: MLX takes it, and nothing reaches what it adds."""
    if row.layer.kind != "ConvTranspose3d" or report.case.chain.framework != "mlx":
        return None
    added, stride, padding = (
        three_of(row.layer.value(name, "mlx")) or (0, 0, 0) for name in ("output_padding", "stride", "padding")
    )
    wrong = {place: stride[place] - 1 for place, more in enumerate(added) if more >= stride[place] > 0}
    if not wrong:
        return None
    place = min(wrong)
    words = (
        f"{sentence(called(report.case.chain, row.index))} has output_padding {added[place]} along"
        f" {axis_names([AXES[i] for i in wrong])}, not below its stride {stride[place]}. It is there to choose among"
        " the sizes that a stride makes alike. MLX takes it, PyTorch does not."
    )
    # The taps of the last input reach as far behind it as the padding takes away.
    alone = added[place] - padding[place]
    if alone > 0:
        words += f" The last {counted(alone, 'output')} {'hold' if alone > 1 else 'holds'} the bias alone."

    def changes() -> Iterator[Change]:
        yield settings(row.index, output_padding=with_axes(added, wrong))
        yield settings(row.index, output_padding=0)._replace(idea="none")

    return Draft(Finding("output-padding", "silent", row.index, AXES[place], words), changes)
