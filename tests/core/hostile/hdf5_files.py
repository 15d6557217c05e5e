"""HDF5: links and storage that lead out of the file, chunks that inflate, addresses that lie, groups without an end."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tests.core.canaries import CANARY
from tests.core.hostile.case import Case, Reads
from tests.core.hostile.packed import zeros_zlib
from tests.core.hostile.small import values
from tests.core.hostile.strangers import Payload

THREE = Reads((3, 4, 5, 1))
OTHER_FILES = "its values are in other files"
NO_DATASET = "holds no dataset of two or more axes"


def made(fill: Callable[[Any], object], **options: Any) -> bytes:
    """A file that a function has put something into."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        fill(file)
    return content.getvalue()


def sound(file: Any) -> None:
    file["volume"] = values()


def cases() -> Iterator[tuple[str, Case]]:
    yield "HDF5: sound", Case(partial(made, sound), THREE)
    yield from _elsewhere()
    yield from _groups()
    yield from _large()
    yield from _types()
    yield from _damaged()


def _elsewhere() -> Iterator[tuple[str, Case]]:
    import h5py

    for name, path in {"beside it": CANARY, "above it": f"../{CANARY}", "the system's": "/etc/passwd"}.items():
        yield f"HDF5: external storage {name}", Case(partial(made, partial(_stored_in, path)), OTHER_FILES)
        yield (
            f"HDF5: external link {name}",
            Case(
                partial(made, lambda file, path=path: file.__setitem__("a", h5py.ExternalLink(path, "/a"))), NO_DATASET
            ),
        )
        yield f"HDF5: virtual dataset {name}", Case(partial(made, partial(_virtual, path)), OTHER_FILES)
    yield "HDF5: virtual dataset of itself", Case(partial(made, partial(_virtual, ".")), OTHER_FILES)
    yield "HDF5: soft link out of it", Case(partial(made, lambda file: _soft(file, "/../../etc/passwd")), NO_DATASET)
    yield "HDF5: soft link to itself", Case(partial(made, lambda file: _soft(file, "/a")), NO_DATASET)
    yield "HDF5: soft links in a circle", Case(partial(made, _soft_circle), NO_DATASET)
    yield "HDF5: a sound dataset beside links", Case(partial(made, _beside_links), THREE)


def _stored_in(path: str, file: Any) -> None:
    file.create_dataset("a", (3, 4, 5), "u1", external=[(path, 0, 60)])


def _virtual(path: str, file: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout((3, 4, 5), "u1")
    layout[:] = h5py.VirtualSource(path, "a", (3, 4, 5))
    file.create_virtual_dataset("a", layout)


def _soft(file: Any, path: str) -> None:
    import h5py

    file["a"] = h5py.SoftLink(path)


def _soft_circle(file: Any) -> None:
    import h5py

    for name, other in ("ab", "bc", "ca"):
        file[name] = h5py.SoftLink(f"/{other}/x")


def _beside_links(file: Any) -> None:
    import h5py

    sound(file)
    file["soft"] = h5py.SoftLink("/volume")
    file["out"] = h5py.ExternalLink(CANARY, "/a")


def _groups() -> Iterator[tuple[str, Case]]:
    yield "HDF5: a group that holds itself", Case(partial(made, _itself), THREE)
    yield "HDF5: two groups that hold each other", Case(partial(made, _each_other), THREE)
    yield "HDF5: a dataset under 2,000 names", Case(partial(made, _names), THREE)
    yield "HDF5: 12,000 groups", Case(partial(made, _many_groups, libver="latest"), "more than 10,000 objects")
    yield "HDF5: 3,000 datasets", Case(partial(made, _many_datasets), "more than 2,000 datasets")
    yield "HDF5: 200 groups deep", Case(partial(made, lambda file: file.create_group("/g" * 200)), NO_DATASET)
    yield "HDF5: name of control characters", Case(partial(made, _strange_names), "2 of its 2 arrays could be")
    yield "HDF5: nothing in it", Case(partial(made, lambda file: None), NO_DATASET)


def _itself(file: Any) -> None:
    sound(file)
    group = file.create_group("g")
    group["g"] = group


def _each_other(file: Any) -> None:
    sound(file)
    a, b = file.create_group("a"), file.create_group("b")
    a["b"], b["a"] = b, a


def _names(file: Any) -> None:
    sound(file)
    for number in range(2000):
        file[f"n{number}"] = file["volume"]


def _many_groups(file: Any) -> None:
    for number in range(12_000):
        file.create_group(str(number))


def _many_datasets(file: Any) -> None:
    for number in range(3_000):
        file[str(number)] = np.zeros((1, 1, 2), np.uint8)


def _strange_names(file: Any) -> None:
    file["\x1b[31ma\n\u202eb"] = values()
    file["<script>"] = values()


def _large() -> Iterator[tuple[str, Case]]:
    yield (
        "HDF5: 4 GiB in 1.4 KB",
        Case(
            partial(made, lambda file: file.create_dataset("a", (1024,) * 3, "f4", chunks=(64,) * 3)),
            "was ever written",
        ),
    )
    yield "HDF5: 4 GiB of one chunk", Case(partial(made, _one_chunk), "need 4,096 MiB as float32")
    yield (
        "HDF5: 2**60 voxels",
        Case(
            partial(made, lambda file: file.create_dataset("a", (2**20,) * 3, "f4", chunks=(64,) * 3)),
            "larger than any volume",
        ),
    )
    yield (
        "HDF5: chunks of a voxel",
        Case(
            partial(made, lambda file: file.create_dataset("a", (1000,) * 3, "u1", chunks=(1, 1, 1))),
            "1,000,000,000 pieces",
        ),
    )
    yield (
        "HDF5: chunks of a GB",
        Case(partial(made, lambda file: file.create_dataset("a", (2000,) * 3, "u1", chunks=(1000,) * 3)), "MiB each"),
    )
    yield (
        "HDF5: contiguous, never written",
        Case(partial(made, lambda file: file.create_dataset("a", (1000,) * 3, "u1")), "was ever written"),
    )
    yield (
        "HDF5: chunk is a deflate bomb",
        Case(partial(made, partial(_chunk, zeros_zlib(1024)[:60_000])), "one of its chunks"),
    )
    yield (
        "HDF5: chunk is deflated nonsense",
        Case(partial(made, partial(_chunk, b"\xff" * 50)), "one of its chunks is damaged"),
    )
    yield (
        "HDF5: filter that is not there",
        Case(partial(made, partial(_filter, 32015)), "its filter 32015 is not read here"),
    )
    yield (
        "HDF5: filter that nobody has",
        Case(partial(made, partial(_filter, 65000)), "its filter 65000 is not read here"),
    )


def _one_chunk(file: Any) -> None:
    dataset = file.create_dataset("a", (1024,) * 3, "f4", chunks=(256,) * 3, compression="gzip")
    dataset[0, 0, 0] = 1


def _chunk(content: bytes, file: Any) -> None:
    dataset = file.create_dataset("a", (3, 4, 5), "i2", chunks=(3, 4, 5), compression="gzip")
    dataset.id.write_direct_chunk((0, 0, 0), content)


def _filter(code: int, file: Any) -> None:
    from h5py import h5d, h5p, h5s, h5t

    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((3, 4, 5))
    # Optional, because the library writes no other that it does not have.
    properties.set_filter(code, 1, (1, 2, 3))
    dataset = h5d.create(file.id, b"a", h5t.STD_I16LE, h5s.create_simple((3, 4, 5)), properties)
    dataset.write_direct_chunk((0, 0, 0), bytes(120))


def _types() -> Iterator[tuple[str, Case]]:
    import h5py

    given: dict[str, tuple[Callable[[Any], object], str]] = {
        "a pickle": (lambda file: file.__setitem__("a", np.void(pickle.dumps(Payload()))), NO_DATASET),
        "pickles": (lambda file: file.__setitem__("a", _pickles()), "of another kind"),
        "text": (lambda file: file.__setitem__("a", np.full((3, 4), b"hello")), "its values are text"),
        "text of any length": (lambda file: file.create_dataset("a", (3, 4), h5py.string_dtype()), "are text"),
        "lists": (lambda file: file.create_dataset("a", (3, 4), h5py.vlen_dtype("i2")), "its values are lists"),
        "records": (lambda file: file.create_dataset("a", (3, 4), "i2,i2"), "records or complex"),
        "complex": (lambda file: file.__setitem__("a", np.zeros((3, 4, 5), "c8")), "records or complex"),
        "references": (lambda file: file.create_dataset("a", (3, 4), h5py.ref_dtype), "references"),
        "arrays": (lambda file: file.create_dataset("a", (3, 4), "(1000,)i2"), "arrays"),
        "enumeration": (lambda file: file.create_dataset("a", (3, 4), h5py.enum_dtype({"a": 1})), "an enumeration"),
        "bits that do not fill a number": (_unusual, "packed in an unusual way"),
        "axes of 32": (lambda file: file.create_dataset("a", (1,) * 32, "i2", data=0), "is not a volume|axes"),
    }  # fmt: skip
    for name, (fill, expect) in given.items():
        yield f"HDF5: {name}", Case(partial(made, fill), expect)
    yield "HDF5: attributes of nonsense", Case(partial(made, _attributes), THREE)


def _pickles() -> np.ndarray[Any, Any]:
    return np.full((3, 4), pickle.dumps(Payload()), "V200")


def _unusual(file: Any) -> None:
    from h5py import h5d, h5s, h5t

    kind = h5t.STD_I16LE.copy()
    kind.set_precision(11)
    kind.set_offset(3)
    h5d.create(file.id, b"a", kind, h5s.create_simple((3, 4, 5))).write(
        h5s.create_simple((3, 4, 5)), h5s.create_simple((3, 4, 5)), values(), h5t.STD_I16LE
    )


def _attributes(file: Any) -> None:
    sound(file)
    attributes = file["volume"].attrs
    attributes["axistags"] = "[" * 10_000
    attributes["element_size_um"] = [np.nan, np.inf, -1]
    attributes["DIMENSION_LABELS"] = np.full(3, "x" * 10_000, "O")
    attributes["units"] = np.void(pickle.dumps(Payload()))


def _damaged() -> Iterator[tuple[str, Case]]:
    whole = partial(made, sound)
    for share in (1, 5, 30, 60, 99):
        yield (
            f"HDF5: cut off at {share} %",
            Case(partial(_cut, whole, share), "HDF5|cut off|is not a volume format|damaged"),
        )
    yield "HDF5: zeros behind its mark", Case(lambda: b"\x89HDF\r\n\x1a\n" + bytes(2000), "HDF5 structure is damaged")
    yield "HDF5: version 99", Case(lambda: _with(whole(), 8, b"\x63"), "HDF5 structure is damaged")
    yield "HDF5: addresses of 255 bytes", Case(lambda: _with(whole(), 13, b"\xff"), "HDF5 structure is damaged")
    yield (
        "HDF5: its end is at 2**63",
        Case(lambda: _with(whole(), 40, struct.pack("<Q", 2**63)), "HDF5 structure is damaged"),
    )
    yield (
        "HDF5: its root is at 2**62",
        Case(lambda: _with(whole(), 64, struct.pack("<Q", 2**62)), "HDF5 structure is damaged"),
    )
    yield (
        "HDF5: its root is its start",
        Case(lambda: _with(whole(), 64, struct.pack("<Q", 0)), "HDF5 structure is damaged"),
    )
    for name, at in {"behind the end": 10**6, "at 2**62": 2**62, "at its last byte": -1}.items():
        yield f"HDF5: values {name}", Case(partial(_moved, at), "cut off|damaged|ever written")
    for name, sizes in {
        "2**40": (2**40, 4, 5),
        "zero": (0, 4, 5),
        "larger": (300, 4, 5),
        "2**63": (2**63, 2, 1),
    }.items():
        yield (
            f"HDF5: size {name}",
            Case(partial(_resized, sizes), "cut off|holds no voxel|larger than|damaged|no dataset"),
        )
    yield (
        "HDF5: behind MATLAB's bytes and no more",
        Case(lambda: b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "HDF5 structure is damaged"),
    )


def _cut(build: Callable[[], bytes], share: int) -> bytes:
    content = build()
    return content[: len(content) * share // 100]


def _with(content: bytes, at: int, piece: bytes) -> bytes:
    return content[:at] + piece + content[at + len(piece) :]


def _moved(to: int) -> bytes:
    """Its values are where its header does not say."""
    content = made(sound)
    place = content.index(values().tobytes())
    return content.replace(
        struct.pack("<2Q", place, 120), struct.pack("<2Q", to % 2**64 if to >= 0 else len(content) - 1, 120)
    )


def _resized(sizes: tuple[int, int, int]) -> bytes:
    return made(sound).replace(struct.pack("<3Q", 3, 4, 5), struct.pack("<3Q", *sizes))
