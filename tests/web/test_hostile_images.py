"""Pictures made to do harm: each is refused in time, the service's memory stays what it was, and others are answered."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from crossgeo.web.served import Indexes
from crossgeo.web.settings import Settings

SIDE = 13_000  # pixels: 169 megapixels, half a megabyte as PNG


@pytest.fixture
def service(indexes: Indexes, tmp_path: Path, serving: Any) -> Iterator[Any]:
    with serving(indexes, Settings(tmp_path / "jobs")) as running:
        yield running


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    """A grey PNG of any claim."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(form: str, **how: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(5).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, form, **how)
    return file.getvalue()


def bombs() -> dict[str, bytes]:
    """Pictures by what is wrong with them."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * (SIDE + 1)) for _ in range(SIDE)) + packer.flush()
    jpeg = bytearray(saved("JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    tiff = bytearray(saved("TIFF"))
    text = PngImagePlugin.PngInfo()
    text.add_text("much", "x" * 30_000_000, zip=True)
    webp = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), (80 * n, 0, 200 - 80 * n)) for n in range(3)]
    frames[0].save(webp, "WEBP", save_all=True, append_images=frames[1:])
    animated = bytearray(webp.getvalue())
    assert animated[12:16] == b"VP8X"
    animated[24:30] = b"\xfe\x3f\0\xfe\x3f\0"  # a canvas of 16,383 x 16,383
    width = tiff.index(b"\x00\x01\x03\x00") if b"\x00\x01\x03\x00" in tiff else tiff.index(b"\x00\x01\x04\x00")
    tiff[width + 8 : width + 12] = struct.pack("<I", 60_000)
    tiff[width + 20 : width + 24] = struct.pack("<I", 60_000)
    return {
        "a small file of many pixels": png(SIDE, SIDE, rows),
        "a JPEG of 65,500 x 65,500": bytes(jpeg),
        "a TIFF of 60,000 x 60,000": bytes(tiff),
        "an animated WebP": bytes(animated),
        "text that swells": saved("PNG", pnginfo=text),
        "rows that never end": png(4000, 4000, zlib.compress(b"\0" * 40_000_000, 9)[:-200]),
        "a profile of rubbish": saved("JPEG", icc_profile=os.urandom(500_000)),
        "a GIF": saved("GIF"),
        "an EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n(/etc/passwd) run\n",
        "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "a VRT": b"<VRTDataset rasterXSize='20' rasterYSize='20'><VRTRasterBand/></VRTDataset>",
    }


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_bombs_are_refused_and_cost_the_service_nothing(service: Any, photo_file: bytes) -> None:
    made = bombs()
    assert len(made["a small file of many pixels"]) < 600_000
    before = resident_bytes()
    said = {}
    for what, file in made.items():
        answer = service.post("/v1/locate", files={"photo": ("a.jpg", file)}, data={"point": "99999,1"})
        said[what] = answer.json()["code"]
    large = ("a small file of many pixels", "a JPEG of 65,500 x 65,500", "a TIFF of 60,000 x 60,000", "an animated WebP")
    assert {said[what] for what in large} == {"limit"}, said
    assert said["a profile of rubbish"] == "usage", "the picture is whole, only the point lies outside"
    assert set(said.values()) <= {"limit", "input", "usage"}, said
    assert {said[what] for what in ("a GIF", "an EPS", "an SVG", "a VRT")} == {"input"}
    assert resident_bytes() - before < 150_000_000
    fine = service.post("/v1/locate", files={"photo": ("a.png", photo_file)}, data={"heading_deg": "0", "height_m": "50"})
    assert fine.status_code == 200


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_damaged_pictures_are_refused_or_read_and_never_a_failure_of_the_service(service: Any, form: str) -> None:
    whole, rng = saved(form), np.random.default_rng(7)
    for trial in range(12):
        if trial % 2:
            file = whole[: int(rng.integers(1, len(whole)))]
        else:
            bits = np.unpackbits(np.frombuffer(whole, np.uint8))
            bits[rng.integers(0, len(bits), 4)] ^= 1
            file = np.packbits(bits).tobytes()
        answer = service.post("/v1/locate", files={"photo": ("a", file)}, data={"point": "99999,1"})
        assert answer.json()["code"] in ("input", "limit", "usage")
    assert service.get("/readyz").status_code == 200
