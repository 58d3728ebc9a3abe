"""Imagery in one raster file, read through GDAL: GeoTIFF and COG in any CRS, or a plain image that a world file places."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.indexer import worldfile
from crossgeo.indexer.block_store import Mask, Pixels
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.places import affine_of, carry_bounds, ground_m
from crossgeo.indexer.source import files_fingerprint, resample, unreadable

# No driver that follows a path or an address written inside a file, and none chosen by a file's name.
_DRIVERS = {b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff", b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG"}
_OVERVIEW_PX = 1024
_MARGIN_PX = 4
_MAX_PIECE_PX = 16384 * 16384
_opening = Lock()  # the filters of warnings are those of all threads


class RasterSource:
    """A raster file; colours are read as RGB whatever its bands are (one band, palette, alpha, 16-bit, float). Safe for threads."""

    def __init__(self, path: Path, crs: CRS | None = None) -> None:
        self.path = path
        self._world = worldfile.find_world_file(path)
        self._open_data: Any = None
        self._lock = RLock()  # GDAL reads a file for one thread at a time
        try:
            self._affine = self._place()
            self.crs = self._find_crs(crs)
            self._height, self._width = self._data.height, self._data.width
            corners = [self._affine * at for at in ((0, 0), (self._width, 0), (0, self._height), (self._width, self._height))]
            xs, ys = zip(*corners, strict=True)
            self.bounds: Bounds = (min(xs), min(ys), max(xs), max(ys))
            self.gsd_m = self._ground_m()
            self._palette = self._read_palette()
            self._bands = self._choose_bands()
            self._range = self._find_range()
        finally:
            self.close()

    @property
    def _data(self) -> Any:
        if self._open_data is None:
            self._open_data = _open(self.path)
        return self._open_data

    def _place(self) -> Affine:
        affine: Affine = self._data.transform
        self.kind = "geotiff"
        if self._data.driver != "GTiff" or affine == Affine.identity():
            self.kind = "worldfile"
            if self._world is None:
                if self._data.gcps[0]:
                    raise InputError(f"{self.path} is placed by control points only; straighten it: gdalwarp {self.path.name} straight.tif")
                raise InputError(f"{self.path} has no position; give a GeoTIFF, or put a world file ({self.path.stem}.wld) beside it")
            affine = worldfile.read_world_file(self._world)
        return affine

    def _find_crs(self, given: CRS | None) -> CRS:
        own = self._data.crs
        if own:
            return geodesy.parse_crs(own.to_wkt())
        found = given or worldfile.read_prj(self.path)
        if found is None:
            raise InputError(f"{self.path} does not say what CRS it is in; name it with --source-crs, like --source-crs EPSG:32645")
        return found

    def _ground_m(self) -> float:
        try:
            return ground_m(self.crs, self._affine, self._height / 2, self._width / 2)
        except InputError as error:
            raise InputError(f"{self.path}: {error}; correct it with gdal_edit.py -a_srs, or --source-crs where it has none") from error

    def _read_palette(self) -> Pixels | None:
        if self._data.count > 2 or self._data.colorinterp[0] != ColorInterp.palette:
            return None
        table = self._data.colormap(1)
        palette = np.zeros((max(table) + 1, 4), np.uint8)
        for value, colour in table.items():
            palette[value] = colour
        return palette

    def _choose_bands(self) -> list[int]:
        kinds = list(self._data.colorinterp)
        if all(c in kinds for c in (ColorInterp.red, ColorInterp.green, ColorInterp.blue)):
            return [kinds.index(c) + 1 for c in (ColorInterp.red, ColorInterp.green, ColorInterp.blue)]
        colours = [n + 1 for n, c in enumerate(kinds) if c != ColorInterp.alpha]
        if any(np.dtype(d).kind == "c" for d in self._data.dtypes) or not colours:
            raise InputError(f"{self.path} holds no colours that can be shown ({', '.join(self._data.dtypes)}); give 8 or 16-bit imagery")
        return colours[:3] if len(colours) >= 3 else colours[:1]

    def _find_range(self) -> tuple[float, float] | None:
        """Return what becomes black and white where pixels are not 8-bit: the 1st and 99th percentiles of an overview, all bands alike."""
        if all(self._data.dtypes[b - 1] == "uint8" for b in self._bands):
            return None
        step = max(1.0, max(self._height, self._width) / _OVERVIEW_PX)
        shape = (max(1, int(self._height / step)), max(1, int(self._width / step)))
        values, valid = self._read_raw(RasterWindow(0, 0, self._width, self._height), shape)
        seen = values[:, valid]
        if seen.size == 0:
            return 0.0, 1.0
        low, high = np.percentile(seen.astype(np.float64), (1.0, 99.0))
        return float(low), float(max(high, low + 1e-6))

    def _read_raw(self, window: RasterWindow, shape: tuple[int, int]) -> tuple[NDArray[Any], Mask]:
        """Return the chosen bands (c, h, w) as they are stored, and valid (h, w)."""
        how = Resampling.nearest if self._palette is not None else Resampling.average
        try:
            with self._lock:
                values = self._data.read(self._bands, window=window, out_shape=(len(self._bands), *shape), resampling=how)
                if all(MaskFlags.all_valid in flags for flags in self._data.mask_flag_enums):
                    valid = np.ones(shape, bool)
                else:
                    valid = self._data.dataset_mask(window=window, out_shape=shape, resampling=how) >= 128
        except RasterioError as error:
            raise InputError(f"{self.path} is damaged: {_cause(error)}; get the file again") from error
        if values.dtype.kind == "f":
            finite = np.isfinite(values).all(axis=0)
            valid &= finite
            values = np.where(finite, values, 0.0)
        return values, valid

    def _read_rgb(self, window: RasterWindow, shape: tuple[int, int]) -> tuple[Pixels, Mask]:
        values, valid = self._read_raw(window, shape)
        if self._palette is not None:
            index = np.minimum(values[0], len(self._palette) - 1)
            return self._palette[index][..., :3], valid & (self._palette[index][..., 3] >= 128)
        if self._range is not None:
            low, high = self._range
            values = np.rint((values.astype(np.float64) - low) * (255.0 / (high - low))).clip(0, 255).astype(np.uint8)
        if len(values) == 1:
            values = np.repeat(values, 3, axis=0)
        return np.ascontiguousarray(values.transpose(1, 2, 0)), valid

    def read(self, crs: CRS, bounds: Bounds, shape: tuple[int, int]) -> tuple[Pixels, Mask]:
        """Return RGB (H, W, 3), 0 where invalid, and valid (H, W) of a box of any CRS."""
        nothing = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
        try:
            x_min, y_min, x_max, y_max = carry_bounds(bounds, crs, self.crs)
        except InputError:
            return nothing  # a place that this raster's CRS does not reach
        corners = [~self._affine * at for at in ((x_min, y_min), (x_min, y_max), (x_max, y_min), (x_max, y_max))]
        cols, rows = zip(*corners, strict=True)
        ratio = ground_m(crs, affine_of(bounds, shape), shape[0] / 2, shape[1] / 2) / self.gsd_m
        step = 2 ** max(0, math.floor(math.log2(ratio)) - 1)  # read by area where still at least two pixels are left for each one asked for
        margin = _MARGIN_PX * step
        left, top = max(0, math.floor(min(cols)) - margin) // step * step, max(0, math.floor(min(rows)) - margin) // step * step
        right, bottom = min(self._width, math.ceil(max(cols)) + margin), min(self._height, math.ceil(max(rows)) + margin)
        if left >= right or top >= bottom:
            return nothing
        size = max(1, round((bottom - top) / step)), max(1, round((right - left) / step))
        if size[0] * size[1] > _MAX_PIECE_PX:
            raise InputError(f"{self.path}: a piece of {size[1]} x {size[0]} px is too much at once; use a larger --gsd-m")
        rgb, valid = self._read_rgb(RasterWindow(left, top, right - left, bottom - top), size)
        if not valid.any():
            return nothing
        affine = self._affine * Affine.translation(left, top) * Affine.scale((right - left) / size[1], (bottom - top) / size[0])
        return resample(rgb, valid, affine, self.crs, crs, bounds, shape)

    def parts(self) -> NDArray[np.float64]:
        """Return its box (1, 4)."""
        return np.asarray([self.bounds], np.float64)

    def has_imagery(self) -> bool:
        """Say whether any of its pixels is valid, by strips from the top."""
        rows = max(1, (1 << 24) // self._width)
        for top in range(0, self._height, rows):
            height = min(rows, self._height - top)
            if self._read_rgb(RasterWindow(0, top, self._width, height), (height, self._width))[1].any():
                return True
        return False

    def fingerprint(self) -> str:
        """Return a hash of its file and what stands beside it."""
        beside = [self._world, self.path.with_suffix(".prj"), Path(f"{self.path}.msk"), Path(f"{self.path}.aux.xml")]
        return files_fingerprint([self.path, *(p for p in beside if p is not None and p.is_file())])

    def glance(self) -> str:
        """Return its fingerprint: of few files no more is read."""
        return self.fingerprint()

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        with self._lock:
            if self._open_data is not None:
                self._open_data.close()
                self._open_data = None


def is_placed_tiff(path: Path) -> bool:
    """Say whether a file is a TIFF that names its own CRS, whatever its file name looks like."""
    if _driver(path) != "GTiff":
        return False
    with _open(path) as data:
        return bool(data.crs)


def _driver(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise unreadable(path, error) from error
    return next((driver for start, driver in _DRIVERS.items() if magic.startswith(start)), None)


def _open(path: Path) -> Any:
    driver = _driver(path)
    if driver is None:
        raise InputError(f"{path} is not an image of a kind that is read; give GeoTIFF, JPEG or PNG")
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            data = rasterio.open(path, driver=driver)
            _ = data.transform
            return data
    except RasterioError as error:
        raise InputError(f"{path} is damaged: {_cause(error)}; get the file again") from error


def _cause(error: BaseException) -> str:
    """Return the first line of what GDAL said underneath."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
