"""What a printed program spells out because its framework does not have it: source text, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MLX: Mapping[str, str] = MappingProxyType(
    {
        "BatchNorm3d": '''\
class BatchNorm3d(nn.BatchNorm):
    """MLX's takes up to four axes, so the volume's three become one: every voxel counts alike."""

    def __call__(self, x):
        return super().__call__(mx.flatten(x, 1, 3)).reshape(x.shape)''',
        "Grouped": '''\
class Grouped(nn.Module):
    """Groups of channels, each with a layer of its own: PyTorch's groups=."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = list(layers)

    def __call__(self, x):
        parts = mx.split(x, len(self.layers), axis=-1)
        return mx.concatenate([layer(part) for layer, part in zip(self.layers, parts)], axis=-1)''',
        "pad_circular": '''\
def pad_circular(x, widths):
    """The volume goes on with its other end: PyTorch's padding_mode="circular"."""
    for axis, (before, after) in enumerate(widths, start=1):
        size = x.shape[axis]
        x = mx.take(x, mx.arange(-before, size + after) % size, axis=axis)
    return x''',
        "Resize": '''\
class Resize(nn.Module):
    """PyTorch's Upsample to any size or by any factor, one axis after the other."""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=False):
        super().__init__()
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def __call__(self, x):
        for axis in (1, 2, 3):
            length = x.shape[axis]
            factor = self.scale_factor[axis - 1] if self.size is None else None
            size = int(length * factor) if factor else self.size[axis - 1]
            step = 1 / factor if factor else length / size
            at = mx.arange(size).astype(mx.float32)
            if self.mode == "trilinear":
                at = at * ((length - 1) / max(size - 1, 1)) if self.align_corners else (at + 0.5) * step - 0.5
                at = mx.maximum(at, 0)
                low = mx.minimum(mx.floor(at), length - 1)
                part = mx.expand_dims(at - low, tuple(range(1, x.ndim - axis)))
                near = mx.take(x, low.astype(mx.int32), axis=axis)
                far = mx.take(x, mx.minimum(low + 1, length - 1).astype(mx.int32), axis=axis)
                x = near * (1 - part) + far * part
            else:
                at = mx.floor((at + 0.5) * step if self.mode == "nearest-exact" else at * step)
                x = mx.take(x, mx.minimum(at, length - 1).astype(mx.int32), axis=axis)
        return x''',
        "ceil_widths": '''\
def ceil_widths(x, kernel_size, stride, padding):
    """What to pad so that a last window is whole which starts inside and ends outside: PyTorch's ceil_mode=True."""
    widths = []
    for size, kernel, step, pad in zip(x.shape[1:4], kernel_size, stride, padding):
        windows = -((size + 2 * pad - kernel) // -step) + 1
        if (windows - 1) * step >= size + pad:
            windows -= 1
        widths.append((pad, max(pad, (windows - 1) * step + kernel - size - pad)))
    return [(0, 0), *widths, (0, 0)]''',
        "average_of_inside": '''\
def average_of_inside(x, pool, widths, counted):
    """The mean over those positions of a window that count; `counted` is how far they go beyond the volume."""
    ones = mx.ones((1, *(size + 2 * pad for size, pad in zip(x.shape[1:4], counted)), 1))
    rest = [(low - pad, high - pad) for (low, high), pad in zip(widths[1:4], counted)]
    ones = mx.pad(ones, [(0, 0), *rest, (0, 0)])
    return pool(mx.pad(x, widths)) / pool(ones)''',
        "adaptive_pool": '''\
def adaptive_pool(x, output_size, reduce):
    """PyTorch's AdaptiveAvgPool3d and AdaptiveMaxPool3d, one axis after the other: parts as equal as can be."""
    for axis, parts in enumerate(output_size, start=1):
        size = x.shape[axis]
        if parts is None or parts == size:
            continue
        ends = [(part * size // parts, -(-(part + 1) * size // parts)) for part in range(parts)]
        found = [reduce(mx.take(x, mx.arange(*end), axis=axis), axis=axis, keepdims=True) for end in ends]
        x = mx.concatenate(found, axis=axis)
    return x''',
        "dilated_max_pool": '''\
def dilated_max_pool(x, kernel_size, stride, padding, dilation):
    """The largest of a window with gaps, one axis after the other: PyTorch's MaxPool3d(dilation=)."""
    x = mx.pad(x, [(0, 0), *((pad, pad) for pad in padding), (0, 0)], constant_values=-float("inf"))
    for axis, (kernel, step, gap) in enumerate(zip(kernel_size, stride, dilation), start=1):
        starts = mx.arange((x.shape[axis] - gap * (kernel - 1) - 1) // step + 1) * step
        taps = [mx.take(x, starts + gap * tap, axis=axis) for tap in range(kernel)]
        x = mx.max(mx.stack(taps), axis=0)
    return x''',
    }
)
TORCH: Mapping[str, str] = MappingProxyType(
    {
        "InterleavedGroupNorm": '''\
class InterleavedGroupNorm(nn.GroupNorm):
    """MLX's default: channel c is in group c % num_groups; PyTorch's own groups are neighbours."""

    def forward(self, x):
        groups = self.num_groups
        y = x.unflatten(1, (-1, groups)).transpose(1, 2).flatten(1, 2)
        y = F.group_norm(y, groups, eps=self.eps)
        y = y.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
        if self.weight is None:
            return y
        ones = [1] * (x.ndim - 2)
        return y * self.weight.view(-1, *ones) + self.bias.view(-1, *ones)''',
    }
)
