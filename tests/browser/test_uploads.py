"""A person's volumes: one file of each format, series, a part, an axis, a hostile one - and the app goes on."""

from __future__ import annotations

import bz2
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import mrcfile
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from safetensors.numpy import save_file

from conv3d_core.volumes.bundled import FOLDER
from tests.browser.conftest import Server
from tests.browser.driver import by_key, choose, ready, set_number, upload, viewer_plane, visit

STACK = np.random.default_rng(0).integers(0, 250, (6, 9, 7)).astype(np.uint8)
SERIES = FOLDER / "dicom_mr_brain_anon_20slices.zip"


def shown_shape(page: Page, *shape: int) -> None:
    expect(by_key(page, "header").locator(f"[aria-label='{(1, *shape)}']")).to_be_visible()


def facts(page: Page) -> str:
    """What the sidebar says was read."""
    expander = page.get_by_test_id("stExpander").filter(has_text="What was read")
    return expander.locator("[data-testid=stExpanderDetails]").text_content() or ""


def alerts(page: Page) -> list[str]:
    return [text.replace("\N{WORD JOINER}", "") for text in page.get_by_test_id("stAlert").all_inner_texts()]


def save_npy(folder: Path) -> list[Path]:
    np.save(folder / "a.npy", STACK)
    return [folder / "a.npy"]


def save_npz(folder: Path) -> list[Path]:
    np.savez_compressed(folder / "a.npz", stack=STACK)
    return [folder / "a.npz"]


def save_safetensors(folder: Path) -> list[Path]:
    save_file({"stack": STACK}, folder / "a.safetensors")
    return [folder / "a.safetensors"]


def save_nifti(folder: Path) -> list[Path]:
    nibabel.save(nibabel.Nifti1Image(STACK.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1])), folder / "a.nii.gz")
    return [folder / "a.nii.gz"]


def save_pair(folder: Path) -> list[Path]:
    nibabel.save(nibabel.Nifti1Pair(STACK.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1])), folder / "a.img")
    return [folder / "a.hdr", folder / "a.img"]


def save_tiff(folder: Path) -> list[Path]:
    tifffile.imwrite(folder / "a.tif", STACK, photometric="minisblack", compression="zlib")
    return [folder / "a.tif"]


def save_itk(ending: str) -> Callable[[Path], list[Path]]:
    def save(folder: Path) -> list[Path]:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(STACK), folder / f"a{ending}", useCompression=True)
        return [folder / f"a{ending}"]

    return save


def save_mrc(folder: Path) -> list[Path]:
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(STACK.astype(np.int16))
        file.set_volume()
    return [folder / "a.mrc"]


def save_pictures(folder: Path) -> list[Path]:
    paths = [folder / f"plane{number}.png" for number in range(8, 14)]  # 8, 9, 10: in natural order
    for path, plane in zip(paths, STACK, strict=True):
        Image.fromarray(plane).save(path)
    return paths


def save_zip_of_pictures(folder: Path) -> list[Path]:
    with zipfile.ZipFile(folder / "planes.zip", "w") as archive:
        for path in save_pictures(folder):
            archive.write(path, path.name)
    return [folder / "planes.zip"]


def save_gif(folder: Path) -> list[Path]:
    first, *others = (Image.fromarray(plane) for plane in STACK)
    first.save(folder / "a.gif", save_all=True, append_images=others)
    return [folder / "a.gif"]


SAVERS = {
    "NumPy .npy": save_npy,
    "NumPy .npy 'stack'": save_npz,
    "safetensors": save_safetensors,
    "NIfTI-1": save_nifti,
    "NIfTI-1 ": save_pair,
    "TIFF": save_tiff,
    "NRRD": save_itk(".nrrd"),
    "MetaImage": save_itk(".mha"),
    "MRC": save_mrc,
    "PNG": save_pictures,
    "PNG ": save_zip_of_pictures,
    "GIF": save_gif,
}


def test_one_file_of_each_format(page: Page, tmp_path: Path) -> None:
    visit(page, "/?volume=Impulse&weights=Identity&s=1")
    for number, (kind, save) in enumerate(SAVERS.items()):
        if number:
            choose(page, "Volume", "Impulse")
            shown_shape(page, 17, 17, 17, 1)
        folder = tmp_path / str(number)
        folder.mkdir()
        upload(page, *save(folder))
        assert alerts(page) == [], kind
        shown_shape(page, *STACK.shape, 1)
        assert kind.strip() in facts(page)
        np.testing.assert_array_equal(viewer_plane(page, "input", "D"), STACK[2], err_msg=kind)


def test_a_series_of_dicom_as_a_zip_and_as_files(page: Page, tmp_path: Path) -> None:
    with zipfile.ZipFile(SERIES) as archive:
        archive.extractall(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 20
    visit(page, "/?volume=Impulse")
    upload(page, SERIES)
    shown_shape(page, 20, 256, 256, 1)
    zipped = viewer_plane(page, "input", "D")
    assert "DICOM" in facts(page)
    expect(page.locator("section[data-testid=stSidebar]")).to_contain_text("7.001 × 0.8594 × 0.8594 mm")
    choose(page, "Volume", "Impulse")
    upload(page, *files)
    shown_shape(page, 20, 256, 256, 1)
    np.testing.assert_array_equal(viewer_plane(page, "input", "D"), zipped)
    expect(by_key(page, "volume").locator("input")).to_have_value(f"Upload: {files[0].name} and 19 more")
    upload(page, files[7])
    shown_shape(page, 1, 256, 256, 1)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must not run",))


def hostile() -> dict[str, bytes]:
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb()], dtype=object), allow_pickle=True)
    return {
        "pickled.npy": objects.getvalue(),
        "weights.pt": pickle.dumps(Bomb()),
        "points_out.mhd": b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"
        b"ElementDataFile = /etc/passwd\n",
        "cut.tif": (FOLDER / "micro_stardist_nuclei3d.tif").read_bytes()[:50_000],
        "<img src=x onerror=alert(1)>.npy": b"nothing",
    }


def test_hostile_files_are_explained_and_the_app_goes_on(page: Page, tmp_path: Path) -> None:
    visit(page, "/?volume=Ramp")
    for name, content in hostile().items():
        path = tmp_path / name
        path.write_bytes(content)
        upload(page, path)
        found = alerts(page)
        assert len(found) == 2, name
        assert found[0].startswith(("file:", "format:")), found
        shown_shape(page, 24, 24, 24, 1)
    assert page.locator("img[src=x]").count() == 0
    set_number(page, "kernel_size", 5)
    expect(by_key(page, "header").locator("code")).to_contain_text("kernel_size=5")
    # Taking the file away takes its message away.
    delete = page.get_by_test_id("stFileChipDeleteBtn").get_by_role("button")
    while delete.count():
        delete.first.click()
        ready(page)
    assert alerts(page) == []


def test_numbers_without_a_header_are_read_as_they_are_declared(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "numbers.raw"
    numbers = np.arange(8 * 16 * 16, dtype=">u2").reshape(8, 16, 16)
    path.write_bytes(b"skip" + numbers.tobytes())
    visit(page, "/?volume=Impulse")
    upload(page, path)
    page.get_by_text("Read it as numbers without a header").click()
    choose(page, "Type of a number", ">u2")
    set_number(page, "Bytes to skip", 4)
    field = page.get_by_role("textbox", name="D, H, W or D, H, W, C")
    field.fill("8, sixteen, 16")
    field.press("Enter")
    ready(page)
    page.get_by_role("button", name="Read it so").click()
    ready(page)
    assert "'8, sixteen, 16' is no shape" in alerts(page)[0]
    field.fill("8, 16, 16")
    field.press("Enter")
    ready(page)
    page.get_by_role("button", name="Read it so").click()
    ready(page)
    shown_shape(page, 8, 16, 16, 1)
    assert alerts(page) == []
    np.testing.assert_array_equal(viewer_plane(page, "input", "D"), numbers[2])


def test_a_wrong_axis_is_seen_and_mended(page: Page) -> None:
    visit(page, "/?volume=Brain, MRI, 2 mm")
    page.get_by_text("Axes, channels, crop, values").click()
    stamps = by_key(page, "stamps")
    expect(stamps.get_by_role("img")).to_have_count(6)
    before = np.array(viewer_plane(page, "input", "H"))
    stamps.get_by_role("button", name="HDW", exact=True).click()
    ready(page)
    shown_shape(page, 116, 94, 98, 1)
    np.testing.assert_array_equal(viewer_plane(page, "input", "D"), before)
    assert "axes=HDWC" in page.url
    expect(stamps.get_by_role("img", name="D, H, W = H, D, W as read")).to_be_visible()


def test_a_volume_is_picked_by_its_picture(page: Page) -> None:
    visit(page, "/?volume=Impulse")
    page.get_by_role("button", name="Gallery").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Gyroid").click()
    expect(dialog).to_have_count(0)
    ready(page)
    shown_shape(page, 48, 48, 48, 1)
    assert "volume=Gyroid" in page.url


def test_nan_is_counted_and_replaced_on_request(page: Page, tmp_path: Path) -> None:
    array = np.ones((5, 6, 7), np.float32)
    array[2, 2, 2] = np.nan
    np.save(tmp_path / "holes.npy", array)
    visit(page, "/?volume=Impulse")
    upload(page, tmp_path / "holes.npy")
    sidebar = page.locator("section[data-testid=stSidebar]")
    expect(sidebar).to_contain_text("1 NaN value")
    assert np.isnan(np.array(viewer_plane(page, "input", "D"), dtype=float)).sum() == 1
    page.get_by_text("Axes, channels, crop, values").click()
    by_key(page, "nonfinite").get_by_text("smallest").click()
    ready(page)
    expect(sidebar).to_contain_text("1 NaN value replaced by 1")
    assert np.array(viewer_plane(page, "input", "D")).tolist() == np.ones((6, 7)).tolist()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder on the server, with a volume that is larger than what can be taken."""
    shelf = tmp_path / "shelf"
    (shelf / "planes").mkdir(parents=True)
    large = np.lib.format.open_memmap(shelf / "large.npy", mode="w+", dtype="u1", shape=(600, 600, 600))
    large[300, 300, 300] = 200
    large.flush()
    for number, plane in enumerate(STACK):
        tifffile.imwrite(shelf / "planes" / f"{number}.tif", plane)
    return shelf


def test_a_folder_on_the_server_is_read_and_of_what_is_large_a_part(
    browser: Browser, tmp_path: Path, shelf: Path
) -> None:
    server = Server(tmp_path, CONV3D_DATA_DIR=str(shelf))
    try:
        server.wait_until_healthy()
        page = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900}).new_page()
        visit(page, "/?volume=Impulse")
        choose(page, "Or a file of the server's folder", "planes/")
        shown_shape(page, *STACK.shape, 1)
        choose(page, "Or a file of the server's folder", "large.npy")
        assert "600 x 600 x 600 voxels (uint8 (600, 600, 600)) need 824 MiB" in alerts(page)[0]
        shown_shape(page, *STACK.shape, 1)
        page.get_by_role("button", name="Read this part").click()
        ready(page, 90)
        assert alerts(page) == []
        shown_shape(page, 300, 300, 300, 1)
        assert "mean over 2^3 voxels" in facts(page)
        visit(page, "/?file=large.npy&volume=Ramp")
        assert "600 x 600 x 600" in alerts(page)[0], "a link names a file of the folder"
        visit(page, "/?file=../../etc/passwd&volume=Ramp")
        shown_shape(page, 24, 24, 24, 1)
        page.context.close()
    finally:
        server.stop()


def test_reading_is_watched_and_cancelled(page: Page, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2**15, (240, 240, 240)).astype(np.int16)
    path = tmp_path / "slow.nii.bz2"
    path.write_bytes(bz2.compress(nibabel.Nifti1Image(noise, np.eye(4)).to_bytes(), 1))
    visit(page, "/?volume=Impulse")
    page.locator("[data-testid=stFileUploader] input[type=file]").set_input_files(path)
    by_key(page, "cancel_reading").locator("button").dispatch_event("click")
    ready(page)
    expect(page.get_by_text("Reading was cancelled.")).to_be_visible()
    shown_shape(page, 17, 17, 17, 1)
    page.get_by_role("button", name="Read it", exact=True).click()
    ready(page, 60)
    shown_shape(page, 240, 240, 240, 1)
