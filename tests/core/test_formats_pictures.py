"""Pictures, stacks of them and animations, against imagecodecs and Pillow; and files made to hurt."""

import bz2
import gzip
import io
import re
import struct
import sys
import tracemalloc
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, inspect_volume, read_volume
from conv3d_core.volumes.entry import ONE_PLANE
from conv3d_core.volumes.formats import pictures as reader
from conv3d_core.volumes.formats.jpeg_headers import segments
from conv3d_core.volumes.formats.picture_headers import ALPHA, NO_ALPHA

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30)).astype(np.uint8)
RGB = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
RGBA = RNG.integers(0, 256, (20, 30, 4)).astype(np.uint8)
FRAMES = RNG.integers(0, 256, (6, 20, 30, 3)).astype(np.uint8)
SMOOTH = np.add.outer(np.arange(20) * 5, np.arange(30) * 4).astype(np.uint8)


def saved(array, kind, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def animated(frames, kind, **options):
    images = [Image.fromarray(frame) for frame in frames]
    return saved(images[0], kind, save_all=True, append_images=images[1:], **options)


def chunk(name, content):
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))


def png(width, height, depth, colour, raw, *more):
    """A PNG by hand: whatever its header says, and whatever else is in front of its data."""
    header = chunk(b"IHDR", struct.pack(">2L5B", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*each) for each in more) + data


def rows(array):
    """Each row of bytes behind its filter, which is none."""
    return b"".join(b"\0" + row.tobytes() for row in array)


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/") + ".png", content)
    return file.getvalue()


def refused(data, message, **options):
    """The message, and that refusing took less than 32 MiB."""
    tracemalloc.start()
    try:
        with pytest.raises(VolumeError, match=re.escape(message)) as caught:
            read_volume(data, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * 2**20
    return caught.value


def interlaced(array, passes=7):
    """In the seven passes of Adam7, or some of them."""
    steps = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    raw = b"".join(rows(array[y::down, x::across]) for y, down, x, across in steps[:passes])
    data = bytearray(png(array.shape[1], array.shape[0], 8, 0, raw))
    data[28] = 1
    data[29:33] = struct.pack(">L", zlib.crc32(data[12:29]))
    return bytes(data)


DEEP = RGBA.astype(np.uint16) * 201
SINGLES = [
    ("PNG, grey", imagecodecs.png_encode(GREY), GREY, ()),
    ("PNG, grey and alpha", imagecodecs.png_encode(RGBA[..., :2].copy()), RGBA[..., :2], (ALPHA,)),
    ("PNG, colours", imagecodecs.png_encode(RGB), RGB, ()),
    ("PNG, colours and alpha", imagecodecs.png_encode(RGBA), RGBA, (ALPHA,)),
    ("PNG, 16 bits", imagecodecs.png_encode(GREY.astype(np.uint16) * 201), GREY.astype(np.uint16) * 201, ()),
    ("PNG, 16 bits, colours", imagecodecs.png_encode(RGB.astype(np.uint16) * 201), RGB.astype(np.uint16) * 201, ()),
    ("PNG, 16 bits, alpha", imagecodecs.png_encode(DEEP), DEEP, (ALPHA,)),
    ("PNG, interlaced", interlaced(GREY), GREY, ()),
    ("PNG, 1 bit", png(16, 4, 1, 0, rows(GREY[:4, :2])), np.unpackbits(GREY[:4, :2], axis=1).astype(bool), ()),
    (
        "PNG, 2 bits",
        png(8, 4, 2, 0, rows(GREY[:4, :2])),
        GREY[:4, :2].repeat(4, axis=1) >> np.tile([6, 4, 2, 0], 2).astype(np.uint8) & 3,
        (),
    ),
    (
        "PNG, 4 bits",
        png(4, 4, 4, 0, rows(GREY[:4, :2])),
        GREY[:4, :2].repeat(2, axis=1) >> np.tile([4, 0], 2).astype(np.uint8) & 15,
        (),
    ),
    ("BMP, colours", imagecodecs.bmp_encode(RGB), RGB, ()),
    ("BMP, grey", imagecodecs.bmp_encode(GREY), GREY, ()),
    ("WebP", imagecodecs.webp_encode(RGB, lossless=True), RGB, ()),
    ("WebP, alpha", imagecodecs.webp_encode(RGBA | 1, lossless=True), RGBA | 1, (ALPHA,)),
    ("JPEG, grey", imagecodecs.jpeg_encode(SMOOTH, level=100), None, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "expected", "notes"), [case[1:] for case in SINGLES], ids=[case[0] for case in SINGLES]
)
class TestSingle:
    def test_the_values(self, data, expected, notes):
        volume = read_volume(data)
        expected = imagecodecs.jpeg_decode(data) if expected is None else expected
        np.testing.assert_array_equal(volume.array, expected.reshape(1, *expected.shape[:2], -1).astype(np.float32))
        assert volume.dtype == expected.dtype.name
        assert volume.notes == (*notes, ONE_PLANE)

    def test_a_part_is_what_cropping_gives(self, data, expected, notes):
        box = ((0, 0), (1, 3), (2, 3))
        channel = inspect_volume(data)[0].sizes[3] - 1
        np.testing.assert_array_equal(
            read_volume(data, part=Part(box=box, channel=channel)).array,
            read_volume(data).array[:, 1:4, 2:4, channel:],
        )

    def test_inspection_decodes_nothing(self, data, expected, notes, monkeypatch):
        monkeypatch.setattr(reader, "_frames", None)
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
        (entry,) = inspect_volume(data)
        assert entry.sizes[:3] == (1, *(expected.shape[:2] if expected is not None else (20, 30)))


class TestColours:
    def test_a_palette_becomes_colours(self):
        palette = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
        data = png(30, 20, 8, 3, rows(GREY), (b"PLTE", palette.tobytes()))
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[0], palette[GREY])
        assert "C = - Y X RGB" in volume.source

    def test_a_grey_palette_becomes_one_channel(self):
        palette = np.tile(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 3)
        data = png(30, 20, 8, 3, rows(GREY), (b"PLTE", palette.tobytes()))
        np.testing.assert_array_equal(read_volume(data).array[0, ..., 0], 255 - GREY)

    @pytest.mark.parametrize("alpha", [bytes(range(256)), bytes([255] * 9 + [0])], ids=["of each", "of one"])
    def test_a_palette_with_alpha(self, alpha):
        palette = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
        data = png(30, 20, 8, 3, rows(GREY), (b"PLTE", palette.tobytes()), (b"tRNS", alpha))
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[0], palette[GREY])
        assert volume.notes == (NO_ALPHA, ONE_PLANE)

    def test_a_transparent_colour(self):
        data = png(30, 20, 8, 2, rows(RGB.reshape(20, 90)), (b"tRNS", bytes(6)))
        np.testing.assert_array_equal(read_volume(data).array[0], RGB)

    def test_bmp_palettes(self):
        palette = RNG.integers(0, 256, 768).astype(np.uint8)
        image = Image.fromarray(GREY).convert("P")
        image.putpalette(palette.tobytes())
        np.testing.assert_array_equal(read_volume(saved(image, "BMP")).array[0], palette.reshape(-1, 3)[GREY])
        bits = Image.fromarray(GREY > 99)
        np.testing.assert_array_equal(read_volume(saved(bits, "BMP")).array[0, ..., 0], (GREY > 99) * 255.0)

    def test_jpeg(self):
        array = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1)
        data = saved(array, "JPEG", quality=95)
        volume = read_volume(data)
        assert np.abs(volume.array[0] - imagecodecs.jpeg_decode(data)).max() <= 2
        assert np.abs(volume.array[0] - array).mean() < 4

    def test_cmyk_is_turned_and_said(self):
        data = saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=100)
        volume = read_volume(data)
        assert volume.notes == ("its CMYK colours are turned into RGB", ONE_PLANE)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(volume.array[0], np.asarray(image.convert("RGB")))

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_pictures_are_turned_upright(self, orientation, kind):
        image = Image.fromarray(np.add.outer(np.arange(16) * 9, np.arange(24) * 4).astype(np.uint8)).convert("RGB")
        exif = Image.Exif()
        exif[274] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        data = saved(image, kind, exif=exif, **options)
        with Image.open(io.BytesIO(data)) as stored:
            expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array[0], expected)
        said = f"turned upright, as its orientation tag ({orientation}) says"
        assert (said in volume.notes) == (orientation > 1)


class TestStacks:
    def test_files_are_planes_in_natural_order(self):
        planes = RNG.integers(0, 256, (12, 6, 7)).astype(np.uint8)
        files = {f"s{number}": imagecodecs.png_encode(plane) for number, plane in enumerate(planes, 1)}
        volume = read_volume(zipped(**files))
        np.testing.assert_array_equal(volume.array[..., 0], planes)
        assert volume.source == "PNG 's1.png to s12.png', uint8 (12, 6, 7) file Y X -> D H W = file Y X"
        assert volume.notes == ()
        listed = [(f"{name}.png", content) for name, content in reversed(files.items())]
        part = Part(box=((9, 10), (1, 2), (3, 5)))
        np.testing.assert_array_equal(read_volume(listed, part=part).array[..., 0], planes[9:11, 1:3, 3:6])

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
    def test_colours(self, kind):
        flat = np.zeros((3, 16, 16, 3), np.uint8) + np.array([40, 120, 200], np.uint8)[:, None, None, None]
        flat[..., 0] += 50
        options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
        files = [(f"{number}.x", saved(plane, kind, **options)) for number, plane in enumerate(flat)]
        volume = read_volume(files)
        assert volume.shape == (3, 16, 16, 3)
        assert np.abs(volume.array - flat).max() <= (2 if kind == "JPEG" else 0)

    def test_only_the_wanted_are_decoded(self, monkeypatch):
        seen = []
        real = reader._decoded

        def decoded(data, header, wanted):
            seen.append(len(data))
            return real(data, header, wanted)

        monkeypatch.setattr(reader, "_decoded", decoded)
        files = [(f"{n}.png", imagecodecs.png_encode(np.full((9, 9 * 9), n, np.uint8))) for n in range(9)]
        volume = read_volume(files, part=Part(box=((4, 5), (0, 8), (0, 80))))
        assert np.unique(volume.array).tolist() == [4, 5]
        assert len(seen) == 2

    @pytest.mark.parametrize(
        ("odd", "described"),
        [
            (imagecodecs.png_encode(GREY[:19]), "PNG uint8 (19, 30) Y X"),
            (imagecodecs.png_encode(RGB), "PNG uint8 (20, 30, 3) Y X RGB"),
            (imagecodecs.png_encode(GREY.astype(np.uint16)), "PNG uint16 (20, 30) Y X"),
            (imagecodecs.jpeg_encode(GREY), "JPEG uint8 (20, 30) Y X"),
        ],
        ids=["size", "colours", "bits", "kind"],
    )
    def test_the_odd_one_is_named(self, odd, described):
        files = [(f"{number}.png", imagecodecs.png_encode(GREY)) for number in range(4)] + [("9.png", odd)]
        message = f"file: '9.png' is {described}, and 4 of its 5 planes are PNG uint8 (20, 30) Y X; hand in planes of"
        refused(files, message)

    def test_a_damaged_one_is_named(self):
        whole = imagecodecs.png_encode(GREY)
        files = [(f"{number}.png", whole) for number in range(4)]
        refused([*files, ("9.png", whole[:20])], "file: '9.png': its PNG header is cut off")
        refused([*files, ("9.png", whole[:300])], "file: '9.png': its PNG data is damaged or cut off")

    def test_folders_stay_apart_and_gaps_are_said(self):
        planes = {f"a__{number}": imagecodecs.png_encode(GREY) for number in (1, 2, 4)}
        masks = {f"b__{number}": imagecodecs.png_encode(RGB) for number in (1, 2, 3)}
        first, second = inspect_volume(zipped(**planes, **masks))
        assert (first.sizes, second.sizes) == ((3, 20, 30, 1), (3, 20, 30, 3))
        assert first.notes == ("planes may be missing: the numbers in the names jump between 2.png and 4.png",)
        assert second.notes == ()

    def test_beside_a_volume_a_picture_is_not_meant(self):
        file = io.BytesIO()
        np.save(file, np.ones((3, 4, 5), np.uint8))
        assert read_volume([("a.npy", file.getvalue()), ("b.png", imagecodecs.png_encode(GREY))]).shape == (3, 4, 5, 1)

    @pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
    def test_wrapped(self, compress):
        np.testing.assert_array_equal(read_volume(compress(imagecodecs.png_encode(GREY))).array[0, ..., 0], GREY)


ANIMATIONS = [
    ("WebP", animated(FRAMES, "WEBP", lossless=True), FRAMES),
    ("PNG", animated(FRAMES, "PNG"), FRAMES),
    ("PNG with a picture in front", animated(FRAMES, "PNG", default_image=True), FRAMES[1:]),
    ("GIF, grey", imagecodecs.gif_encode(FRAMES[..., 0].copy()), FRAMES[..., :1]),
]


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in ANIMATIONS], ids=[case[0] for case in ANIMATIONS])
class TestAnimations:
    def test_the_frames(self, data, expected):
        volume = read_volume(data)
        np.testing.assert_array_equal(volume.array, expected)
        assert volume.notes == (f"an animation: D is time, {len(expected)} frames",)

    def test_some_frames(self, data, expected):
        part = Part(box=((2, 3), (4, 9), (0, 7)), channel=0)
        np.testing.assert_array_equal(read_volume(data, part=part).array, expected[2:4, 4:10, :8, :1])

    def test_inspection_decodes_nothing(self, data, expected, monkeypatch):
        monkeypatch.setattr(reader, "_frames", None)
        assert inspect_volume(data)[0].sizes == expected.shape

    def test_cut_off(self, data, expected):
        for part in (0.2, 0.5, 0.95):
            with pytest.raises(VolumeError, match="cut off"):
                read_volume(data[: int(len(data) * part)])


class TestGif:
    def colours(self, **options):
        frames = np.zeros((4, 20, 30, 3), np.uint8)
        for index in range(4):
            frames[index, index * 4 : index * 4 + 4, 5:20] = [200, 30 + index * 40, 90]
        images = [Image.fromarray(frame).quantize(16, dither=Image.Dither.NONE) for frame in frames]
        return frames, saved(images[0], "GIF", save_all=True, append_images=images[1:], **options)

    @pytest.mark.parametrize("disposal", [0, 1, 2, 3])
    def test_colours_as_imagecodecs_reads_them(self, disposal):
        frames, data = self.colours(disposal=disposal, optimize=False)
        volume = read_volume(data)
        assert volume.shape == frames.shape
        np.testing.assert_array_equal(volume.array[0], frames[0])
        if disposal < 2:
            np.testing.assert_array_equal(volume.array, frames)
        with Image.open(io.BytesIO(data)) as image:
            for index in range(4):
                image.seek(index)
                image.load()
                np.testing.assert_array_equal(volume.array[index], np.asarray(image.convert("RGB")))

    def test_a_palette_of_one_frame_only(self):
        """Grey but for the second frame, whose own palette has red in it."""
        colour = b"," + struct.pack("<4HB", 0, 0, 1, 1, 0x80) + bytes([255, 0, 0] * 2) + b"\x02\x02\x44\x01\x00"
        volume = read_volume(bare_gif(1)[:-1] + colour + b";")
        np.testing.assert_array_equal(volume.array[:, 0, 0], [[0, 0, 0], [255, 0, 0]])

    def test_each_end_of_the_file_is_missed(self):
        _, data = self.colours()
        refused(data[:-1], "it is cut off: its end mark is missing")


def bare_gif(frames, size=1, image=b"\x02\x02\x44\x01\x00"):
    """Frames of a pixel each, by hand."""
    screen = b"GIF89a" + struct.pack("<2H3B", size, size, 0x80, 0, 0) + bytes(6)
    return screen + (b"," + struct.pack("<4HB", 0, 0, 1, 1, 0) + image) * frames + b";"


def bare_jpeg(width, height, kind=0xC0, bits=8, samples=((0x11, 0),) * 3):
    components = b"".join(struct.pack(">3B", index, *each) for index, each in enumerate(samples))
    content = struct.pack(">BHHB", bits, height, width, len(samples)) + components
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff" + bytes([kind]) + struct.pack(">H", len(content) + 2) + content


def riff(*chunks):
    body = b"WEBP" + b"".join(
        name + struct.pack("<L", len(content)) + content + b"\0" * (len(content) & 1) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<L", len(body)) + body


def bare_webp(width, height):
    return riff((b"VP8X", bytes(4) + struct.pack("<L", width - 1)[:3] + struct.pack("<L", height - 1)[:3]))


def bare_bmp(width, height, bits=24, compression=0):
    info = struct.pack("<L2l2H2L2l2L", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<L2HL", 0, 0, 0, 54) + info


TEXT = (b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * 2**20)))
FAR_WIDE = 2**31 - 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(FAR_WIDE, FAR_WIDE, 8, 6, b""), "pixels are more than 64 x 2^20; crop or reduce it"),
        (png(8000, 8000, 8, 2, b""), "it is cut off: its header declares 186,054 bytes"),
        (png(0, 8, 8, 2, b""), "its PNG header declares 0 x 8 pixels"),
        (png(8, 8, 7, 2, b""), "its PNG header declares colours of type 2 with 7 bits"),
        (png(8, 8, 8, 5, b""), "its PNG header declares colours of type 5 with 8 bits"),
        (png(8, 8, 8, 0, bytes(9 * 7)), "it is cut off: its PNG data has fewer rows than its header declares"),
        (interlaced(GREY[:19], 6), "it is cut off: its PNG data has fewer rows than its header declares"),
        (png(8, 8, 8, 0, bytes(72), TEXT), "its PNG data is damaged or cut off (Decompressed data"),
        (png(8, 8, 8, 0, bytes(72), (b"acTL", struct.pack(">2L", 10**8, 0))), "its 100,000,000 frames of 8 x 8"),
        (png(8, 8, 8, 0, bytes(72), (b"acTL", struct.pack(">2L", 9000, 0))), "it is cut off: its header declares 449"),
        (png(8, 8, 8, 0, bytes(72), (b"acTL", bytes(8))), "its 0 frames of 8 x 8 pixels are too many"),
        (png(8, 8, 8, 0, bytes(72), (b"IHDR", struct.pack(">2L5B", 9, 9, 8, 0, 0, 0, 0))), "is not of the size that"),
        (bare_jpeg(23170, 23170), "its 23,170 x 23,170 pixels are more than 64 x 2^20"),
        (bare_jpeg(8000, 8000), "it is cut off: its header declares 375,000 bytes"),
        (bare_jpeg(8, 8, kind=0xC9), "a JPEG of process C9, 3 channels and 8 bits is not read here"),
        (bare_jpeg(8, 8, bits=12), "a JPEG of process C0, 3 channels and 12 bits is not read here"),
        (bare_jpeg(8, 8, samples=((0x10, 0),)), "its JPEG frame header is damaged"),
        (bare_jpeg(8, 8), "its JPEG data is damaged or cut off"),
        (b"\xff\xd8" + b"\xff" * 99, "its JPEG data has no frame header"),
        (imagecodecs.jpeg_encode(GREY) + b"\xff\xda" * 300, "its JPEG data has 301 scans"),
        (bare_gif(0), "it holds no picture"),
        (bare_gif(20_001), "it has more than 20,000 frames; save fewer"),
        (bare_gif(15_000, 1000), "its 15,000 frames of 1,000 x 1,000 pixels are too many"),
        (bare_gif(1, 0), "one of its frames lies outside of the picture"),
        (bare_gif(1).replace(b",", b"?"), "its GIF structure is damaged"),
        (bare_webp(16383, 16383), "its 16,383 x 16,383 pixels are more than 32 x 2^20"),
        (bare_webp(8, 8), "its WEBP data is damaged or cut off"),
        (riff((b"VP8 ", bytes(20))), "its WebP header is damaged"),
        (riff((b"VP8X", b"\x02" + bytes(9))), "it holds no picture"),
        (imagecodecs.webp_encode(RGB)[:-50], "its WEBP header is cut off"),
        (bare_bmp(8000, 8000), "it is cut off: its header declares 192,000,054 bytes and 54 are there"),
        (bare_bmp(8, 8, 8, 1), "a BMP of 8 bits with compression 1 is not read here; save it as PNG"),
        (bare_bmp(-8, 8), "its BMP header declares -8 x 8 pixels"),
        (imagecodecs.bmp_encode(RGB)[:-1], "it is cut off"),
    ],
    ids=[
        "PNG too large", "PNG larger than its bytes", "PNG of no width", "PNG of 7 bits", "PNG of colour type 5",
        "PNG with too few rows", "PNG with too few passes", "PNG with a text that explodes",
        "PNG of frames without end",
        "PNG of frames that are not there", "PNG of no frame", "PNG with two headers", "JPEG too large",
        "JPEG larger than its bytes", "JPEG with arithmetic coding", "JPEG of 12 bits", "JPEG sampled 0 times",
        "JPEG without data", "JPEG of fill bytes", "JPEG of scans without end", "GIF without a frame",
        "GIF of 20,001 frames", "GIF with a large canvas", "GIF with a frame outside", "GIF with an odd block",
        "WebP too large", "WebP without data", "WebP without a start code", "WebP without a frame", "WebP cut off",
        "BMP larger than its bytes", "BMP with runs", "BMP of negative width", "BMP cut off",
    ],
)  # fmt: skip
def test_hostile(data, message):
    refused(data, message)


def test_bytes_without_end_behind_a_picture(monkeypatch):
    monkeypatch.setattr(reader, "MOST_BESIDE", 1000)
    refused(imagecodecs.png_encode(GREY) + bytes(9000), "are far more than its pixels need")


@pytest.mark.parametrize("data", [bytes([1, 65]) * 5000, b"\xff" * 9000], ids=["GIF blocks", "JPEG fill bytes"])
def test_pieces_without_end(monkeypatch, data):
    monkeypatch.setattr("conv3d_core.volumes.formats.picture_headers.MAX_PIECES", 1000)
    monkeypatch.setattr("conv3d_core.volumes.formats.jpeg_headers.MAX_HEADER", 1000)
    head = bare_gif(0)[:-1] + b"!\xfe" if data[0] == 1 else b"\xff\xd8\xff"
    refused(head + data, "it is made of more than 1,000 pieces" if data[0] == 1 else "no frame header")


def test_fill_bytes_of_a_jpeg_are_not_followed_for_ever():
    class Endless:
        def read(self, size):
            return b"\xff" * size

    assert list(segments(Endless())) == []


def test_many_small_frames():
    data = bare_gif(3000)
    assert inspect_volume(data)[0].sizes == (3000, 1, 1, 1)
    assert read_volume(data).shape == (3000, 1, 1, 1)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_keep_both_bytes(channels):
    array = RNG.integers(0, 65536, (9, 8, channels)).astype(np.uint16)
    np.testing.assert_array_equal(read_volume(imagecodecs.png_encode(array)).array[0], array)
    colour = {2: 4, 3: 2, 4: 6}[channels]
    short = png(8, 9, 16, colour, rows(array[:7].reshape(7, -1).astype(">u2")))
    refused(short, "it is cut off: its PNG data has fewer rows than its header declares")
    frames = png(8, 9, 16, colour, rows(array.reshape(9, -1).astype(">u2")), (b"acTL", struct.pack(">2L", 2, 0)))
    refused(frames, "an animated PNG with 16 bits a colour is not read here; save its frames as files.")


def test_a_text_is_no_bmp():
    with pytest.raises(VolumeError, match="is not a volume format that is read here"):
        read_volume(b"BM is short for bitmap, and this is none of them at all")


SEEDS = [case[1] for case in SINGLES + ANIMATIONS] + [
    TestGif().colours()[1],
    saved(RGB, "JPEG", progressive=True),
    saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    png(30, 20, 8, 3, rows(GREY), (b"PLTE", bytes(range(256)) * 3), (b"tRNS", bytes(9))),
]


@settings(deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
    st.booleans(),
)
def test_damage_gives_a_volume_or_a_volume_error(seed, changes, kept, near):
    """Up to six bytes changed, of all or of the first 80, and perhaps the end cut off."""
    data = bytearray(seed)
    for place, value in changes:
        data[int(place * (min(len(data), 80) if near else len(data)))] = value
    if kept < 0.3:
        data = data[: int(len(data) * kept / 0.3)]
    try:
        (entry,) = inspect_volume(bytes(data))
        assert read_volume(bytes(data)).shape == entry.sizes
    except VolumeError:
        return
