"""World files: six lines beside a plain image that place it (ESRI), and the CRS that a .prj beside it names."""

from __future__ import annotations

from pathlib import Path

from affine import Affine
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError

_SUFFIXES = {
    ".jpg": (".jgw", ".jpgw"),
    ".jpeg": (".jgw", ".jpgw", ".jpegw"),
    ".png": (".pgw", ".pngw"),
    ".tif": (".tfw", ".tifw"),
    ".tiff": (".tfw", ".tifw", ".tiffw"),
}


def find_world_file(image: Path) -> Path | None:
    """Return the world file beside an image, None where there is none."""
    beside = {p.name.lower(): p for p in image.parent.iterdir() if p.stem == image.stem and p != image}
    for suffix in (*_SUFFIXES.get(image.suffix.lower(), ()), ".wld"):
        found = beside.get((image.stem + suffix).lower())
        if found is not None:
            return found
    return None


def read_world_file(path: Path) -> Affine:
    """Return the affine from (col, row) pixel edges to x, y; raise InputError for anything but six numbers that place an image."""
    try:
        a, d, b, e, x, y = (float(line.replace(",", ".")) for line in path.read_text("ascii").split())
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a world file ({error}); it holds six numbers, one a line") from error
    affine = Affine(a, b, x, d, e, y) * Affine.translation(-0.5, -0.5)  # the file names the centre of the first pixel
    if affine.determinant == 0.0 or affine.determinant != affine.determinant:
        raise InputError(f"{path} gives pixels no size; write it again with the program that made the image")
    return affine


def read_prj(image: Path) -> CRS | None:
    """Return the CRS of the .prj beside an image, None where there is none; raise InputError for one that PROJ does not know."""
    path = image.with_suffix(".prj")
    if not path.is_file():
        return None
    try:
        return geodesy.parse_crs(path.read_text("utf-8", errors="replace"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
