"""What differs between MLX and PyTorch around a Conv3d: each row a claim, and each claim a test of the same name."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """One thing that the two frameworks do in two ways.

    Attributes:
        key: names the row, and the test in tests/core/test_differences.py that asks both frameworks.
        topic: in a few words.
        mlx: what MLX does.
        torch: what PyTorch does.
        remedy: what to do when going from one to the other.
    """

    key: str
    topic: str
    mlx: str
    torch: str
    remedy: str


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "input_layout",
        "Input",
        "(N, D, H, W, C)",
        "(N, C, D, H, W)",
        "x.permute(0, 2, 3, 4, 1) to MLX, x.transpose(0, 4, 1, 2, 3) to PyTorch",
    ),
    Difference(
        "weight_layout",
        "Weight",
        "(O, KD, KH, KW, I)",
        "(O, I, KD, KH, KW)",
        "weight.permute(0, 2, 3, 4, 1) to MLX, weight.transpose(0, 4, 1, 2, 3) to PyTorch",
    ),
    Difference(
        "transposed_weight_layout",
        "Weight of ConvTranspose3d",
        "(O, KD, KH, KW, I)",
        "(I, O, KD, KH, KW)",
        "weight.permute(1, 2, 3, 4, 0) to MLX, weight.transpose(4, 0, 1, 2, 3) to PyTorch",
    ),
    Difference(
        "bias_start",
        "Bias before training",
        "zeros",
        "uniform within ±1/√(in_channels · taps)",
        "set it, where the same start matters; both draw the weight within those bounds",
    ),
    Difference(
        "random_seed",
        "Random weights",
        "mx.random.seed(0) gives MLX's numbers",
        "torch.manual_seed(0) gives others",
        "load the weights of one into the other",
    ),
    Difference(
        "padding_words",
        "padding='same'",
        "taken when the layer is made, TypeError when it is called",
        "keeps the size where the stride is 1",
        "padding=dilation*(kernel_size - 1)//2 for odd kernels",
    ),
    Difference(
        "padding_even",
        "'same' with an even kernel",
        "padding is the same on both sides, so the size changes by 1",
        "one more zero after than before",
        "mx.pad(x, [(0, 0), (0, 1), ...]) before a layer without padding",
    ),
    Difference(
        "padding_modes",
        "padding_mode",
        "none but zeros; mx.pad has mode='edge' and 'reflect', and no 'wrap'",
        "'zeros', 'reflect', 'replicate', 'circular'",
        "mx.pad before a layer without padding: 'edge' is 'replicate'; mx.take for 'circular'",
    ),
    Difference(
        "padding_negative",
        "padding=-1",
        "cuts a voxel away on each side, without a word",
        "RuntimeError when called",
        "crop with a slice, so that it can be seen",
    ),
    Difference(
        "groups",
        "groups",
        "no such argument: TypeError",
        "groups=2 and depthwise layers",
        "split the channels, a layer for each group, concatenate",
    ),
    Difference(
        "unbatched_input",
        "Input without a batch axis",
        "ValueError",
        "(C, D, H, W) is taken, and the output has none either",
        "layer(x[None])[0]",
    ),
    Difference(
        "too_small_input",
        "Kernel larger than the padded input, stride > 1",
        "an output of size 1 with what was in memory, where the stride is larger than what is missing",
        "RuntimeError",
        "compare the sizes before, as this page does",
    ),
    Difference(
        "lazy_evaluation",
        "When it is computed",
        "when the result is needed: mx.eval, printing, np.array",
        "at the call",
        "mx.eval(y) before a clock is stopped and where an error should show",
    ),
    Difference(
        "half_precision_input",
        "float16 input, float32 weight",
        "promoted: the output is float32",
        "RuntimeError",
        "layer.set_dtype(mx.float16) for MLX to stay in float16, x.float() for PyTorch",
    ),
    Difference(
        "integer_input",
        "Integer input",
        "ValueError: floating point types only",
        "RuntimeError about the input's and the bias's or weight's type",
        "x.astype(mx.float32), x.float()",
    ),
    Difference(
        "double_input",
        "float64 from NumPy",
        "mx.array makes it float32",
        "torch.from_numpy keeps it, and a float32 layer raises RuntimeError",
        "torch.from_numpy(x).float()",
    ),
    Difference(
        "index_out_of_bounds",
        "Index beyond the end",
        "no error: some number out of memory",
        "IndexError",
        "compare with x.shape before",
    ),
    Difference(
        "boolean_mask",
        "x[x > 0]",
        "ValueError: masks cannot read",
        "the values where it holds",
        "mx.where(x > 0, x, 0), or NumPy",
    ),
    Difference(
        "flatten_order",
        "Flatten before a Linear",
        "voxel after voxel, each with its channels",
        "channel after channel",
        "move the channels first before MLX's flatten to use PyTorch's Linear weights",
    ),
    Difference(
        "batch_norm",
        "Batch norm of a volume",
        "nn.BatchNorm takes 2 to 4 axes: ValueError",
        "nn.BatchNorm3d",
        "make the volume's axes one: x.reshape(N, D*H*W, C)",
    ),
    Difference(
        "group_norm",
        "Groups of GroupNorm",
        "channel c is in group c % num_groups",
        "neighbours are in a group",
        "nn.GroupNorm(..., pytorch_compatible=True)",
    ),
    Difference(
        "pooling_padding",
        "Padding of a pool",
        "any",
        "half a kernel at most: RuntimeError",
        "F.pad before, with -inf for a maximum",
    ),
    Difference(
        "pooling_options",
        "ceil_mode, dilation, count_include_pad",
        "no such arguments: TypeError; averages count the padding",
        "all three",
        "mx.pad before the pool, and divide by the mean of a volume of ones",
    ),
    Difference(
        "pooling_a_slice",
        "A pool of some channels, x[..., :1]",
        "RuntimeError once it is evaluated, where windows overlap",
        "works",
        "mx.contiguous(x[..., :1])",
    ),
    Difference(
        "transposed_arguments",
        "ConvTranspose3d by position",
        "padding, dilation, output_padding, bias",
        "padding, output_padding, groups, bias, dilation",
        "name the arguments",
    ),
    Difference(
        "transposed_padding",
        "ConvTranspose3d, padding > dilation*(kernel_size - 1)",
        "cuts a whole stride for each beyond it",
        "cuts a voxel for each",
        "less padding, and crop the output",
    ),
    Difference(
        "upsample_names",
        "Upsample of a volume, interpolated",
        "mode='linear'; 'cubic' too",
        "mode='trilinear'; no cubic",
        "change the word; align_corners means the same",
    ),
    Difference(
        "upsample_broken_factor",
        "Upsample(scale_factor=1.5), nearest",
        "rounds to the nearest voxel",
        "rounds down",
        "use a whole factor",
    ),
    Difference(
        "loose_loading",
        "Loading with strict=False",
        "weights of a wrong shape are taken",
        "a wrong shape is a RuntimeError all the same",
        "load with strict=True, which is the default",
    ),
)
