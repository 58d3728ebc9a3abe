"""Photos: every kind that cameras and editors write is read, everything else ends in a clear error."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError, LimitError, UsageError


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def halves(width: int = 64, height: int = 48) -> Image.Image:
    """Red above, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] = 250
    pixels[height // 2 :, :, 2] = 250
    return Image.fromarray(pixels)


def oriented(orientation: int) -> bytes:
    """A file whose upright picture is `halves()`, stored as a camera held another way stores it."""
    undo = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = halves() if undo is None else halves().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(stored, "PNG", exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright_by_its_exif_orientation(orientation: int) -> None:
    photo = Photo.read(oriented(orientation))
    assert (photo.width_px, photo.height_px) == (64, 48)
    np.testing.assert_array_equal(photo.pixels, np.asarray(halves()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_each_allowed_format_is_read(kind: str) -> None:
    photo = Photo.read(encode(halves(), kind))
    assert photo.pixels.shape == (48, 64, 3)
    assert photo.pixels[4, 32, 0] > 200
    assert photo.pixels[4, 32, 2] < 60


@pytest.mark.parametrize("kind", ["GIF", "BMP", "PPM", "ICO"])
def test_other_formats_are_refused_by_name(kind: str) -> None:
    with pytest.raises(InputError, match="JPEG, PNG, WebP or TIFF"):
        Photo.read(encode(halves(), kind))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    photo = Photo.read(encode(halves().convert(mode), "TIFF" if mode in ("CMYK", "LA") else "PNG"))
    assert photo.pixels.shape == (48, 64, 3)
    assert photo.pixels.dtype == np.uint8


def test_cmyk_keeps_its_colours() -> None:
    photo = Photo.read(encode(halves().convert("CMYK"), "JPEG", quality=95))
    assert photo.pixels[4, 32, 0] > 200
    assert photo.pixels[44, 32, 2] > 200


def test_sixteen_bits_keep_their_range_instead_of_saturating() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    row = Photo.read(encode(Image.fromarray(ramp), "PNG")).pixels[0, :, 0].astype(int)
    assert row[0] == 0
    assert row[-1] == 255
    assert abs(row[32] - 129) <= 2


def test_what_is_transparent_becomes_grey_not_its_hidden_colour() -> None:
    picture = halves().convert("RGBA")
    picture.putalpha(0)
    assert (Photo.read(encode(picture, "PNG")).pixels == 128).all()


def test_a_palette_with_transparency_is_read() -> None:
    picture = halves().quantize(4)
    assert Photo.read(encode(picture, "PNG", transparency=0)).pixels.shape == (48, 64, 3)


def test_a_large_photo_is_decoded_smaller_and_keeps_its_frame() -> None:
    photo = Photo.read(encode(halves(4000, 3000)), long_px=1000)
    assert (photo.width_px, photo.height_px) == (4000, 3000)
    assert 1000 <= photo.pixels.shape[1] < 2000
    assert photo.check_point((2000.0, 1500.0)) == pytest.approx((photo.pixels.shape[1] / 2, photo.pixels.shape[0] / 2))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_never_decoded_at_full_size(monkeypatch: pytest.MonkeyPatch, orientation: int) -> None:
    decoded: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def seen(image: JpegImageFile) -> Any:
        loaded = load(image)
        decoded.append(image.size)
        return loaded

    monkeypatch.setattr(JpegImageFile, "load", seen)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for size, smaller in (((6400, 4800), (1600, 1200)), ((4000, 3000), (2000, 1500)), ((1600, 1200), (1600, 1200))):
        file = io.BytesIO()
        Image.new("RGB", size, (90, 120, 150)).save(file, "JPEG", exif=exif)
        decoded.clear()
        photo = Photo.read(file.getvalue())
        assert decoded and set(decoded) == {smaller}
        assert sorted(photo.pixels.shape[:2]) == sorted(smaller)
        assert sorted((photo.width_px, photo.height_px)) == sorted(size)


def test_a_point_is_checked_against_the_full_upright_size() -> None:
    photo = Photo.read(encode(halves(4000, 3000)), long_px=1000)
    photo.check_point((3999.0, 2999.0))
    for outside in ((4000.0, 10.0), (10.0, 3000.0), (-1.0, 10.0), (float("nan"), 10.0)):
        with pytest.raises(UsageError, match="4000 x 3000 px"):
            photo.check_point(outside)


def test_a_missing_file_a_folder_and_an_empty_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Photo.read(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="folder"):
        Photo.read(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match="empty"):
        Photo.read(tmp_path / "empty.jpg")


def test_text_called_jpg_is_no_image() -> None:
    with pytest.raises(InputError, match="not an image"):
        Photo.read(b"hello, world" * 100)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_file_cut_short_is_an_error_not_a_grey_picture(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    data = encode(noise, kind)
    for part in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(InputError):
            Photo.read(data[: int(len(data) * part)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_flipped_bytes_give_a_photo_or_an_input_error_nothing_else(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (27.0, 37.0, 1.0)
    data = encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)), kind, exif=exif)
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(data), 600), 3):
            damaged[at] = rng.integers(0, 256)
        with suppress(InputError, LimitError):
            Photo.read(bytes(damaged))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [8000, 13_000, 65_000])
def test_a_bomb_is_refused_from_its_header(side: int) -> None:
    with pytest.raises(LimitError, match="megapixels"):
        Photo.read(png_header(side, side))


def test_a_webp_bomb_is_refused_before_it_is_opened() -> None:
    side = 16_383
    canvas = struct.pack("<I", side - 1)[:3] * 2
    data = b"RIFF" + struct.pack("<I", 40) + b"WEBP" + b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas + b"\0" * 16
    with pytest.raises(LimitError, match="16383 x 16383"):
        Photo.read(data)


def test_the_limit_can_be_moved() -> None:
    data = encode(halves(100, 100))
    with pytest.raises(LimitError, match="100 x 100"):
        Photo.read(data, max_px=9999)
    assert Photo.read(data, max_px=10_000).width_px == 100


def test_pixels_of_another_shape_or_type_are_refused() -> None:
    with pytest.raises(InputError):
        Photo.from_pixels(np.zeros((4, 4), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(InputError):
        Photo.from_pixels(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


def test_threads_that_read_photos_leave_the_filters_of_warnings_as_they_were(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        photos = list(threads.map(Photo.read, [tmp_path / "photo.png"] * 64))
    assert len(photos) == 64
    assert list(warnings.filters) == before
