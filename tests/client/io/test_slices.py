from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from tumorctl.errors import InvalidInput, UnreadableImage, UnsupportedImage
from tumorctl.io.slices import read_mask, read_slice


@pytest.fixture
def rgb() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_three_channels_come_back_as_they_are(tmp_path: Path, rgb: npt.NDArray[np.uint8], suffix: str) -> None:
    path = tmp_path / f"Schädel ß 脳{suffix}"
    Image.fromarray(rgb).save(path)
    assert np.array_equal(read_slice(path), rgb)


def test_compressed_tiff_is_read(tmp_path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(read_slice(tmp_path / "a.tif"), rgb)


def test_jpeg_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (10, 200, 30)).save(tmp_path / "a.jpg")
    read = read_slice(tmp_path / "a.jpg")
    assert read.shape == (48, 64, 3)
    assert np.abs(read.astype(int) - (10, 200, 30)).max() < 6


def test_one_channel_is_used_three_times(tmp_path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    Image.fromarray(rgb[:, :, 0]).save(tmp_path / "a.png")
    assert np.array_equal(read_slice(tmp_path / "a.png"), np.repeat(rgb[:, :, :1], 3, axis=2))


def test_the_content_decides_not_the_suffix(tmp_path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.tif", format="PNG")
    assert np.array_equal(read_slice(tmp_path / "a.tif"), rgb)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    with pytest.raises(UnreadableImage, match="0 bytes"):
        read_slice(tmp_path / "a.tif")


def test_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("not an image")
    with pytest.raises(UnreadableImage, match="not a TIFF, PNG or JPEG"):
        read_slice(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_truncated_file(tmp_path: Path, rgb: npt.NDArray[np.uint8], suffix: str, part: float) -> None:
    whole = tmp_path / f"whole{suffix}"
    Image.fromarray(rgb).save(whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UnreadableImage):
        read_slice(cut)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        read_slice(tmp_path / "absent.png")


def test_sixteen_bit_grey(tmp_path: Path) -> None:
    for suffix in (".tif", ".png"):
        Image.fromarray(np.zeros((40, 40), np.uint16)).save(tmp_path / f"a{suffix}")
        with pytest.raises(UnsupportedImage, match="more than 8 bits"):
            read_slice(tmp_path / f"a{suffix}")


def test_sixteen_bit_colour_is_not_quietly_cut_to_eight(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + b"\x12\x34" * 3 * 40 for _ in range(40))
    header = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(UnsupportedImage, match="more than 8 bits"):
        read_slice(tmp_path / "a.png")


def test_floating_point(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnsupportedImage, match="more than 8 bits"):
        read_slice(tmp_path / "a.tif")


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("CMYK", 4), ("LA", 2)])
def test_other_numbers_of_channels(tmp_path: Path, mode: str, channels: int) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (40, 40)).save(path)
    with pytest.raises(UnsupportedImage, match=f"{channels} channels"):
        read_slice(path)


def test_several_pages(tmp_path: Path) -> None:
    page = Image.new("L", (40, 40))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(UnsupportedImage, match="several pages"):
        read_slice(tmp_path / "a.tif")


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    with pytest.raises(UnsupportedImage, match="too small"):
        read_slice(tmp_path / "a.png")


@pytest.mark.parametrize("side", [5000, 20_000])
def test_huge_image_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    # Only the header is there: had the pixels been asked for, the answer would be "truncated".
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    png += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(UnsupportedImage, match="too large"):
        read_slice(tmp_path / "a.png")


def test_mask_is_true_where_any_channel_is_above_zero(tmp_path: Path) -> None:
    levels = np.zeros((40, 40), np.uint8)
    levels[3, 5] = 1
    Image.fromarray(levels).save(tmp_path / "a_mask.tif")
    assert np.array_equal(read_mask(tmp_path / "a_mask.tif"), levels > 0)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(damage=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=20))
def test_damage_anywhere_gives_a_typed_error_or_a_slice(
    tmp_path: Path, rgb: npt.NDArray[np.uint8], damage: list[tuple[int, int]]
) -> None:
    for suffix in (".tif", ".png"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(rgb).save(path)
        content = bytearray(path.read_bytes())
        for position, value in damage:
            content[position % len(content)] = value
        path.write_bytes(content)
        try:
            read = read_slice(path)
        except InvalidInput:
            continue
        assert read.dtype == np.uint8
        assert read.shape[2] == 3


def test_signed_samples_are_not_taken_for_unsigned_ones(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[339] = 2
    Image.new("L", (40, 40), 200).save(tmp_path / "a.tif", tiffinfo=tags)
    with pytest.raises(UnsupportedImage, match="signed"):
        read_slice(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_slice_is_turned_as_the_file_says(tmp_path: Path, suffix: str) -> None:
    image = Image.new("L", (48, 40))
    image.paste(255, (0, 0, 24, 40))
    exif = Image.Exif()
    exif[274] = 6  # shown turned to the right by a quarter
    image.save(tmp_path / f"a{suffix}", exif=exif)
    read = read_slice(tmp_path / f"a{suffix}")
    assert read.shape == (48, 40, 3)
    assert read[:20].min() > 200
    assert read[-20:].max() < 50


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_is_turned_as_it_says_or_refused(tmp_path: Path, orientation: int, compression: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.tif", exif=exif, compression=compression)
    shown = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    if orientation in shown:
        assert np.array_equal(read_slice(tmp_path / "a.tif")[..., 0], shown[orientation])
    else:
        with pytest.raises(UnsupportedImage, match="on its side"):
            read_slice(tmp_path / "a.tif")
