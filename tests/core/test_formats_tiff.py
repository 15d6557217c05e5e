"""TIFF in all its storages, against tifffile and Pillow; what of it is decoded; and files made to hurt."""

import io
import re
import struct
import sys
import zipfile

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, inspect_volume, read_volume
from conv3d_core.volumes.entry import ONE_PLANE
from conv3d_core.volumes.formats import tiff as reader

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 999, (5, 40, 50)).astype(np.uint16)
FLOATS = RNG.random((4, 40, 50)).astype(np.float32)
COLOURS = RNG.integers(0, 255, (5, 40, 48, 3)).astype(np.uint8)


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
    return file.getvalue()


def written(*pages, **options):
    """One series after the other."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:
        for array, more in pages:
            writer.write(array, **{"photometric": "minisblack", **more})
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/") + ".tif", content)
    return file.getvalue()


def tag(data, name, page=0):
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        return file.pages[page].tags[name]


def changed(data, name, *values, page=0):
    """A tag's first values replaced, in place."""
    data = bytearray(data)
    found = tag(data, name, page)
    letter = {3: "H", 4: "I", 13: "I", 16: "Q"}[int(found.dtype)]
    struct.pack_into(f"<{len(values)}{letter}", data, found.valueoffset, *values)
    return bytes(data)


def refused(data, message, **options):
    with pytest.raises(VolumeError, match=re.escape(message)) as caught:
        read_volume(data, **options)
    return caught.value


STORAGES = [
    ("packbits", STACK, {"compression": "packbits"}),
    ("deflate", STACK, {"compression": "zlib"}),
    ("deflate, predictor", STACK, {"compression": "zlib", "predictor": True}),
    ("LZW", STACK, {"compression": "lzw"}),
    ("LZW, predictor, big-endian", STACK, {"compression": "lzw", "predictor": True, "byteorder": ">"}),
    ("Zstandard", FLOATS, {"compression": "zstd"}),
    ("Zstandard, floating predictor", FLOATS, {"compression": "zstd", "predictor": 3}),
    ("JPEG 2000", STACK, {"compression": "jpeg2000"}),
    ("BigTIFF", STACK, {"bigtiff": True}),
    ("BigTIFF, big-endian", STACK, {"bigtiff": True, "byteorder": ">", "compression": "zlib"}),
    ("tiles", STACK, {"tile": (16, 32)}),
    ("tiles, deflate", STACK, {"tile": (32, 16), "compression": "zlib"}),
    ("strips of 7 rows", STACK, {"rowsperstrip": 7}),
    ("strips of 7 rows, deflate", STACK, {"rowsperstrip": 7, "compression": "zlib"}),
    ("an image depth", STACK, {"volumetric": True, "tile": (2, 16, 16), "compression": "zlib"}),
    ("ImageJ", STACK, {"imagej": True, "metadata": {"axes": "ZYX"}}),
    ("ImageJ, big-endian floats", FLOATS, {"imagej": True, "byteorder": ">", "metadata": {"axes": "ZYX"}}),
    ("OME", STACK, {"ome": True, "metadata": {"axes": "ZYX"}}),
    ("int64", STACK.astype(np.int64), {"compression": "zlib"}),
    ("float16", FLOATS.astype(np.float16), {}),
    ("float64", FLOATS.astype(np.float64), {"tile": (16, 16)}),
    ("without metadata", STACK, {"metadata": None}),
    ("of 12 bits", STACK, {"bitspersample": 12}),
]


@pytest.mark.parametrize(("array", "options"), [case[1:] for case in STORAGES], ids=[case[0] for case in STORAGES])
class TestStorages:
    def test_the_values_are_exact(self, array, options):
        volume = read_volume(tiff(array, **options))
        np.testing.assert_array_equal(volume.array[..., 0], array.astype(np.float32))
        assert volume.dtype == array.dtype.name
        assert volume.notes == ()

    def test_a_part_is_what_cropping_gives(self, array, options):
        data = tiff(array, **options)
        box = ((1, 3), (17, 38), (3, 33))
        np.testing.assert_array_equal(
            read_volume(data, part=Part(box=box)).array, read_volume(data).array[1:4, 17:39, 3:34]
        )

    def test_inspection_decodes_nothing(self, array, options, monkeypatch):
        monkeypatch.setattr(reader, "_page", None)
        (entry,) = inspect_volume(tiff(array, **options))
        assert (entry.sizes, entry.dtype.name, entry.refusal) == ((*array.shape, 1), array.dtype.name, None)


class TestDecoding:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"rowsperstrip": 10}, [(2, 1), (3, 1)]),
            ({"tile": (16, 16)}, [(2, 0), (2, 1), (2, 4), (2, 5), (3, 0), (3, 1), (3, 4), (3, 5)]),
        ],
        ids=["strips", "tiles"],
    )
    def test_only_what_is_wanted_is_decoded(self, monkeypatch, options, expected):
        seen = []
        real = reader._segment

        def segment(page, keyframe, index, packed, shape):
            seen.append((page.index, index))
            return real(page, keyframe, index, packed, shape)

        monkeypatch.setattr(reader, "_segment", segment)
        data = tiff(STACK, compression="zlib", **options)
        part = Part(box=((2, 3), (12, 18), (5, 20))) if "tile" in options else Part(box=((2, 3), (12, 18), (0, 49)))
        read_volume(data, part=part)
        assert seen == expected

    def test_a_file_that_is_zipped(self):
        for options in ({}, {"compression": "lzw"}):
            np.testing.assert_array_equal(read_volume(zipped(a=tiff(STACK, **options))).array[..., 0], STACK)

    def test_a_file_of_pillow(self):
        file = io.BytesIO()
        pages = [Image.fromarray(plane) for plane in STACK]
        pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
        np.testing.assert_array_equal(read_volume(file.getvalue()).array[..., 0], STACK)

    def test_pillow_reads_the_same(self):
        data = tiff(STACK, compression="lzw", predictor=True)
        volume = read_volume(data)
        with Image.open(io.BytesIO(data)) as image:
            for index in range(5):
                image.seek(index)
                np.testing.assert_array_equal(volume.array[index, ..., 0], np.asarray(image))

    def test_jpeg(self):
        options = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 90}}
        tiled = tiff(COLOURS, tile=(16, 16), **options)
        np.testing.assert_array_equal(read_volume(tiled).array, tifffile.imread(io.BytesIO(tiled)))
        single = tiff(COLOURS[0], **options)
        with Image.open(io.BytesIO(single)) as image:
            difference = read_volume(single).array[0] - np.asarray(image.convert("RGB"), np.float32)
        assert np.abs(difference).max() <= 4  # Pillow smooths the chroma

    def test_channels_without_depth_are_channels(self):
        """What `tifffile.imwrite(..., imagej=True)` calls a stack that has no names for its axes."""
        volume = read_volume(tiff(STACK, imagej=True))
        assert volume.shape == (1, 40, 50, 5)
        assert volume.notes == (ONE_PLANE, "its 5 C are read as channels: if they are planes, save them as Z")

    @pytest.mark.parametrize("config", ["contig", "separate"])
    @pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (16, 16)}], ids=str)
    def test_colour_stacks(self, config, options):
        array = COLOURS if config == "contig" else COLOURS.transpose(0, 3, 1, 2)
        data = tiff(array, photometric="rgb", planarconfig=config, **options)
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array, COLOURS)
        np.testing.assert_array_equal(
            read_volume(data, part=Part(channel=2, box=((0, 4), (5, 20), (9, 30)))).array,
            COLOURS[:, 5:21, 9:31, 2:],
        )

    def test_alpha_is_kept_and_said(self):
        array = RNG.integers(0, 255, (3, 8, 9, 4)).astype(np.uint8)
        volume = read_volume(tiff(array, photometric="rgb", extrasamples=["unassalpha"]))
        np.testing.assert_array_equal(volume.array, array)
        assert volume.notes == ("the last channel is alpha",)

    def test_time_is_depth_where_there_is_no_other(self):
        volume = read_volume(tiff(STACK, imagej=True, metadata={"axes": "TYX"}))
        np.testing.assert_array_equal(volume.array[..., 0], STACK)
        assert volume.notes == ("it has no depth: D is time",)

    @pytest.mark.parametrize("axes", ["QQYX", "CZYX"])
    def test_an_axis_of_one_is_not_depth(self, axes):
        volume = read_volume(tiff(STACK[None] if axes == "QQYX" else STACK[:, None], metadata={"axes": axes}))
        assert volume.shape == ((5, 40, 50, 1) if axes == "QQYX" else (1, 40, 50, 5))

    def test_an_orientation_is_said(self):
        data = tiff(STACK, extratags=[(274, 3, 1, 6, True)])
        assert read_volume(data).notes == ("read as stored: its orientation tag (6) is not applied",)


class TestColours:
    def test_zero_as_white(self):
        data = tiff(STACK, photometric="miniswhite")
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[..., 0], 65535 - STACK.astype(np.float32))
        assert volume.notes == ("stored with 0 as white, and inverted: 65535 minus the value",)

    @pytest.mark.parametrize("mode", ["1", "L"])
    def test_zero_as_white_by_pillow(self, mode):
        picture = Image.fromarray((STACK[0] % 256).astype(np.uint8)).convert(mode)
        file = io.BytesIO()
        picture.save(file, "TIFF", tiffinfo={262: 0})
        white = tag(file.getvalue(), "PhotometricInterpretation").value == 0
        with Image.open(io.BytesIO(file.getvalue())) as image:
            expected = np.asarray(image).astype(np.float32)
        assert white
        np.testing.assert_array_equal(read_volume(file.getvalue()).array[0, ..., 0], expected)

    def test_two_values(self):
        mask = STACK > 500
        volume = read_volume(tiff(mask))
        np.testing.assert_array_equal(volume.array[..., 0], mask)
        assert volume.dtype == "bool"

    def test_four_bits_by_an_outer_packer(self):
        values = (STACK[0, :8, :8] % 16).astype(np.uint8)
        packed = (values[:, ::2] << 4 | values[:, 1::2]).astype(np.uint8)
        data = changed(changed(tiff(packed), "BitsPerSample", 4), "ImageWidth", 8)
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[0, ..., 0], values)

    def palette(self, table, pages=1):
        indices = (STACK[:pages] % 256).astype(np.uint8)
        return indices, tiff(indices, photometric="palette", colormap=table)

    def test_a_colour_table_is_applied(self):
        table = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
        indices, data = self.palette(table * 257, 3)
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array, np.moveaxis(table[:, indices], 0, -1))
        assert (volume.dtype, volume.notes) == ("uint8", ("its colour table is applied: C is red, green, blue",))
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(volume.array[0], np.asarray(image.convert("RGB")))
        part = Part(box=((1, 1), (3, 9), (4, 11)), channel=1)
        np.testing.assert_array_equal(read_volume(data, part=part).array, volume.array[1:2, 3:10, 4:12, 1:2])

    def test_a_colour_table_of_16_bits(self):
        table = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
        indices, data = self.palette(table)
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[0], np.moveaxis(table[:, indices[0]], 0, -1))
        assert volume.dtype == "uint16"

    def test_a_grey_table_gives_one_channel(self):
        table = np.tile(np.arange(255, -1, -1, dtype=np.uint16) * 257, (3, 1))
        indices, data = self.palette(table, 2)
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[..., 0], 255 - indices)
        assert volume.notes == ("its grey table is applied",)

    def test_the_table_of_imagej_is_for_display(self):
        indices = (STACK % 256).astype(np.uint8)
        table = RNG.integers(0, 256, (3, 256)).astype(np.uint16) * 257
        data = tiff(indices, imagej=True, photometric="palette", colormap=table, metadata={"axes": "ZYX"})
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[..., 0], indices)
        assert volume.notes == ("its colour table is for display, and is not applied",)

    def test_tables_that_differ_are_not_mixed(self):
        tables = [RNG.integers(0, 256, (3, 256)).astype(np.uint16) * 257 for _ in range(2)]
        pages = [((STACK[0] % 256).astype(np.uint8), {"photometric": "palette", "colormap": each}) for each in tables]
        options = {"metadata": None}
        data = written(*[(array, more | options) for array, more in pages])
        refused(data, "its pages differ in size, type or colours; save pages of one kind.")

    def test_other_colours_are_said(self):
        array = RNG.integers(0, 255, (8, 9, 4)).astype(np.uint8)
        notes = read_volume(tiff(array, photometric="separated")).notes
        assert notes == (ONE_PLANE, "its channels are SEPARATED, and not turned into RGB")


class TestSeries:
    def test_each_is_an_entry(self):
        data = written((STACK, {}), (FLOATS[0], {}), (STACK[:2] % 256, {"compression": "zlib"}))
        entries = inspect_volume(data)
        assert [(entry.name, entry.sizes) for entry in entries] == [
            ("series 0", (5, 40, 50, 1)),
            ("series 1", (1, 40, 50, 1)),
            ("series 2", (2, 40, 50, 1)),
        ]
        np.testing.assert_array_equal(read_volume(data, member="series 2").array[..., 0], STACK[:2] % 256)
        np.testing.assert_array_equal(read_volume(data, member="series 1").array[0, ..., 0], FLOATS[0])
        message = "member: 2 of its 3 arrays could be the volume; name one of 'series 0' uint16 (5, 40, 50);"
        assert refused(data, message).value == ("series 0", "series 1", "series 2")

    def test_pages_of_several_kinds_without_a_word_on_them(self):
        plain = {"metadata": None}
        pages = [(plane, plain) for plane in STACK[:4]] + [(FLOATS[0], plain), (STACK[0, :30], plain)] * 2
        data = written(*pages)
        entries = inspect_volume(data)
        assert [entry.sizes for entry in entries] == [(4, 40, 50, 1), (2, 40, 50, 1), (2, 30, 50, 1)]
        np.testing.assert_array_equal(read_volume(data, member="series 0").array[..., 0], STACK[:4])

    def test_one_other_page_among_many(self):
        """tifffile compares the pages 0, 1, 7 and the last before it takes all for one stack."""
        plain = {"metadata": None}
        planes = [*STACK, *STACK]
        pages = [(plane, plain) for plane in planes]
        pages[4] = (planes[4].astype(np.int16), plain)
        data = written(*pages)
        assert tifffile.imread(io.BytesIO(data)).dtype == np.uint16
        assert [entry.sizes[0] for entry in inspect_volume(data)] == [9, 1]

    def test_pages_that_differ_from_what_imagej_says(self):
        data = tiff(STACK, imagej=True, compression="zlib", metadata={"axes": "ZYX"}, rowsperstrip=20)
        refused(changed(data, "RowsPerStrip", 40, page=3), "its pages differ in size, type or colours")

    def test_one_strip_however_that_is_said(self):
        data = changed(tiff(STACK, compression="zlib", metadata=None, rowsperstrip=40), "RowsPerStrip", 60_000, page=3)
        np.testing.assert_array_equal(read_volume(data).array[..., 0], STACK)

    def test_ome_images_have_their_own_spacing(self):
        metadata = [
            {"axes": "ZYX", "Name": name, **{f"PhysicalSize{axis}": size for axis in "ZYX"}}
            for name, size in [("first", 2.0), ("second", 5.0)]
        ]
        data = written((STACK, {"metadata": metadata[0]}), (FLOATS, {"metadata": metadata[1]}), ome=True)
        entries = inspect_volume(data)
        assert [entry.name for entry in entries] == ["series 0 first", "series 1 second"]
        np.testing.assert_allclose([entry.spacing_mm for entry in entries], [[0.002] * 3, [0.005] * 3])

    def test_the_levels_of_a_pyramid(self):
        metadata = {"axes": "ZYX", **{f"PhysicalSize{axis}": 3.0 for axis in "ZYX"}}
        file = io.BytesIO()
        with tifffile.TiffWriter(file, ome=True) as writer:
            options = {"photometric": "minisblack", "tile": (16, 16), "compression": "zlib"}
            writer.write(STACK, subifds=1, metadata=metadata, **options)
            writer.write(STACK[:, ::2, ::2], subfiletype=1, **options)
        full, half = inspect_volume(file.getvalue())
        assert (full.sizes, half.sizes) == ((5, 40, 50, 1), (5, 20, 25, 1))
        np.testing.assert_allclose(half.spacing_mm, (0.003, 0.006, 0.006))
        assert half.name == "series 0 level 1"
        np.testing.assert_array_equal(read_volume(file.getvalue()).array[..., 0], STACK, "the full one, unless told")
        np.testing.assert_array_equal(read_volume(file.getvalue(), member=half.name).array[..., 0], STACK[:, ::2, ::2])


class TestFiles:
    def files(self, planes, names=None, **options):
        names = names or [f"slice {number + 1}.tif" for number in range(len(planes))]
        return [(name, tiff(plane, **options)) for name, plane in zip(names, planes, strict=True)]

    def test_single_planes_make_a_stack_in_natural_order(self):
        planes = RNG.integers(0, 99, (12, 6, 7)).astype(np.uint8)
        files = self.files(planes, compression="zlib")
        volume = read_volume(sorted(files))
        assert [name for name, _ in sorted(files)][1] == "slice 10.tif"
        np.testing.assert_array_equal(volume.array[..., 0], planes)
        assert volume.notes == ()
        assert volume.source == ("TIFF 'slice 1.tif to slice 12.tif', uint8 (12, 6, 7) file Y X -> D H W = file Y X")
        part = Part(box=((9, 10), (1, 2), (3, 5)))
        np.testing.assert_array_equal(read_volume(files, part=part).array[..., 0], planes[9:11, 1:3, 3:6])

    def test_only_the_wanted_files_are_opened(self):
        files = self.files(STACK, compression="zlib")
        entry = inspect_volume(files)[0]
        blocks = list(entry.decode((slice(3, 4), slice(0, 40), slice(0, 50))))
        assert [where[0] for where, _ in blocks] == [slice(3, 4)]

    def test_each_folder_is_a_stack(self):
        planes = {f"raw__{number}": tiff(plane) for number, plane in enumerate(STACK)}
        masks = {f"mask__{number}": tiff(plane > 500) for number, plane in enumerate(STACK)}
        data = zipped(**planes, **masks)
        entries = inspect_volume(data)
        assert [(entry.name, entry.dtype.name) for entry in entries] == [
            ("mask/0.tif to 4.tif", "bool"),
            ("raw/0.tif to 4.tif", "uint16"),
        ]
        np.testing.assert_array_equal(read_volume(data, member=entries[1].name).array[..., 0], STACK)

    def test_the_odd_one_is_named(self):
        files = self.files([*STACK[:3], FLOATS[0], *STACK[3:]])
        message = (
            "file: 'slice 4.tif' is TIFF float32 (40, 50) Y X, and 5 of its 6 planes are TIFF uint16 (40, 50) Y X;"
        )
        refused(files, message)
        assert inspect_volume(files)[0].sizes == (6, 40, 50, 1)

    def test_a_gap_is_said(self):
        files = self.files(STACK, ["a01.tif", "a02.tif", "a03.tif", "a05.tif", "a06.tif"])
        (note,) = read_volume(files).notes
        assert note == "planes may be missing: the numbers in the names jump between a03.tif and a05.tif"

    def test_one_that_cannot_be_read_is_not_left_out(self):
        files = self.files(STACK)
        files[3] = ("slice 4.tif", tiff(STACK[3].astype(np.complex64)))
        refused(files, "file: 'slice 4.tif': complex64 values are complex; save the magnitude")
        files[3] = ("slice 4.tif", tiff(STACK[3])[:3000])
        refused(files, "file: 'slice 4.tif': it is cut off")

    def test_stacks_stay_apart(self):
        files = [("a.tif", tiff(STACK)), ("b.tif", tiff(FLOATS)), ("c.tif", tiff(STACK[0]))]
        assert [(entry.name, entry.sizes[0]) for entry in inspect_volume(files)] == [
            ("c.tif", 1),
            ("a.tif", 5),
            ("b.tif", 4),
        ]
        np.testing.assert_array_equal(read_volume(files, member="b.tif").array[..., 0], FLOATS)

    def test_a_damaged_one_is_named(self):
        files = self.files(STACK)
        files[2] = ("slice 3.tif", files[2][1][:300])
        refused(files, "file: 'slice 3.tif': it is cut off")

    def test_a_volume_alone_keeps_no_name(self):
        assert inspect_volume([("a.tif", tiff(STACK))])[0].name == ""


def shared(count, compression=None, size=1024):
    """Strips that all are the same few bytes."""
    data = bytearray(tiff(np.zeros((size, 1024), np.uint8), rowsperstrip=size // count, compression=compression))
    offsets, counts = tag(data, "StripOffsets"), tag(data, "StripByteCounts")
    for found in (offsets, counts):
        letter = {3: "H", 4: "I"}[int(found.dtype)]
        struct.pack_into(f"<{count}{letter}", data, found.valueoffset, *[found.value[0]] * count)
    return bytes(data)


def shared_tiles():
    data = tiff(np.zeros((64, 64), np.uint8), compression="jpeg", tile=(16, 16))
    for name in ("TileOffsets", "TileByteCounts"):
        data = changed(data, name, *[tag(data, name).value[0]] * 16)
    return data


def replaced(data, segment):
    """The only strip replaced by other bytes, put at the end."""
    data = changed(data, "StripOffsets", len(data))
    return changed(data, "StripByteCounts", len(segment)) + segment


def ome(**sizes):
    data = {"SizeZ": 1, "SizeC": 1, "SizeT": 1, "PlaneCount": 1, "FirstZ": 0, "extra": ""} | sizes
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels DimensionOrder="XYZCT" '
        'Type="uint8" SizeX="30" SizeY="20" SizeZ="{SizeZ}" SizeC="{SizeC}" SizeT="{SizeT}"><TiffData IFD="0" '
        'FirstZ="{FirstZ}" PlaneCount="{PlaneCount}"/></Pixels></Image>{extra}</OME>'
    ).format(**data)


def described(text):
    return tiff(np.zeros((20, 30), np.uint8), description=text, metadata=None)


MODULO = (
    '<StructuredAnnotations><XMLAnnotation ID="a" Namespace="openmicroscopy.org/modulo"><Value><Modulo>'
    '<ModuloAlongZ Type="lifetime" Start="0" End="1e12" Step="1"/></Modulo></Value></XMLAnnotation>'
    "</StructuredAnnotations>"
)
JPEG = tiff(np.zeros((16, 16), np.uint8), compression="jpeg", compressionargs={"level": 90}, rowsperstrip=16)
JPEG_2000 = tiff(np.zeros((16, 16), np.uint8), compression="jpeg2000", rowsperstrip=16)
LARGE_JPEG = imagecodecs.jpeg_encode(np.zeros((4000, 4000), np.uint8))
LARGE_JPEG_2000 = imagecodecs.jpeg2k_encode(np.zeros((2000, 2000), np.uint8))


class TestHostile:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (shared(64), "its header declares 1,048,576 bytes, and the 16,384 that are there cannot hold them"),
            (shared(1024, "zlib"), "its header declares 1,048,576 bytes, and the 16 that are there cannot hold them"),
            (shared(1024, "packbits"), "that are there cannot hold them"),
            (replaced(JPEG, LARGE_JPEG), "one of its strips or tiles declares 4000 x 4000 x 1 values, and has room"),
            (shared_tiles(), "its strips or tiles share their bytes"),
            (replaced(JPEG, b"\xff\xd8\xff\xd9"), "its JPEG data has no frame header"),
            (replaced(JPEG, LARGE_JPEG.replace(b"\xff\xc0", b"\xff\xc3")), "a TIFF with JPEG of process C3 is"),
            (replaced(JPEG, LARGE_JPEG[:700]), "it is cut off: its header declares 31,250 bytes and 700 are there"),
            (replaced(JPEG_2000, LARGE_JPEG_2000), "one of its strips or tiles declares 2000 x 2000 x 1 values"),
            (replaced(JPEG_2000, b"\xff\x4f\xff\x51" + bytes(20)), "its JPEG 2000 data is cut off"),
            (replaced(JPEG_2000, b"\xff\x4f\xff\x51" + bytes(80)), "its JPEG 2000 header is damaged"),
            (changed(tiff(STACK, compression="zlib"), "StripByteCounts", 0), "some of its strips or tiles are empty"),
            (changed(tiff(STACK, rowsperstrip=9), "StripOffsets", 2**31), "it is cut off: its header declares"),
            (described(ome(SizeZ=10**9)), "its OME header declares more planes than any file has"),
            (described(ome(PlaneCount=10**9)), "its OME header declares more planes than any file has"),
            (described(ome(FirstZ=10**9, SizeZ=2)), "its OME header declares more planes than any file has"),
            (described(ome(extra=MODULO)), "its OME header declares more planes than any file has"),
            (described('<!DOCTYPE a [<!ENTITY b "c">]>' + ome()), "the XML in it declares entities"),
        ],
        ids=[
            "strips that share a block", "deflated strips that share one", "packed strips that share one",
            "a JPEG larger than its page", "JPEG tiles that share one", "a JPEG without a frame",
            "a JPEG without losses", "a JPEG larger than its bytes", "a JPEG 2000 larger than its page",
            "a JPEG 2000 cut off", "a JPEG 2000 of size 0", "an empty strip", "a strip behind the end",
            "a billion OME planes", "a billion OME pages", "an OME plane far away", "OME steps", "XML entities",
        ],
    )  # fmt: skip
    def test_refused(self, data, message):
        refused(data, message)

    def test_pages_that_share_a_block(self):
        """12 KB that declare a volume, each page the same strip."""
        data = tiff(np.zeros((100, 64, 64), np.uint8), compression="zlib", rowsperstrip=64, metadata=None)
        for page in range(1, 100):
            data = changed(data, "StripOffsets", tag(data, "StripOffsets").value[0], page=page)
        refused(data, "cannot hold them")

    def test_a_strip_too_large_to_hold(self, monkeypatch):
        monkeypatch.setattr(reader, "MAX_SEGMENT_BYTES", 2**20)
        data = tiff(np.zeros((2048, 1024), np.uint8), compression="zlib", rowsperstrip=2048)
        refused(data, "one of its strips holds 2 MiB; save it in strips or tiles of at most 1 MiB.")

    def test_directories_below_pages_in_a_circle(self):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(STACK[0], photometric="minisblack", subifds=2)
            writer.write(STACK[0, ::2, ::2], photometric="minisblack", subfiletype=1)
            writer.write(STACK[0, ::4, ::4], photometric="minisblack", subfiletype=1)
        data = file.getvalue()
        assert len(inspect_volume(data)) == 3
        first = tag(data, "SubIFDs").value[0]
        refused(changed(data, "SubIFDs", first, first), "its pages run in a circle")

    def test_tags_that_share_their_bytes(self):
        data = tiff(STACK, extratags=[(65000 + number, 2, 0, "x" * 4000, True) for number in range(60)])
        read_volume(data)
        large = tiff(STACK, extratags=[(65000, 2, 0, "x" * 400_000, True)])
        copies = bytearray(tiff(STACK, extratags=[(65000 + n, 2, 0, "x" * 9, True) for n in range(60)]) + large)
        with tifffile.TiffFile(io.BytesIO(bytes(copies))) as file:
            places = [file.pages.first.tags[65000 + n].offset for n in range(60)]
        for place in places:
            struct.pack_into("<II", copies, place + 4, 400_000, 8)
        refused(bytes(copies), "its tags declare more than the file holds")

    def test_without_imagecodecs(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
        message = (
            "file: a TIFF with compression LZW is read by imagecodecs, which is not installed; "
            "pip install -r requirements-formats.txt (or only imagecodecs)."
        )
        refused(tiff(STACK, compression="lzw"), message)
        assert str(inspect_volume(tiff(STACK, compression="lzw"))[0].refusal) == message
        for options in ({"compression": "zlib"}, {"compression": "packbits"}, {}):
            assert read_volume(tiff(STACK, **options)).shape == (5, 40, 50, 1)


PLAIN = {"metadata": None}
SEEDS = [
    tiff(STACK[:2], compression="zlib", tile=(16, 16)),
    tiff(STACK[:2], compression="lzw", predictor=True, byteorder=">"),
    tiff(STACK[:2], compression="zstd", bigtiff=True),
    tiff(COLOURS[:2], photometric="rgb", compression="jpeg", compressionargs={"level": 80}),
    tiff(STACK[:2], compression="jpeg2000"),
    tiff((STACK[:2] % 256).astype(np.uint8), photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
    tiff(STACK[:2] > 500, photometric="miniswhite"),
    tiff(STACK[:2], ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 1.0}),
    written((STACK[0], PLAIN), (FLOATS[0], PLAIN)),
]


@settings(deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
    st.booleans(),
)
def test_damage_gives_volumes_or_a_volume_error(seed, changes, kept, near):
    """Up to six bytes changed, of all or of the first 600, and perhaps the end cut off."""
    data = bytearray(seed)
    for place, value in changes:
        data[int(place * (min(len(data), 600) if near else len(data)))] = value
    if kept < 0.3:
        data = data[: int(len(data) * kept / 0.3)]
    try:
        for entry in inspect_volume(bytes(data)):
            volume = read_volume(bytes(data), member=entry.name or None)
            assert volume.shape == entry.sizes
    except VolumeError:
        return
