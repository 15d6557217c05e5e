"""What inflates for us gives and refuses what Python's own zlib and gzip do; a stream's refusals word for word."""

import gzip
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.volumes import inflate

CONTENT = st.binary(max_size=300) | st.builds(
    lambda pattern, times: pattern * times, st.binary(min_size=1, max_size=40), st.integers(0, 3000)
)
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["flip", "set", "drop", "cut", "add"]), st.integers(0, 255)), max_size=3
)
WBITS = (15, 31, -15)


def packed(content, level, wbits):
    press = zlib.compressobj(level, wbits=wbits)
    return press.compress(content) + press.flush()


def damaged(data, changes):
    result = bytearray(data)
    for share, how, value in changes:
        at = int(share * (len(result) - 1)) if result else 0
        match how:
            case "flip":
                result[at : at + 1] = bytes(byte ^ (1 << value % 8) for byte in result[at : at + 1])
            case "set":
                result[at : at + 1] = bytes([value])
            case "drop":
                del result[at : at + 1 + value % 8]
            case "cut":
                del result[at:]
            case "add":
                result[at:at] = bytes([value]) * (1 + value % 8)
    return bytes(result)


def inflated(decompressobj, data, wbits, piece, most):
    """As a reader inflates: so much in, at most so much out, and how it ends."""
    stream, result, left, source = decompressobj(wbits=wbits), b"", b"", io.BytesIO(data)
    try:
        while not stream.eof:
            found = stream.decompress(left, most)
            assert len(found) <= most
            result, left = result + found, stream.unconsumed_tail
            if not found and not left and not stream.eof:
                left = source.read(piece)
                if not left:
                    return result, "cut off"
    except (zlib.error, inflate.InflateError) as error:
        return result, str(error)
    return result, stream.unused_data


@given(
    CONTENT,
    st.sampled_from([0, 1, 6, 9]),
    st.sampled_from(WBITS),
    st.booleans(),
    CHANGES,
    st.sampled_from([1, 7, 64, 65536]),
    st.sampled_from([3, 300, 65536]),
)
def test_streams(content, level, wbits, told, changes, piece, most):
    data = damaged(packed(content, level, wbits), changes)
    wbits = 47 if wbits > 0 and not told else wbits
    theirs = inflated(zlib.decompressobj, data, wbits, piece, most)
    assert inflated(inflate.decompressobj, data, wbits, piece, most) == theirs


def read(kind, data):
    try:
        return kind(fileobj=io.BytesIO(data), mode="rb").read()
    except (zlib.error, inflate.InflateError, EOFError, OSError) as error:
        return "a wrong head" if "gzip header" in str(error) else "damaged"


@given(st.lists(CONTENT, min_size=1, max_size=3), st.integers(0, 9), CHANGES)
def test_files(contents, padding, changes):
    data = damaged(b"".join(gzip.compress(each, 1, mtime=0) + bytes(padding) for each in contents), changes)
    # The checksum of a head, where it has one, is compared by ours alone.
    assert read(inflate.GzipFile, data) in (read(gzip.GzipFile, data), "a wrong head")


@pytest.mark.parametrize("flags", range(32))
def test_heads(flags):
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    head += struct.pack("<H3s", 3, b"abc") if flags & 4 else b""
    head += b"name\0" if flags & 8 else b""
    head += b"comment\0" if flags & 16 else b""
    checksum = struct.pack("<H", zlib.crc32(head) & 0xFFFF) if flags & 2 else b""
    data = packed(b"content", 6, -15) + struct.pack("<LL", zlib.crc32(b"content"), 7)
    assert read(inflate.GzipFile, head + checksum + data) == b"content"
    if checksum:
        assert read(inflate.GzipFile, head + b"??" + data) == "a wrong head"
