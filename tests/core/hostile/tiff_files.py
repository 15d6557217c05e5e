"""TIFF: directories in circles, tags that lie, strips that share, pages that differ, XML that explodes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import partial

from tests.core.canaries import CANARY
from tests.core.hostile import small
from tests.core.hostile.case import Case, Files, Reads
from tests.core.hostile.packed import zeros_zlib
from tests.core.hostile.small import tiff

ONE = Reads((1, 4, 5, 1), "a single plane")
THREE = Reads((3, 4, 5, 1))
Tags = dict[int, tuple[int, Sequence[int]]]
SHORT, LONG, LONG8 = 3, 4, 16
BYTES = {1: "B", 2: "B", SHORT: "H", LONG: "L", LONG8: "Q"}


def written(*pages: Tags, data: bytes = b"", next_of_last: int = 0, data_at: int = 8) -> bytes:
    """A little-endian TIFF: its data at byte 8, then its directories one behind the other, then long values."""
    body = bytearray(b"II*\0" + bytes(4)) + data
    link = 4
    for tags in pages:
        struct.pack_into("<L", body, link, len(body))
        at = len(body)
        end = at + 2 + 12 * len(tags) + 4
        entries, values = b"", b""
        for code, (kind, numbers) in sorted(tags.items()):
            content = struct.pack(f"<{len(numbers)}{BYTES[kind]}", *numbers)
            if len(content) > 4:
                place = end + len(values)
                values += content
                content = struct.pack("<L", place)
            entries += struct.pack("<HHL", code, kind, len(numbers)) + content.ljust(4, b"\0")
        link = at + 2 + len(entries)
        body += struct.pack("<H", len(tags)) + entries + bytes(4) + values
    struct.pack_into("<L", body, link, next_of_last)
    return bytes(body)


def page(width: int = 5, length: int = 4, **tags: Sequence[int] | int) -> Tags:
    """A page of 8 bits in one strip at byte 8; ``_CODE=numbers`` changes a tag."""
    usual: Tags = {
        256: (LONG, [width]), 257: (LONG, [length]), 258: (SHORT, [8]), 259: (SHORT, [1]), 262: (SHORT, [1]),
        273: (LONG, [8]), 277: (SHORT, [1]), 278: (LONG, [length]), 279: (LONG, [width * length]),
    }  # fmt: skip
    for name, numbers in tags.items():
        code = int(name.lstrip("_"))
        given = [numbers] if isinstance(numbers, int) else numbers
        kind = usual.get(code, (LONG, ()))[0]
        usual[code] = (kind if max(given, default=0) < 2**16 else LONG, given)
    return usual


def described(text: str) -> bytes:
    return written({**page(), 270: (2, [*text.encode(), 0])}, data=bytes(20))


def cases() -> Iterator[tuple[str, Case]]:
    yield from _directories()
    yield from _tags()
    yield from _bombs()
    yield from _pages()
    yield from _xml()
    yield from _other_kinds()


def _directories() -> Iterator[tuple[str, Case]]:
    circle = "run in a circle"
    yield "TIFF: no page", Case(lambda: b"II*\0" + bytes(4), "holds no image")
    yield "TIFF: first page behind the end", Case(lambda: b"II*\0\xff\xff\xff\x7f" + bytes(100), "cut off")
    yield (
        "TIFF: first page in its own head",
        Case(lambda: b"II*\0\2\0\0\0" + bytes(100), "circle|cut off|holds no|damaged|tags"),
    )
    yield "TIFF: pages in a circle", Case(lambda: written(page(), data=bytes(20), next_of_last=28), circle)
    yield "TIFF: two pages in a circle", Case(lambda: written(page(), page(), data=bytes(20), next_of_last=28), circle)
    yield "TIFF: pages below in a circle", Case(lambda: written(page(_330=28), data=bytes(20)), circle)
    yield (
        "TIFF: a million tags",
        Case(lambda: written({**page(), 0: (1, [0])}, data=b"").replace(b"\x0a\0", b"\xff\xff", 1), "tags|cut off"),
    )
    yield "TIFF: BigTIFF of 2**60 tags", Case(partial(_big, 2**60), "tags")
    yield (
        "TIFF: BigTIFF, first page at 2**63",
        Case(lambda: b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63) + bytes(100), "cut off"),
    )
    yield "TIFF: 100,001 pages", Case(partial(_chain, 100_001, 2), "more than 100,000")
    yield "TIFF: 99,000 pages of no tag", Case(partial(_chain, 99_000), "one of its pages has no size")
    yield "TIFF: 11,000 pages below one", Case(_below, "circle")
    yield "TIFF: next page behind the end", Case(lambda: written(page(), data=bytes(20), next_of_last=2**31), "cut off")
    for share in (5, 30, 60, 99):
        yield f"TIFF: cut off at {share} %", Case(partial(_cut, share), "cut off|damaged|more bytes|holds no")


def _tags() -> Iterator[tuple[str, Case]]:
    given: dict[str, tuple[dict[str, Sequence[int] | int], str | Reads]] = {
        "width zero": ({"_256": 0}, "holds no voxel"),
        "width 2**32": ({"_256": 2**32 - 1, "_257": 2**32 - 1}, "larger than any volume"),
        "no width": ({"_256": []}, "one of its pages has no size"),
        "bits 0": ({"_258": 0}, "numbers of 0 bits"),
        "bits 1000": ({"_258": 1000}, "numbers of 1000 bits"),
        "bits 12": ({"_258": 12}, "cannot hold them"),
        "compression 9999": ({"_259": 9999}, "compression 9999 is not read here"),
        "compression JBIG": ({"_259": 34661}, "compression JBIG is not read here"),
        "compression JPEG of nothing": ({"_259": 7}, "no frame header"),
        "compression old JPEG": ({"_259": 6}, "compression OJPEG is not read here"),
        "compression LERC": ({"_259": 34887}, "compression LERC is not read here"),
        "65,535 samples": ({"_277": 65535}, "cut off"),
        "no samples": ({"_277": 0}, ONE),
        "strip behind the end": ({"_273": 2**31}, "cut off"),
        "strip in the head": ({"_273": 0}, "inside of its own header"),
        "strip of 4 GB": ({"_279": 2**32 - 1}, ONE),
        "strip of nothing": ({"_279": 0}, ONE),
        "strips too few": ({"_278": 1}, ONE),
        "strips of no rows": ({"_278": 0}, ONE),
        "tiles of nothing": ({"_322": 0, "_323": 0, "_324": 8, "_325": 20}, "TIFF structure is damaged"),
        "tiles of 2**31": ({"_322": 2**31, "_323": 2**31, "_324": 8, "_325": 20}, "one of its strips holds"),
        "predictor 999": ({"_317": 999, "_259": 8}, "999 is not a known PREDICTOR"),
        "sample format complex": ({"_339": 6, "_258": 64}, "values are complex"),
        "sample format 99": ({"_339": 99}, "not read here"),
        "palette without one": ({"_262": 3}, ONE),
        "palette too short": ({"_262": 3, "_320": [1, 2, 3]}, "colour table is shorter"),
        "depth 2**31": ({"_32997": 2**31}, "cut off"),
        "planar 77": ({"_284": 77, "_277": 3}, Reads((1, 4, 5, 3))),
    }
    for name, (tags, expect) in given.items():
        yield f"TIFF: {name}", Case(lambda tags=tags: written(page(**tags), data=bytes(range(20))), expect)


def _bombs() -> Iterator[tuple[str, Case]]:
    yield "TIFF: strips share a block, 4 GB in 12 KB", Case(_shared, "cannot hold them")
    yield "TIFF: pages share a block", Case(_pages_share, "cannot hold them")
    yield (
        "TIFF: deflate bomb in a small strip",
        Case(partial(_bomb, zeros_zlib(1024), 8, 64), "TIFF structure is damaged"),
    )
    yield (
        "TIFF: deflate bomb of its own size",
        Case(partial(_bomb, zeros_zlib(600), 8, 24576), "one of its strips holds 576 MiB"),
    )
    yield (
        "TIFF: PackBits that end early",
        Case(partial(_bomb, b"\x80\0\xff" * 50, 32773, 64), "TIFF structure is damaged"),
    )
    yield "TIFF: JPEG of 514 MB in 378 bytes", Case(partial(_bomb, jpeg(22_000, 23_000), 7, 64), "cut off")
    yield (
        "TIFF: JPEG larger than its strip",
        Case(
            partial(_bomb, jpeg(2_000, 2_000) + bytes(8_000), 7, 64),
            "declares 2000 x 2000 x 1 values, and has room for 4,096",
        ),
    )
    yield (
        "TIFF: JPEG of 65,500 x 65,500",
        Case(partial(_bomb, jpeg(65_500, 65_500), 7, 65_500), "one of its strips holds 4,092 MiB"),
    )
    yield "TIFF: JPEG 2000 of 2**31", Case(partial(_bomb, jpeg_2000(2**31 - 1, 1), 34712, 64), "tiles")
    yield (
        "TIFF: JPEG 2000 of tiles of a voxel",
        Case(partial(_bomb, jpeg_2000(64, 1), 34712, 64), "TIFF structure is damaged"),
    )


def _pages() -> Iterator[tuple[str, Case]]:
    yield "TIFF: pages of two sizes", Case(_two_sizes, "2 of its 2 arrays could be")
    yield (
        "TIFF: a page that is sound beside one that is not",
        Case(
            lambda: written(page(), page(4, 5, _279=10**6, _259=8), data=bytes(20)),
            Reads((1, 4, 5, 1), "also in it: 'series 1' uint8 (1, 5, 4, 1), which is not read"),
        ),
    )
    yield "TIFF: ImageJ's stack", Case(partial(_imagej, 10, 10), Reads((10, 4, 5, 1)))
    yield "TIFF: ImageJ's stack cut off", Case(partial(_imagej, 10, 9), "declares 10 planes and 1 are there")
    yield "TIFF: pages of two types", Case(_two_types, "3 of its 3 arrays could be")
    yield (
        "TIFF: a page of another compression",
        Case(lambda: written(page(), page(), page(_259=8), data=bytes(20)), "TIFF structure is damaged"),
    )
    yield "TIFF: pages and a thumbnail", Case(_with_thumbnail, "2 of its 2 arrays could be")
    yield (
        "TIFF: ImageJ says 2**31 pages",
        Case(
            lambda: described(f"ImageJ=1.54f\nimages={2**31}\nslices={2**31}\n"),
            "declares 2,147,483,648 planes and 1 are there",
        ),
    )
    yield "TIFF: ImageJ says -1 pages", Case(lambda: described("ImageJ=1.54f\nimages=-1\nslices=-1\n"), ONE)
    yield (
        "TIFF: ImageJ's spacing is none",
        Case(
            lambda: tiff(
                small.values("<u2"),
                imagej=True,
                resolution=(1, 1),
                metadata={"axes": "ZYX", "spacing": float("nan"), "unit": "mm"},
            ),
            THREE,
        ),
    )
    yield "TIFF: shape in its description lies", Case(lambda: described('{"shape": [1000, 1000, 1000]}'), ONE)
    yield (
        "TIFF: shape in its description is deep",
        Case(lambda: described('{"shape": ' + "[" * 50_000), "TIFF structure is damaged"),
    )
    yield (
        "TIFF: resolution of nothing",
        Case(lambda: tiff(imagej=True, resolution=(0, 0), metadata={"axes": "ZYX", "spacing": 1, "unit": "mm"}), THREE),
    )


def _xml() -> Iterator[tuple[str, Case]]:
    laughs = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1 if n > 1 else str()};" * 10}">' for n in range(1, 10)
    )
    yield (
        "OME-TIFF: billion laughs",
        Case(lambda: described(f'<?xml version="1.0"?>{laughs}]><OME>&a9;</OME>'), "the XML in it declares entities"),
    )
    yield (
        "OME-TIFF: entity of a file",
        Case(
            lambda: described(f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a SYSTEM "{CANARY}">]><OME>&a;</OME>'),
            "the XML in it declares entities",
        ),
    )
    yield "OME-TIFF: planes in another file", Case(partial(_ome_elsewhere, CANARY), "lie in other files or are missing")
    yield (
        "OME-TIFF: planes in a file above",
        Case(partial(_ome_elsewhere, f"../{CANARY}"), "lie in other files or are missing"),
    )
    yield (
        "OME-TIFF: one of two files of a set is sound",
        Case(_ome_set, "'a.ome.tif': some of its planes lie in other files"),
    )
    yield (
        "OME-TIFF: sizes 2**31",
        Case(partial(_ome, SizeZ=2**31 - 1, SizeT=2**31 - 1), "more planes than any file has"),
    )
    yield "OME-TIFF: sizes negative", Case(partial(_ome, SizeZ=-3), ONE)
    yield "OME-TIFF: sizes no numbers", Case(partial(_ome, SizeX="hello"), "TIFF structure is damaged")
    yield "OME-TIFF: type of another", Case(partial(_ome, Type="double"), ONE)
    yield (
        "OME-TIFF: 100,000 elements deep",
        Case(lambda: described('<?xml version="1.0"?><OME>' + "<a>" * 100_000 + "</OME>"), "TIFF structure is damaged"),
    )
    yield (
        "OME-TIFF: no XML",
        Case(
            lambda: described(
                '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><a></OME>'
            ),
            "TIFF structure is damaged",
        ),
    )
    yield (
        "OME-TIFF: spacing infinite",
        Case(partial(_ome, PhysicalSizeX="INF", PhysicalSizeY="NaN", PhysicalSizeZ="-1"), ONE),
    )


def _other_kinds() -> Iterator[tuple[str, Case]]:
    """Private tags that make tifffile read a file in another way."""
    for name, tag in {
        "LSM": 34412, "STK": 33629, "FluoView": 34361, "NIH": 43314, "MicroManager": 51123, "MDGel": 33445,
        "SIS": 33560, "TVIPS": 37706, "FEI": 34682, "SEM": 34118, "NDPI": 65420, "Philips": 305, "EER": 65001,
        "GeoTIFF": 34735,
    }.items():  # fmt: skip
        expect = "TIFF structure is damaged" if name == "LSM" else ONE
        yield f"TIFF: {name}'s tag of nonsense", Case(partial(_tagged, tag), expect)


def _cut(share: int) -> bytes:
    content = tiff(small.values("<u2", (20, 30, 40)))
    return content[: len(content) * share // 100]


def _big(tags: int) -> bytes:
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, tags) + bytes(1000)


def _below() -> bytes:
    return written(page(_330=[8] * 11_000), data=_chain(1, 2)[8:])


def _chain(count: int, tags: int = 0) -> bytes:
    """Directories of no tag or of width and length, each pointing at the next one."""
    size = struct.pack("<HHLL", 256, SHORT, 1, 1) + struct.pack("<HHLL", 257, SHORT, 1, 1)
    entries = struct.pack("<H", tags) + size[: 12 * tags]
    places = range(8 + len(entries) + 4, 8 + (len(entries) + 4) * count, len(entries) + 4)
    return b"II*\0" + struct.pack("<L", 8) + b"".join(entries + struct.pack("<L", at) for at in [*places, 0])


def _shared() -> bytes:
    strip = zlib.compress(bytes(2**20), 9)
    count = 1400
    tags = page(1024, 1024 * count, _259=8, _278=1024, _273=[8] * count, _279=[len(strip)] * count)
    return written(tags, data=strip)


def _pages_share() -> bytes:
    strip = zlib.compress(bytes(2**20), 9)
    return written(*[page(1024, 1024, _259=8, _279=len(strip))] * 1000, data=strip)


def _bomb(data: bytes, compression: int, side: int) -> bytes:
    return written(page(side, side, _259=compression, _279=len(data)), data=data)


def jpeg(width: int, height: int, samples: int = 1) -> bytes:
    """A frame header of that size, tables, and next to no scan."""
    quant = b"\xff\xdb\0\x43\0" + b"\1" * 64
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 8 + 3 * samples, 8, height, width, samples)
    frame += b"".join(bytes([n + 1, 0x11, 0]) for n in range(samples))
    table = b"\xff\xc4" + struct.pack(">HB", 20, 0) + b"\1" + bytes(15) + b"\0"
    table += b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + b"\1" + bytes(15) + b"\0"
    scan = (
        b"\xff\xda"
        + struct.pack(">HB", 6 + 2 * samples, samples)
        + b"".join(bytes([n + 1, 0]) for n in range(samples))
        + b"\0\x3f\0"
    )
    return b"\xff\xd8" + quant + frame + table + scan + bytes(100) + b"\xff\xd9"


def jpeg_2000(side: int, tile: int) -> bytes:
    """A main header of that size."""
    size = struct.pack(">HHH8LH", 0xFF51, 41, 0, side, side, 0, 0, tile, tile, 0, 0, 1) + b"\7\1\1"
    return b"\xff\x4f" + size + bytes(100)


def _two_sizes() -> bytes:
    return written(page(), page(7, 3, _273=28), page(_273=49), page(7, 3, _273=69), data=bytes(90))


def _imagej(declared: int, present: int) -> bytes:
    """As ImageJ writes a large one: one page, and all planes behind it."""
    text = (2, [*f"ImageJ=1.53f\nimages={declared}\nslices={declared}\n".encode(), 0])
    end = len(written({**page(), 270: text}))
    return written({**page(_273=end), 270: text}) + bytes(20) * present


def _two_types() -> bytes:
    return written(page(), page(_339=2), page(_258=16, _279=40), data=bytes(40))


def _with_thumbnail() -> bytes:
    return written(page(100, 100, _279=10_000), page(10, 10, _254=1, _279=100), data=bytes(10_000))


def _ome(**attributes: object) -> bytes:
    given = {
        "DimensionOrder": "XYZCT", "Type": "uint8", "SizeX": 5, "SizeY": 4, "SizeZ": 1, "SizeC": 1, "SizeT": 1,
        "ID": "Pixels:0",
        **attributes,
    }  # fmt: skip
    text = " ".join(f'{name}="{value}"' for name, value in given.items())
    return described(_ome_text(f"<Pixels {text}><Channel ID='Channel:0:0'/><TiffData/></Pixels>"))


def _ome_text(pixels: str) -> str:
    start = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
    return f'{start}<Image ID="Image:0">{pixels}</Image></OME>'


def _ome_elsewhere(path: str) -> bytes:
    data = f'<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="{path}">urn:uuid:2</UUID></TiffData>'
    return described(
        _ome_text(
            '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="4" SizeZ="2" SizeC="1" '
            f'SizeT="1"><Channel ID="Channel:0:0"/><TiffData IFD="0" PlaneCount="1"/>{data}</Pixels>'
        )
    )


def _ome_set() -> Files:
    return [("a.ome.tif", _ome_elsewhere("b.ome.tif")), ("b.ome.tif", described("b"))]


def _tagged(tag: int) -> bytes:
    return written({**page(), tag: (LONG, [2**31, 7, 2**32 - 1, 8] * 8)}, data=bytes(20))
