"""Zarr 2 and 3, and OME-Zarr: a folder or a zip of chunks beside JSON that says what they are.

The chunks are decoded here and not by the zarr library: what it makes of metadata (a codec by its name, pickles among
them, a loop of threads) is more than reading numbers needs, and of a chunk it takes whatever size comes out.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError, shown
from conv3d_core.volumes.chunks import (
    COMPRESSORS,
    Buffer,
    Pipeline,
    Step,
    check_grid,
    check_work,
    counts,
    over_chunks,
    unshuffled,
)
from conv3d_core.volumes.entry import Block, Decode, Entry, Slices
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.limits import MAX_AXES, MIB, broken, check_dtype, check_present, check_sizes, clean, need
from conv3d_core.volumes.members import Member, natural
from conv3d_core.volumes.named import arranged, padded
from conv3d_core.volumes.volume import Float64, Spacing
from conv3d_core.volumes.world import LPS_TO_RAS, turned

Json = dict[str, Any]
METADATA = (".zarray", ".zgroup", "zarr.json")
MAX_JSON = 4 * MIB
MAX_ALL_JSON = 64 * MIB
MAX_NODES = 4_096
MAX_DEPTH = 32
MAX_LEVELS = 64
MAX_FILTERS = 8
CHECKSUM_BYTES = 4
# What a shard's table says of a chunk that is not there.
MISSING = 2**64 - 1
DTYPE_2 = re.compile(r"[<>|][biuf][1248]")
DTYPES_3 = {
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
}
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
KEYS_3 = {
    "zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs",
    "attributes", "dimension_names", "storage_transformers",
}  # fmt: skip
MILLIMETRES = {
    "angstrom": 1e-7, "picometer": 1e-9, "nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0,
    "decimeter": 100.0, "meter": 1e3, "kilometer": 1e6, "inch": 25.4, "foot": 304.8, "yard": 914.4,
}  # fmt: skip
# Along which world axis of LPS, and whether it rises with it.
ANATOMY = {
    "right-to-left": (0, 1), "left-to-right": (0, -1), "anterior-to-posterior": (1, 1),
    "posterior-to-anterior": (1, -1), "inferior-to-superior": (2, 1), "superior-to-inferior": (2, -1),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Node:
    """A group or an array.

    Attributes:
        path: of its folder.
        version: of Zarr.
        array: its metadata, if it is one.
        attributes: what users and OME put there.
        chunks: the members below it that are not below another node, by their keys.
    """

    path: str
    version: int
    array: Json | None
    attributes: Json
    chunks: dict[str, Member] = field(default_factory=dict)


def _gathers(members: Sequence[Member]) -> list[Member]:
    """Everything below the topmost folders that hold Zarr's metadata, recognised by its content."""
    documents = sorted((member for member in members if _last(member) in METADATA), key=_depth)
    roots: set[str] = set()
    budget = _Budget()
    for member in documents:
        folder = _folder(_key(member))
        if roots.isdisjoint(_ancestors(folder)) and _is_metadata(_last(member), budget.parsed(member)):
            roots.add(folder)
    if not roots:
        return []
    return [member for member in members if not roots.isdisjoint(_ancestors(_folder(_key(member))))]


def _entries(members: Sequence[Member], _others: Sequence[Member]) -> list[Entry]:
    nodes = _nodes(members)
    top = _common(list(nodes))
    entries: list[Entry] = []
    listed: set[str] = set()
    for path in sorted(nodes, key=_images_before_labels):
        prefix = f"{_below(path, top)}/" if path != top else ""
        for level in _levels(nodes[path], nodes, listed):
            entries.append(_entry(nodes[level.path], clean(prefix + level.name), level))
    for path in sorted(nodes.keys() - listed, key=natural):
        array = nodes[path].array
        # Of one axis are the coordinates of others.
        if array is not None and not (isinstance(array.get("shape"), list) and len(array["shape"]) < 2):
            entries.append(_entry(nodes[path], clean(_below(path, top))))
    if not entries:
        raise broken("its Zarr metadata describes no array of two or more axes", "put the image's own folder into it")
    return entries


# ---- what there is


class _Budget:
    """Reads JSON, up to a limit for all of it."""

    def __init__(self) -> None:
        self._left = MAX_ALL_JSON

    def parsed(self, member: Member) -> Json:
        """An object, empty where it is none.

        Raises:
            VolumeError: too much of it.
        """
        with member.open() as stream:
            text = stream.read(MAX_JSON + 1)
        self._left -= len(text)
        if len(text) > MAX_JSON or self._left < 0:
            raise broken(f"its Zarr metadata is larger than {MAX_JSON // MIB} MiB", "put one image into a file")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _is_metadata(name: str, found: Json) -> bool:
    if name == "zarr.json":
        return found.get("zarr_format") == 3 and found.get("node_type") in ("array", "group")
    return found.get("zarr_format") == 2


def _nodes(members: Sequence[Member]) -> dict[str, Node]:
    """Groups and arrays by their paths. Of two members of one name the later one counts, as in any zip."""
    files = {_key(member): member for member in members}
    documents = [key for key in files if key.rsplit("/", 1)[-1] in METADATA]
    if len(documents) > MAX_NODES:
        raise broken(f"it has {len(documents):,} groups and arrays", f"use at most {MAX_NODES:,}")
    budget = _Budget()
    nodes: dict[str, Node] = {}
    # "zarr.json" comes last, and takes the place of version 2 beside it.
    for key in sorted(documents):
        folder, name = _folder(key), key.rsplit("/", 1)[-1]
        found = budget.parsed(files[key])
        if not _is_metadata(name, found):
            # Listed as an array that cannot be read.
            found = {"node_type": "array"}
        if name == "zarr.json":
            attributes = found.get("attributes")
            array = found if found["node_type"] == "array" else None
            nodes[folder] = Node(folder, 3, array, attributes if isinstance(attributes, dict) else {})
        elif folder not in nodes or name == ".zarray":
            beside = files.get(f"{folder}/.zattrs".lstrip("/"))
            attributes = budget.parsed(beside) if beside else {}
            nodes[folder] = Node(folder, 2, found if name == ".zarray" else None, attributes)
    for key, member in files.items():
        owner = next((folder for folder in reversed(_ancestors(_folder(key))) if folder in nodes), None)
        if owner is not None:
            nodes[owner].chunks[_below(key, owner)] = member
    return nodes


def _key(member: Member) -> str:
    return member.name.replace("\\", "/").removeprefix("./")


def _last(member: Member) -> str:
    return _key(member).rsplit("/", 1)[-1]


def _depth(member: Member) -> int:
    return _key(member).count("/")


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _ancestors(folder: str) -> list[str]:
    """The folder and all above it, from the top; without end would be quadratic in the length of a name."""
    parts = folder.split("/", MAX_DEPTH)[:MAX_DEPTH] if folder else []
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


def _below(key: str, folder: str) -> str:
    return key[len(folder) + 1 :] if folder else key


def _common(paths: Sequence[str]) -> str:
    """The folder that all of them are in, or are."""
    first, last = min(paths).split("/"), max(paths).split("/")
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "/".join(part for part, _ in same)


def _images_before_labels(path: str) -> tuple[bool, list[tuple[int, int | str]]]:
    return "labels" in path.split("/"), natural(path)


# ---- OME-Zarr


class Level(NamedTuple):
    """One resolution of an image.

    Attributes:
        path: of its array.
        name: to choose it by.
        number: 0 is the full one.
        version: of OME-Zarr.
        axes: of the image.
        scale: along each of them.
        origin: along each of them.
    """

    path: str
    name: str
    number: int
    version: str
    axes: tuple[Json, ...]
    scale: tuple[float, ...] | None
    origin: tuple[float, ...] | None


def _levels(group: Node, nodes: Mapping[str, Node], listed: set[str]) -> Iterator[Level]:
    """The levels of the images of a group, each array once."""
    ome = group.attributes.get("ome")
    source = ome if isinstance(ome, dict) else group.attributes
    images = [image for image in _list(source.get("multiscales"))[:MAX_LEVELS] if isinstance(image, dict)]
    for number, image in enumerate(images):
        version = clean(str(source.get("version") or image.get("version") or ""))
        axes = _axes(image)
        for at, dataset in enumerate(_list(image.get("datasets"))[:MAX_LEVELS]):
            found = dataset.get("path") if isinstance(dataset, dict) else None
            path = f"{group.path}/{found}".strip("/")
            if not isinstance(found, str) or path in listed or path not in nodes or nodes[path].array is None:
                continue
            listed.add(path)
            name = f"{f'{number}/' if len(images) > 1 else ''}level {at}{'' if at else ' (full)'}"
            yield Level(path, name, at, version, axes, *_transformed(len(axes), dataset, image))


def _axes(image: Json) -> tuple[Json, ...]:
    """As of version 0.4; before that they were names only, or always these five."""
    axes = _list(image.get("axes", ["t", "c", "z", "y", "x"]))[:MAX_AXES]
    return tuple({"name": axis} if isinstance(axis, str) else axis if isinstance(axis, dict) else {} for axis in axes)


def _transformed(count: int, *sources: Json) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Scale and origin along each axis: those of the level, and then those of the image."""
    scale, origin = np.ones(count), np.zeros(count)
    found = False
    for step in itertools.chain.from_iterable(_list(source.get("coordinateTransformations")) for source in sources):
        kind = step.get("type") if isinstance(step, dict) else None
        numbers = _numbers(step.get(kind), count) if isinstance(kind, str) else None
        if kind == "scale" and numbers is not None:
            with np.errstate(over="ignore"):
                scale, origin, found = scale * numbers, origin * numbers, True
        elif kind == "translation" and numbers is not None:
            origin = origin + numbers
        elif kind != "identity":
            return None, None
    return (tuple(scale.tolist()), tuple(origin.tolist())) if found else (None, None)


def _numbers(found: object, count: int) -> Float64 | None:
    if not isinstance(found, list) or len(found) != count:
        return None
    if not all(isinstance(number, int | float) and abs(number) < 1e100 for number in found):
        return None
    return np.array(found, np.float64)


def _world(level: Level, shape: tuple[int, ...], order: tuple[int, ...], missing: int) -> _Placed:
    """Spacing in mm along D, H and W; and where the axes are named after the body, the way it is turned."""
    numbers = [axis - missing for axis in order[:3]]
    if level.scale is None or any(not 0 <= number < len(level.axes) for number in numbers):
        return _Placed(order)
    axes = [level.axes[number] for number in numbers]
    factors = [MILLIMETRES.get(str(axis.get("unit"))) for axis in axes]
    steps = [
        level.scale[number] * factor for number, factor in zip(numbers, factors, strict=True) if factor is not None
    ]
    if len(steps) < 3 or not all(0 < step < math.inf for step in steps):
        units = ", ".join(clean(str(axis.get("unit", "none"))) for axis in axes)
        return _Placed(order, notes=(f"no spacing: its axes' units ({units}) or scale are not lengths",))
    d, h, w = steps
    affine = _affine(level, axes, numbers, steps)
    if affine is None:
        return _Placed(order, spacing=(d, h, w))
    place = turned(affine, shape, order)
    return _Placed(place.order, place.flipped, place.spacing_mm, place.affine, place.direction, place.notes)


class _Placed(NamedTuple):
    order: tuple[int, ...]
    flipped: frozenset[int] = frozenset()
    spacing: Spacing | None = None
    affine: Float64 | None = None
    direction: str = ""
    notes: tuple[str, ...] = ()


def _affine(level: Level, axes: Sequence[Json], numbers: Sequence[int], steps: Sequence[float]) -> Float64 | None:
    """(x, y, z, 1) -> mm in RAS+, where all three axes say towards which side of the body they run."""
    given = [axis.get("orientation") for axis in axes]
    values = [ANATOMY.get(str(each.get("value"))) if isinstance(each, dict) else None for each in given]
    found = [value for value in values if value is not None]
    if sorted(world for world, _ in found) != [0, 1, 2]:
        return None
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    # What is D, H, W here is z, y, x.
    for column, (world, sign), number, step in zip((2, 1, 0), found, numbers, steps, strict=True):
        affine[world, column] = sign * step
        if level.origin is not None and level.scale is not None:
            affine[world, 3] = sign * level.origin[number] * (step / level.scale[number])
    return np.asarray(LPS_TO_RAS @ affine)


# ---- an array


@dataclass(frozen=True, eq=False)
class Stored:
    """An array as its metadata describes it.

    Attributes:
        shape: of the array.
        dtype: of its numbers.
        chunk: sizes of what is decoded at once.
        cell: sizes of what one member holds: a chunk, or a shard of several.
        fill: what missing chunks hold.
        keys: what a cell's key starts with and what separates its numbers, in every way in which it may be written.
        blocks: what a cell's bytes hold, as far as wanted.
        names: of its axes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    cell: tuple[int, ...]
    fill: Any
    keys: tuple[tuple[str, str], ...]
    blocks: Callable[[memoryview, Slices], Iterable[Block]]
    names: tuple[str | None, ...] | None


def _entry(node: Node, name: str, level: Level | None = None) -> Entry:
    kind = f"Zarr {node.version}" if level is None else f"OME-Zarr {level.version}".rstrip()
    assert node.array is not None
    try:
        stored = (_version_2 if node.version == 2 else _version_3)(node.array, node.attributes)
        decode, notes = _decode(stored, node.chunks)
    except VolumeError as error:
        shape, dtype = _declared(node.array)
        return Entry(kind=kind, shape=shape, dtype=dtype, axes=(), order=(), name=name, refusal=error)
    described = level if level is not None and len(level.axes) == len(stored.shape) else None
    names = stored.names if described is None else _names([axis.get("name") for axis in described.axes])
    layout = arranged(stored.shape, names)
    placed = _Placed(layout.order)
    if described is not None and not layout.refusal:
        placed = _world(described, layout.shape, layout.order, layout.missing)
    return Entry(
        kind=kind,
        shape=layout.shape,
        dtype=stored.dtype,
        axes=layout.axes,
        order=placed.order,
        decode=padded(decode, layout.missing),
        name=name,
        flipped=placed.flipped,
        spacing_mm=placed.spacing,
        affine=placed.affine,
        direction=placed.direction,
        notes=layout.notes + placed.notes + notes,
        refusal=layout.refusal,
        reduced=level is not None and level.number > 0,
    )


def _declared(array: Json) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """What can be shown of an array that is not read."""
    try:
        shape = _sizes(array.get("shape"), "shape")
    except VolumeError:
        shape = ()
    found = array.get("data_type", array.get("dtype"))
    known = isinstance(found, str) and (found in DTYPES_3 or DTYPE_2.fullmatch(found))
    return shape, _dtype(found) if known else np.dtype("V1")


def _decode(stored: Stored, chunks: Mapping[str, Member]) -> tuple[Decode, tuple[str, ...]]:
    itemsize = stored.dtype.itemsize
    check_grid(stored.shape, stored.chunk, itemsize)
    grid = counts(stored.shape, stored.cell)
    total = math.prod(grid)
    cells = {index: member for key, member in chunks.items() for index in _numbers_of(key, stored.keys, grid)}
    if not cells:
        raise broken(f"none of its {total:,} chunks is there", "put the whole folder into the zip", value=total)
    notes: tuple[str, ...] = ()
    if len(cells) < total:
        notes = (f"{total - len(cells):,} of its {total:,} chunks are missing and hold its fill value {stored.fill}",)

    def read(index: tuple[int, ...], wanted: Slices) -> Iterable[Block] | None:
        member = cells.get(index)
        return None if member is None else stored.blocks(member.view(), wanted)

    inner = over_chunks(stored.shape, stored.cell, stored.dtype, stored.fill, read)

    def decode(wanted: Slices) -> Iterable[Block]:
        check_work(stored.chunk, itemsize, wanted)
        return inner(wanted)

    return decode, notes


def _numbers_of(key: str, styles: Sequence[tuple[str, str]], grid: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for prefix, separator in styles:
        parts = key.removeprefix(prefix).split(separator, len(grid))
        if key.startswith(prefix) and len(parts) == len(grid) and all(map(NUMBER.fullmatch, parts)):
            index = tuple(map(int, parts))
            if all(at < count for at, count in zip(index, grid, strict=True)):
                yield index
                return


def _version_2(found: Json, attributes: Json) -> Stored:
    shape, chunk = _sizes(found.get("shape"), "shape"), _sizes(found.get("chunks"), "chunks")
    dtype = _dtype(found.get("dtype"))
    order = found.get("order", "C")
    separator = found.get("dimension_separator")
    if order not in ("C", "F") or separator not in (".", "/", None):
        raise broken("its Zarr metadata names an unknown order or separator")
    check_grid(shape, chunk, dtype.itemsize)
    filters = [*_list(found.get("filters")), *([found["compressor"]] if found.get("compressor") else [])]
    pipeline = _pipeline([_as_3(step) for step in filters], math.prod(chunk) * dtype.itemsize)
    axes = tuple(range(len(chunk)))

    def blocks(data: memoryview, wanted: Slices) -> Iterator[Block]:
        yield _block(pipeline(data), dtype, chunk, axes[::-1] if order == "F" else axes)

    # Where it is not named, older writers used either.
    keys = (("", separator),) if separator else (("", "."), ("", "/"))
    dimensions = attributes.get("_ARRAY_DIMENSIONS")
    return Stored(shape, dtype, chunk, chunk, _fill(found.get("fill_value"), dtype), keys, blocks, _names(dimensions))


def _as_3(found: object) -> Json:
    """A codec of version 2, as version 3 writes it."""
    if not isinstance(found, dict):
        raise broken("its Zarr metadata names a codec that is none")
    return {"name": found.get("id"), "configuration": found}


def _version_3(found: Json, _attributes: Json) -> Stored:
    unknown = [
        key
        for key, value in found.items()
        if key not in KEYS_3 and not (isinstance(value, dict) and value.get("must_understand") is False)
    ]
    if unknown or found.get("storage_transformers"):
        name = clean((unknown or ["storage_transformers"])[0])
        raise broken(f"its Zarr metadata uses '{name}', which is not read here", "save it without")
    shape = _sizes(found.get("shape"), "shape")
    grid_name, grid = _named(found.get("chunk_grid"))
    if grid_name != "regular":
        raise broken(f"its chunk grid '{clean(grid_name)}' is not read here", "save it in chunks of one size")
    cell = _sizes(grid.get("chunk_shape"), "chunk_shape")
    codecs = [_named(codec) for codec in _list(found.get("codecs"))]
    dtype = _dtype(found.get("data_type"))
    fill = _fill(found.get("fill_value"), dtype)
    keys = (_key_style(*_named(found.get("chunk_key_encoding"))),)
    names = _names(found.get("dimension_names"))
    if [name for name, _ in codecs] == ["sharding_indexed"] and len(cell) == len(shape):
        shard = _shard(codecs[0][1], cell, dtype, fill)
        return Stored(shape, shard.chain.dtype, shard.chain.chunk, cell, fill, keys, shard.blocks, names)
    check_grid(shape, cell, dtype.itemsize)
    chain = _chain(codecs, cell, dtype)
    return Stored(shape, chain.dtype, cell, cell, fill, keys, lambda data, wanted: [chain.block(data)], names)


def _key_style(name: str, configuration: Json) -> tuple[str, str]:
    separator = configuration.get("separator", {"default": "/", "v2": "."}.get(name))
    if name not in ("default", "v2") or separator not in (".", "/"):
        raise broken(f"its chunk keys '{clean(name)}' are not read here", "save them in the default way")
    return ("", separator) if name == "v2" else (f"c{separator}", separator)


# ---- codecs


class _Chain(NamedTuple):
    """From the bytes of a chunk to its numbers: the pipeline, and the stored order of the axes."""

    pipeline: Pipeline
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    axes: tuple[int, ...]

    def block(self, data: Buffer) -> Block:
        return _block(self.pipeline(data), self.dtype, self.chunk, self.axes)


def _block(data: Buffer, dtype: np.dtype[Any], chunk: tuple[int, ...], axes: tuple[int, ...]) -> Block:
    """A whole chunk whose axes lie in that order in its bytes."""
    values = np.frombuffer(data, dtype).reshape([chunk[axis] for axis in axes])
    return tuple(slice(0, size) for size in chunk), values.transpose(np.argsort(axes))


def _chain(codecs: Sequence[tuple[str, Json]], chunk: tuple[int, ...], dtype: np.dtype[Any]) -> _Chain:
    axes = tuple(range(len(chunk)))
    rest = list(codecs)
    while rest and rest[0][0] == "transpose":
        axes = _transposed(axes, rest.pop(0)[1].get("order"))
    if not rest or rest[0][0] != "bytes":
        names = ", ".join(clean(name) for name, _ in codecs[:MAX_FILTERS]) or "none"
        raise broken(f"its codecs ({names}) are not read here", "save it with bytes, and then zstd, blosc or gzip")
    endian = rest.pop(0)[1].get("endian")
    if endian not in ("little", "big") and (endian is not None or dtype.itemsize > 1):
        raise broken("its Zarr metadata does not name the order of bytes")
    dtype = dtype.newbyteorder(">" if endian == "big" else "<")
    steps = [{"name": name, "configuration": configuration} for name, configuration in rest]
    return _Chain(_pipeline(steps, math.prod(chunk) * dtype.itemsize), dtype, chunk, axes)


def _transposed(axes: tuple[int, ...], order: object) -> tuple[int, ...]:
    if order in ("C", "F"):
        return axes[:: 1 if order == "C" else -1]
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(map(str, range(len(axes)))):
        raise broken("its Zarr metadata transposes axes that are not there")
    return tuple(axes[int(at)] for at in order)


def _pipeline(codecs: Sequence[Json], size: int) -> Pipeline:
    """What undoes codecs, given in the order in which they were applied to so many bytes.

    Raises:
        VolumeError: one that is not read here, or whose module is not installed.
    """
    if len(codecs) > MAX_FILTERS:
        raise broken(f"its chunks go through {len(codecs)} codecs", "save it with one")
    steps: list[tuple[Step, int | None]] = []
    nbytes: int | None = size
    packed = ""
    for codec in codecs:
        given, configuration = _named(codec)
        name = given.removeprefix("numcodecs.")
        if name == "crc32c":
            need("google_crc32c", "google-crc32c", "Zarr data with CRC-32C checksums")
            steps.append((_checked, nbytes))
            nbytes = None if nbytes is None else nbytes + CHECKSUM_BYTES
        elif nbytes is None and (name in COMPRESSORS or name in FILTERS):
            raise broken(f"its codec '{clean(name)}' follows '{packed}'", "save it with one compressor at the end")
        elif name in COMPRESSORS:
            step, module = COMPRESSORS[name]
            if module:
                need(module, "numcodecs", f"Zarr data compressed with {name}")
            steps.append((step, nbytes))
            # How much a compressor leaves is not known before it is there.
            nbytes, packed = None, name
        elif name in FILTERS and nbytes is not None:
            step, before = FILTERS[name](configuration, nbytes)
            steps.append((step, nbytes))
            nbytes = before
        else:
            remedy = f"save it with one of {', '.join(COMPRESSORS)}"
            raise broken(f"its codec '{clean(given)}' is not read here", remedy, value=given)
    return Pipeline(tuple(reversed(steps)), size)


def _checked(data: Buffer, _size: int) -> Buffer:
    """What stands before its CRC-32C."""
    tool = need("google_crc32c", "google-crc32c", "Zarr data with CRC-32C checksums")
    view = memoryview(data)
    kept = view[:-CHECKSUM_BYTES]
    if len(view) < CHECKSUM_BYTES or tool.value(bytes(kept)) != int.from_bytes(view[-CHECKSUM_BYTES:], "little"):
        raise ValueError("its checksum does not match")
    return kept


# Each gives the step of decoding, and how many bytes go into it.


def _shuffle(configuration: Json, size: int) -> tuple[Step, int]:
    itemsize = configuration.get("elementsize", 4)
    if not isinstance(itemsize, int) or not 1 <= itemsize <= 256 or size % itemsize:
        raise broken("its shuffle filter does not fit its chunks")
    return lambda data, _: unshuffled(data, itemsize), size


def _delta(configuration: Json, size: int) -> tuple[Step, int]:
    dtype, coded = _filter_dtypes(configuration)

    def step(data: Buffer, _: int) -> Buffer:
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.cumsum(np.frombuffer(data, coded), dtype=dtype.newbyteorder("="))
        return _as_bytes(sums, dtype)

    return step, _coded_size(size, dtype, coded)


def _fixed_scale(configuration: Json, size: int) -> tuple[Step, int]:
    dtype, coded = _filter_dtypes(configuration)
    found = _numbers([configuration.get("scale"), configuration.get("offset")], 2)
    if found is None or found[0] == 0:
        raise broken("its fixedscaleoffset filter has no scale")
    scale, offset = found.tolist()

    def step(data: Buffer, _: int) -> Buffer:
        values = np.frombuffer(data, coded) / scale + offset
        with np.errstate(over="ignore", invalid="ignore"):
            return _as_bytes(values, dtype)

    return step, _coded_size(size, dtype, coded)


def _quantized(configuration: Json, size: int) -> tuple[Step, int]:
    dtype, coded = _filter_dtypes(configuration)

    def step(data: Buffer, _: int) -> Buffer:
        with np.errstate(over="ignore", invalid="ignore"):
            return _as_bytes(np.frombuffer(data, coded), dtype)

    return step, _coded_size(size, dtype, coded)


def _unchanged(_configuration: Json, size: int) -> tuple[Step, int]:
    return lambda data, _: data, size


def _filter_dtypes(configuration: Json) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Of what comes out, and of what is stored."""
    dtype = _dtype(configuration.get("dtype"))
    coded = _dtype(configuration.get("astype") or configuration.get("dtype"))
    if "b" in (dtype.kind, coded.kind):
        raise broken("its filter computes with booleans", "save it without")
    return dtype, coded


def _coded_size(size: int, dtype: np.dtype[Any], coded: np.dtype[Any]) -> int:
    if size % dtype.itemsize:
        raise broken("its filter does not fit its chunks")
    return size // dtype.itemsize * coded.itemsize


def _as_bytes(values: NDArray[Any], dtype: np.dtype[Any]) -> Buffer:
    return values.astype(dtype, copy=False).view(np.uint8).data


FILTERS: dict[str, Callable[[Json, int], tuple[Step, int]]] = {
    "shuffle": _shuffle,
    "delta": _delta,
    "fixedscaleoffset": _fixed_scale,
    "quantize": _quantized,
    "bitround": _unchanged,
}


# ---- shards


@dataclass(frozen=True, eq=False)
class _Shard:
    """Many chunks in one file, with a table of where they are.

    Attributes:
        cell: sizes of the shard.
        chain: for each of its chunks.
        fill: what a missing one holds.
        table: for the table.
        table_bytes: of the table.
        at_end: where the table is; else at the start.
    """

    cell: tuple[int, ...]
    chain: _Chain
    fill: Any
    table: _Chain
    table_bytes: int
    at_end: bool

    def blocks(self, data: memoryview, wanted: Slices) -> Iterable[Block]:
        """Those of the wanted chunks."""
        if len(data) < self.table_bytes:
            raise broken("one of its shards is cut off", value=len(data))
        table = data[len(data) - self.table_bytes :] if self.at_end else data[: self.table_bytes]
        _, places = self.table.block(table)

        def read(index: tuple[int, ...], _wanted: Slices) -> Iterable[Block] | None:
            start, length = (int(number) for number in places[index])
            if start == length == MISSING:
                return None
            check_present(start + length, len(data))
            return [self.chain.block(data[start : start + length])]

        return over_chunks(self.cell, self.chain.chunk, self.chain.dtype, self.fill, read)(wanted)


def _shard(configuration: Json, cell: tuple[int, ...], dtype: np.dtype[Any], fill: Any) -> _Shard:
    chunk = _sizes(configuration.get("chunk_shape"), "chunk_shape")
    check_grid(cell, chunk, dtype.itemsize)
    location = configuration.get("index_location", "end")
    index_codecs = [_named(codec) for codec in _list(configuration.get("index_codecs"))]
    names = [name for name, _ in index_codecs]
    if any(size % step for size, step in zip(cell, chunk, strict=True)) or location not in ("start", "end"):
        raise broken(f"its shards of {cell} are not made of chunks of {chunk}")
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise broken("the table of its shards is compressed", "save it with bytes and crc32c, as is usual")
    chain = _chain([_named(codec) for codec in _list(configuration.get("codecs"))], chunk, dtype)
    table = _chain(index_codecs, (*counts(cell, chunk), 2), np.dtype(np.uint64))
    nbytes = table.pipeline.nbytes + CHECKSUM_BYTES * names.count("crc32c")
    return _Shard(cell, chain, fill, table, nbytes, location == "end")


# ---- JSON


def _list(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _named(found: object) -> tuple[str, Json]:
    """Name and configuration of an extension point of version 3, which may be written as its name alone."""
    if isinstance(found, str):
        return found, {}
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(name, str):
        raise broken("its Zarr metadata is damaged: it names no codec, grid or encoding where one belongs")
    configuration = found.get("configuration")
    return name, configuration if isinstance(configuration, dict) else {}


def _names(found: object) -> tuple[str | None, ...] | None:
    if not isinstance(found, list) or len(found) > MAX_AXES:
        return None
    return tuple(name if isinstance(name, str) else None for name in found)


def _sizes(found: object, what: str) -> tuple[int, ...]:
    if not isinstance(found, list) or any(type(size) is not int for size in found):
        raise broken(f"its Zarr metadata declares no {what}")
    check_sizes(found)
    return tuple(found)


def _dtype(found: object) -> np.dtype[Any]:
    """A plain number's, by its name in version 2 or 3; never one that NumPy has to make sense of."""
    if isinstance(found, str) and (found in DTYPES_3 or DTYPE_2.fullmatch(found)):
        try:
            dtype = np.dtype(found)
        except TypeError as error:  # as of "<f1"
            raise broken(f"its Zarr data type '{found}' does not exist") from error
        check_dtype(dtype)
        return dtype
    problem = f"its Zarr data type {shown(found)} is not a plain number"
    raise broken(problem, "save integers or floats of 8 to 64 bits", value=str(found)[:80])


def _fill(found: object, dtype: np.dtype[Any]) -> Any:
    """The value of what was never written; 0 where none is named."""
    try:
        if found is None:
            return dtype.type(0)
        if dtype.kind == "f" and isinstance(found, str) and found.startswith("0x"):
            bits = int(found[2:20], 16).to_bytes(dtype.itemsize, "little")
            return np.frombuffer(bits, dtype.newbyteorder("<"))[0]
        if dtype.kind == "f" and (isinstance(found, int | float) or found in ("NaN", "Infinity", "-Infinity")):
            with np.errstate(over="ignore"):
                return dtype.type(float(found))
        if dtype.kind in "iub" and isinstance(found, int | float) and found == int(found):
            return dtype.type(int(found))
    except (ValueError, OverflowError) as error:
        raise broken(f"its fill value {shown(found)} is no {dtype}") from error
    raise broken(f"its fill value {shown(found)} is no {dtype}")


FORMAT = Format("Zarr", (".zarr as a folder or zip",), lambda member: False, _entries, together=True, gathers=_gathers)
