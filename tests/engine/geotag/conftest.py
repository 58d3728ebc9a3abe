"""Photos with all the metadata that cameras and programs leave, and ExifTool as the judge of what becomes of it."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

Tool = Callable[..., dict[str, Any]]
MAKER_NOTE = b"MAKER\0\x01\x02" + bytes(range(256)) * 3
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="uuid:7" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmlns:dc="http://purl.org/dc/elements/1.1/">
  <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Straße &amp; Wörter > 1</rdf:li></rdf:Alt></dc:title>%s
 </rdf:Description>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def picture(side: int = 96) -> Image.Image:
    rng = np.random.default_rng(5)
    return Image.fromarray(rng.integers(0, 255, (side, side + 32, 3), np.uint8))


def thumbnail() -> bytes:
    stream = io.BytesIO()
    picture(32).save(stream, "JPEG", quality=60)
    return stream.getvalue()


@pytest.fixture(scope="session")
def exiftool(exiftool_path: str) -> Tool:
    """Return a function that reads a file's tags by group, JSON as ExifTool prints it."""

    def read(path: Path, *options: str) -> dict[str, Any]:
        command = [exiftool_path, "-j", "-G1", "-n", "-a", "-all", *options, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        tags: dict[str, Any] = json.loads(done.stdout)[0]
        return tags

    return read


@pytest.fixture(scope="session")
def warnings_of(exiftool_path: str) -> Callable[[Path], set[str]]:
    """Return a function that gives all that ExifTool finds wrong with a file."""

    def read(path: Path) -> set[str]:
        command = [exiftool_path, "-validate", "-warning", "-error", "-a", "-s3", str(path)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout.splitlines()
        return set(lines[1:]) - {"[minor] Unknown APP15 'crossgeo undo 1' segment"}

    return read


@pytest.fixture
def rich(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a JPEG with EXIF, maker note, thumbnail, XMP, ICC, IPTC and a comment, in either byte order."""

    def make(
        name: str = "rich.jpg", big_endian: bool = False, gps: dict[int, Any] | None = None, xmp: str | None = "", **more: Any
    ) -> Path:
        exif = Image.Exif()
        exif.endian = ">" if big_endian else "<"
        exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0132] = "Maker", "Model 1", 6, "2026:05:01 12:00:00"
        exif.get_ifd(0x8769).update({0x9003: "2026:05:01 12:00:00", 0x920A: 4.5, 0x927C: MAKER_NOTE, 0xA405: 26})
        if gps:
            exif.get_ifd(0x8825).update(gps)
        stream = io.BytesIO()
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        packet = {} if xmp is None else {"xmp": (XMP % xmp).encode()}
        picture().save(stream, "JPEG", exif=exif, icc_profile=profile, comment=b"a comment", quality=92, **packet, **more)
        path = tmp_path / name
        path.write_bytes(stream.getvalue())
        return path

    return make


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Return a function that makes an answer's JSON."""

    def make(**over: Any) -> dict[str, Any]:
        place = {
            "lat": 27.6351234, "lon": 85.5209876, "radius_m": 2.54, "heading_deg": 123.4, "camera": {"lat": 27.6351234, "lon": 85.5209876},
            "score": 0.7123, "tile": 17, "source": "a.tif", "vintage": None,
        }  # fmt: skip
        place |= {key: over.pop(key) for key in list(over) if key in place}
        index = {"generation": 3, "model": "egotr-s-street"}
        return {
            "photo": "p.jpg",
            "status": "located",
            "places": [place],
            "object": None,
            "notes": [],
            "index": index,
            "timings_ms": {},
            **over,
        }

    return make
