"""safetensors: every tensor of the file by its header, a JSON object in front of the numbers."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import Block, Decode, Entry, Slices, nothing, plain
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.formats.numpy_files import Layout, unnamed_axes, unnamed_layout
from conv3d_core.volumes.limits import MAX_AXES, MAX_MEMBERS, MIB, broken, check_sizes, clean
from conv3d_core.volumes.members import Member

# What the format allows, and what is read: some 100 bytes for each tensor.
MAX_SPECIFIED = 100_000_000
MAX_HEADER = 4 * MIB
LENGTH_BYTES = 8
TYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
# The upper half of a float32.
BFLOAT16 = "BF16"
WIDENED = "bfloat16 values, which float32 holds exactly"


class Tensor(NamedTuple):
    """One entry of the header: where its bytes are, from the start of the numbers."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    first: int
    end: int


def recognises(member: Member) -> bool:
    """Whether a file begins as one does."""
    head = member.head
    if len(head) < LENGTH_BYTES + 2 or head[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        return False
    length = _length(head)
    return length <= MAX_SPECIFIED and (member.nbytes is None or LENGTH_BYTES + length <= member.nbytes)


def _length(head: bytes) -> int:
    return int(struct.unpack_from("<Q", head)[0])


def _entries(members: Sequence[Member], _others: Sequence[Member]) -> list[Entry]:
    entries = []
    for member in members:
        prefix = f"{clean(member.name)}: " if len(members) > 1 else ""
        start, tensors, _ = read_header(member)
        entries += [_entry(member, start, tensor, prefix) for tensor in tensors]
    return entries


def _entry(member: Member, start: int, tensor: Tensor, prefix: str) -> Entry:
    layout = _layout(tensor)
    # What is not read is listed as bytes of no type.
    dtype = np.dtype(TYPES.get(tensor.dtype, "<f4" if tensor.dtype == BFLOAT16 else "V1"))
    decode: Decode = nothing
    if layout.refusal is None:
        offset = start + tensor.first
        if tensor.dtype == BFLOAT16:
            decode = _widened(plain(member, offset, np.dtype("<u2"), layout.shape))
        else:
            decode = plain(member, offset, dtype, layout.shape)
    return Entry(
        kind="safetensors",
        shape=layout.shape,
        dtype=dtype,
        axes=() if layout.refusal else unnamed_axes(tensor.shape, layout),
        order=layout.order,
        decode=decode,
        name=clean(prefix + tensor.name),
        notes=layout.notes + ((WIDENED,) if tensor.dtype == BFLOAT16 else ()),
        refusal=layout.refusal,
    )


def _layout(tensor: Tensor) -> Layout:
    """As an array without names for its axes; a tensor that cannot be read is listed all the same."""
    layout = unnamed_layout(tensor.shape)
    if len(tensor.shape) == 5 and layout.refusal is not None:
        problem = f"a tensor {tensor.shape} of five axes is no volume: the weights of a Conv3d are such"
        remedy = "use one of (D, H, W), (D, H, W, C) or (1, D, H, W, C)"
        return Layout(tensor.shape, (), (), VolumeError("file", problem, remedy, value=tensor.shape))
    if layout.refusal is not None:
        return layout
    if not _item_bytes(tensor.dtype):
        problem = f"values of type {clean(tensor.dtype)} are not read here"
        remedy = "save integers, or floats of 16 to 64 bits"
        return Layout(tensor.shape, (), (), VolumeError("file", problem, remedy, value=tensor.dtype))
    try:
        check_sizes(tensor.shape)
    except VolumeError as error:
        return Layout(tensor.shape, (), (), error)
    return layout


def read_header(member: Member) -> tuple[int, list[Tensor], Mapping[str, str]]:
    """Where the numbers start, the tensors in the order of their places, and what the file says of itself.

    Raises:
        VolumeError: it is damaged, or asks for more than there is.
    """
    length = _length(member.head)
    if length > MAX_HEADER:
        problem = f"its safetensors header is {length / MIB:,.0f} MiB long"
        raise broken(problem, f"save fewer tensors in a file (a header of at most {MAX_HEADER // MIB} MiB)")
    with member.open() as stream:
        text = stream.read(LENGTH_BYTES + length)[LENGTH_BYTES:]
    if len(text) < length:
        raise broken("it is cut off within its safetensors header")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_object)
    except VolumeError:
        raise
    except (ValueError, RecursionError) as error:
        raise broken(f"its safetensors header is no JSON ({clean(str(error))})") from error
    if not isinstance(header, dict):
        raise broken("its safetensors header is no object of JSON")
    said = header.pop("__metadata__", None)
    metadata = {key: value for key, value in said.items() if isinstance(value, str)} if isinstance(said, dict) else {}
    if not header:
        raise broken("it holds no tensor", "save one with safetensors.numpy.save_file")
    if len(header) > MAX_MEMBERS:
        raise broken(f"it holds more than {MAX_MEMBERS:,} tensors", "save fewer in a file")
    tensors = sorted((_tensor(name, value) for name, value in header.items()), key=lambda tensor: tensor.first)
    start = LENGTH_BYTES + length
    at = 0
    for tensor in tensors:
        if tensor.first < at:
            raise broken(f"tensor '{clean(tensor.name)}' lies over the one before it")
        at = tensor.end
    member.check_holds(start + at)
    return start, tensors, metadata


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise broken("its safetensors header has two entries of the same name")
    return found


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, dict):
        raise _damaged(name)
    dtype, shape, offsets = value.get("dtype"), _sizes(value.get("shape")), _sizes(value.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2:
        raise _damaged(name)
    first, end = offsets
    size = _item_bytes(dtype)
    if end < first or (size and end - first != size * math.prod(shape)):
        problem = f"tensor '{clean(name)}' of {clean(dtype)} {shape} has {end - first:,} bytes of data"
        raise broken(problem)
    return Tensor(name, dtype, shape, first, end)


def _item_bytes(dtype: str) -> int:
    """Bytes of a number of that type; 0 of one that is not read here."""
    if dtype == BFLOAT16:
        return 2
    return np.dtype(TYPES[dtype]).itemsize if dtype in TYPES else 0


def _sizes(value: Any) -> tuple[int, ...] | None:
    """Numbers of a list of sizes or places, or None if it is none."""
    if not isinstance(value, list) or len(value) > MAX_AXES:
        return None
    if any(type(number) is not int or not 0 <= number < 2**63 for number in value):
        return None
    return tuple(value)


def _damaged(name: str) -> VolumeError:
    return broken(f"its safetensors header does not say what tensor '{clean(name)}' is")


def widened(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """What bfloat16 numbers are in float32, of which they are the upper half."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _widened(decode: Decode) -> Decode:
    def decoded(wanted: Slices) -> Iterator[Block]:
        for where, values in decode(wanted):
            yield where, widened(values)

    return decoded


FORMAT = Format("safetensors", (".safetensors",), recognises, _entries)
