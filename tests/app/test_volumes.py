"""What a person hands in: read once, chosen from, read in part, declared, prepared - through AppTest."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conv3d_core.volumes import BUNDLED, isolated, made_to_size
from tests.app.driver import IMPULSE, MADE, RAMP, VOLUMES, OpenExplorer

STACK = np.arange(6 * 9 * 7, dtype="<u2").reshape(6, 9, 7)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is read, one entry a reading."""
    from pages._ui import reading

    found: list[str] = []

    def read(given: Any, name: str, *rest: Any) -> isolated.Outcome:
        found.append(name)
        return isolated.read(given, name, *rest)

    monkeypatch.setattr(reading, "read", read)
    return found


def test_a_file_is_read_once(open_explorer: OpenExplorer, readings: list[str]) -> None:
    page = open_explorer(volume=IMPULSE)
    page.upload("a.npy", npy(STACK))
    page.set(k=5)
    page.set(volume=IMPULSE)
    page.set(volume="Upload: a.npy")
    assert readings == ["a.npy"]
    page.upload("b.npy", b"nothing")
    page.set(k=3)
    assert readings == ["a.npy", "b.npy"]


def test_files_that_arrive_together_are_one_volume(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE)
    planes = [STACK[n].astype(np.uint8) for n in range(6)]
    # In the order of their names' numbers, not of their arrival.
    files = [(f"p{n}.png", png(planes[n]), "image/png") for n in (5, 0, 3, 1, 2, 4)]
    page.app.file_uploader(key="upload").set_value(files)
    page.run()
    assert page.value("volume") == "Upload: p5.png and 5 more"
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], planes)


def test_a_part_of_what_is_too_large(
    open_explorer: OpenExplorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.lib.format.open_memmap(tmp_path / "large.npy", mode="w+", dtype="u1", shape=(4, 6000, 6000))
    large[1, 17, 18] = 200
    large.flush()
    monkeypatch.setenv("CONV3D_DATA_DIR", str(tmp_path))
    page = open_explorer(volume=RAMP)
    page.set(file="large.npy")
    assert page.errors[0] == page.errors[1]
    (message,) = page.errors[0]
    assert message.startswith("size: 4 x 6000 x 6000 voxels (uint8 (4, 6000, 6000)) need 549 MiB as float32")
    assert page.value("volume") == RAMP
    assert "All of it: 4 × 6000 × 6000 × 1, 549.32 MiB as float32, at most 512.00 MiB can be taken." in page.words
    for letter, span in (("D", (1, 2)), ("H", (10, 25)), ("W", (10, 21))):
        (slider,) = (s for s in page.app.slider if s.label == f"{letter}, first to last")
        slider.set_value(span)
    (factor,) = (n for n in page.app.number_input if n.label.startswith("Mean over"))
    assert factor.value == 2
    factor.set_value(1)
    page.run()
    assert "This part: 2 × 16 × 12 × 1, 1.50 KiB." in page.words
    page.press("Read this part")
    assert page.errors == ([], [])
    assert page.value("volume") == "Folder: large.npy"
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], large[1:3, 10:26, 10:22])


def test_a_link_names_a_file_of_the_folder(
    open_explorer: OpenExplorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", STACK)
    monkeypatch.setenv("CONV3D_DATA_DIR", str(tmp_path))
    page = open_explorer(volume="Folder: a.npy", file="a.npy")
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK)


def test_without_a_folder_there_is_none_to_choose_from(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONV3D_DATA_DIR", raising=False)
    page = open_explorer(volume=RAMP, file="../../etc/passwd")
    assert not page.has("file")
    assert page.shapes[0] == (1, 24, 24, 24, 1)


def test_numbers_without_a_header(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    page.upload("a.raw", b"\xff" * 3 + STACK.tobytes())
    assert "is not a volume format that is read here" in page.errors[0][0]
    page.choose("Type of a number", "<u2")
    (offset,) = (n for n in page.app.number_input if n.label == "Bytes to skip")
    offset.set_value(3)
    page.run()
    (shape,) = (t for t in page.app.text_input if t.label.startswith("D, H, W"))
    for text, message in (("6, 9", "raw: "), ("6, 9, seven", "is no shape"), ("60, 9, 7", "raw: ")):
        shape.set_value(text)
        page.run()
        page.press("Read it so")
        assert message in page.errors[0][0]
        (shape,) = (t for t in page.app.text_input if t.label.startswith("D, H, W"))
    shape.set_value("6 x 9 x 7")
    page.run()
    page.press("Read it so")
    assert page.errors == ([], [])
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK)


def test_values_that_are_not_finite_are_counted_and_replaced_on_request(open_explorer: OpenExplorer) -> None:
    array = np.array([[[1, np.nan], [np.inf, 3]]] * 3, np.float32)
    page = open_explorer(volume=RAMP)
    assert not page.has("nonfinite"), "all is finite"
    page.upload("holes.npy", npy(array))
    assert "3 NaN values" in page.words
    assert np.isnan(page.array("input.npy")).sum() == 3
    for how, value in (("0", 0), ("mean", 2), ("min", 1)):
        page.set(nonfinite=how)
        expected = np.where(np.isfinite(array), array, np.float32(value))
        np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], expected)
        assert f"3 NaN values replaced by {value}" in page.words


def test_axes_are_mapped_by_their_pictures(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    page.upload("a.npy", npy(STACK))
    stamps = page.app.sidebar.image
    assert len(stamps) == 6
    assert len({stamp.proto.imgs[0].url for stamp in stamps}) == 6
    page.app.button(key="axes_WDHC").click()
    page.run()
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK.transpose(2, 0, 1))
    page.set(axes="DHCW")
    page.app.button(key="axes_HDCW").click()
    page.run()
    assert page.shapes[0] == (1, 9, 6, 1, 7), "C stays what it is"


def test_the_gallery_has_a_picture_of_each(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    page.app.button(key="gallery").click().run()
    for sample in BUNDLED.values():
        assert sample.title in page.buttons
    page.app.button(key="take_gyroid").click()
    page.run()
    assert page.shapes[0] == (1, 48, 48, 48, 1)


def test_one_of_two_series(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    page.app.file_uploader(key="upload").set_value(
        [("a.npy", npy(STACK), "x"), ("mri.nii.gz", (VOLUMES / "mri_nibabel_example4d.nii.gz").read_bytes(), "x")]
    )
    page.run()
    assert "member: 2 of its 2 arrays could be the volume" in page.errors[0][0]
    page.choose("Which of its 2", "mri.nii.gz")
    assert page.errors == ([], [])
    assert page.shapes[0] == (1, 24, 96, 128, 2)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONV3D_DATA_DIR", str(tmp_path))
    return tmp_path


def test_a_part_is_of_the_array_it_was_asked_for(open_explorer: OpenExplorer, shelf: Path) -> None:
    np.savez(shelf / "two.npz", large=np.zeros((5, 2000, 2000), np.uint8), small=STACK)
    page = open_explorer(volume=RAMP)
    page.set(file="two.npz")
    page.choose("Which of its 2", "large")
    (slider,) = (s for s in page.app.slider if s.label == "H, first to last")
    slider.set_value((1000, 1009))
    page.run()
    page.press("Read this part")
    assert page.shapes[0] == (1, 5, 10, 2000, 1)
    page.choose("Which of its 2", "small")
    assert page.errors == ([], [])
    assert page.shapes[0] == (1, *STACK.shape, 1)


def test_a_layout_that_was_wrong_can_be_mended(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    page.upload("a.raw", STACK.tobytes())
    for text, shape in (("9, 6, 7", (9, 6, 7)), ("6, 9, 7", (6, 9, 7))):
        (field,) = (t for t in page.app.text_input if t.label.startswith("D, H, W"))
        field.set_value(text)
        page.run()
        page.press("Read it so")
        assert page.errors == ([], [])
        assert page.shapes[0] == (1, *shape, 1)


def test_a_file_of_the_folder_is_read_anew_when_it_is_chosen_anew(open_explorer: OpenExplorer, shelf: Path) -> None:
    (shelf / "a.npy").write_bytes(npy(STACK)[:-1])
    page = open_explorer(volume=RAMP)
    page.set(file="a.npy")
    assert "it is cut off" in page.errors[0][0]
    page.set(file=None)
    assert page.errors == ([], [])
    (shelf / "a.npy").write_bytes(npy(STACK))
    page.set(file="a.npy")
    assert page.errors == ([], [])
    assert page.shapes[0] == (1, *STACK.shape, 1)


def test_a_header_may_say_any_spacing(open_explorer: OpenExplorer) -> None:
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 3 3\nspacings: 1e-200 1e200 1\nencoding: raw\n\n"
    page = open_explorer(volume=RAMP)
    page.upload("a.nrrd", header + bytes(27))
    assert page.shapes[0] == (1, 3, 3, 3, 1)


def test_a_volume_is_made_to_the_size_of_a_link(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=MADE, made="8,16,24,2")
    assert page.errors == ([], [])
    assert page.warnings == []
    assert page.shapes == [(1, 8, 16, 24, 2), (1, 4, 8, 12, 8)]
    assert page.call.startswith("nn.Conv3d(2, 8,"), "in_channels follows the volume"
    np.testing.assert_array_equal(page.array("input.npy")[0], made_to_size((8, 16, 24, 2)).array)
    assert page.drawn


def test_a_size_is_typed(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    assert not page.has("made")
    page.set(volume=MADE)
    assert page.shapes[0] == (1, 16, 32, 32, 1), "a size that runs at once"
    page.set(made="5x6x7")
    assert page.shapes[0] == (1, 5, 6, 7, 1)
    assert page.errors == ([], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "brain",
            "size: 'brain' cannot be read as three or four integers; use D, H, W and channels, as in 16, 32, 32, 1.",
        ),
        ("8, 0, 8", "height: 0 is below 1; use an integer from 1 to 16,384."),
        (
            "512, 512, 512",
            "size: 512 x 512 x 512 x 1 are 512.00 MiB as float32; use at most 64.00 MiB, as in 256, 256, 256, 1.",
        ),
    ],
)
def test_what_is_no_size_is_refused_at_its_control(open_explorer: OpenExplorer, text: str, message: str) -> None:
    page = open_explorer(volume=MADE, made=text)
    assert page.errors == ([message], [message])
    assert page.beside == ["made"]
    assert page.shapes == []
    page.set(made="8, 8, 8", k=5)
    assert page.errors == ([], [])
    assert page.shapes[0] == (1, 8, 8, 8, 1)
    assert "kernel_size=5" in page.call


def test_what_was_cut_out_of_one_size_is_not_applied_to_the_next(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=MADE, made="8, 16, 24, 2", crop=True, cd=(3, 5), axes="HDWC", c="1")
    assert page.shapes[0] == (1, 3, 8, 24, 1)
    page.set(k=5)
    assert page.shapes[0] == (1, 3, 8, 24, 1)
    page.set(made="9, 16, 24, 2")
    assert page.shapes[0] == (1, 9, 16, 24, 2)
