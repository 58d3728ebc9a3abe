"""Map tiles of an index's imagery: Web Mercator squares drawn from its blocks, with the rim clear (WebP) or as paper (JPEG)."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.engine.mosaic import Mosaic, SmallBlocks, mosaic_over
from crossgeo.indexer.block_store import Mask, Pixels
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.places import LAT_LON
from crossgeo.web.mercator import TILE_PX, MapTile

Format = Literal["jpg", "webp"]
Values = NDArray[np.floating[Any]]
MEDIA_TYPES = {"jpg": "image/jpeg", "webp": "image/webp"}
DRAWING = 1  # changes with how tiles look, so that no browser keeps old ones
PAPER = (244, 241, 234)  # beyond the rim of the imagery, in a JPEG
_DOT_PX = 2.0
_NODES = 17  # of the lattice on which a tile's pixels are carried to the segment; between them it is linear to a hundredth of a pixel


def etag_of(index_hash: str, tile: MapTile, form: Format) -> str:
    """Return the entity tag of a tile: it is known before the tile is drawn, since an index's hash says all of its pixels."""
    text = f"{DRAWING} {index_hash} {tile.z}/{tile.x}/{tile.y}.{form}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def draw(index: GeoIndex, tile: MapTile, small: SmallBlocks) -> tuple[Pixels, Mask] | None:
    """Return a tile's (256, 256, 3) RGB and which of its pixels show imagery; None where none does."""
    rgb, valid = np.zeros((TILE_PX, TILE_PX, 3), np.uint8), np.zeros((TILE_PX, TILE_PX), bool)
    for segment in index.segments:
        for box in tile.pixels_of(*segment.bounds_lat_lon):
            _draw_segment(index, segment, tile, box, small, rgb, valid)
    return (rgb, valid) if valid.any() else None


def encode(rgb: Pixels, valid: Mask, form: Format) -> bytes:
    """Return a tile as a file."""
    if form == "jpg":
        shown = np.where(valid[..., None], rgb, np.array(PAPER, np.uint8))
        flags = [cv2.IMWRITE_JPEG_QUALITY, 85]
        picture = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
    else:
        picture = cv2.cvtColor(np.dstack([rgb, valid.astype(np.uint8) * 255]), cv2.COLOR_RGBA2BGRA)
        flags = [cv2.IMWRITE_WEBP_QUALITY, 80]
    done, data = cv2.imencode(f".{form}", picture, flags)
    assert done
    return data.tobytes()


def _draw_segment(
    index: GeoIndex,
    segment: Segment,
    tile: MapTile,
    box: tuple[float, float, float, float],
    small: SmallBlocks,
    rgb: Pixels,
    valid: Mask,
) -> None:
    """Draw a segment into the part of a tile where its box of degrees lies, where nothing is drawn yet."""
    left, top = int(box[0]), int(box[1])
    right, bottom = min(TILE_PX, int(np.ceil(box[2]))), min(TILE_PX, int(np.ceil(box[3])))
    x, y = _carried(segment, tile, left, top, right, bottom)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return
    found = mosaic_over(index, segment, x.ravel(), y.ravel(), tile.metres_per_pixel(), small)
    if found is None:
        return
    if min(box[2] - box[0], box[3] - box[1]) < _DOT_PX:  # a place as small as that is still shown, by its mean colour
        colours = np.broadcast_to(found.rgb[found.valid].mean(axis=0).astype(np.uint8), (*x.shape, 3))
        shown = np.ones(x.shape, bool)
    else:
        colours, shown = _looked_up(found, x, y)
    into = slice(top, bottom), slice(left, right)
    shown &= ~valid[into]
    rgb[into][shown] = colours[shown]
    valid[into] |= shown


def _carried(segment: Segment, tile: MapTile, left: int, top: int, right: int, bottom: int) -> tuple[Values, Values]:
    """Return x and y (h, w) in the segment's CRS of the middles of a tile's pixels."""
    columns, rows = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    across, down = (np.linspace(axis[0], axis[-1], min(_NODES, len(axis))) for axis in (columns, rows))
    lon, lat = tile.lon_lat(*(grid.ravel() for grid in np.meshgrid(across, down)))
    lon = (lon + 180.0) % 360.0 - 180.0
    x, y = geodesy.transform(LAT_LON, segment.crs, lon, lat)
    shape = len(down), len(across)
    return _between(x.reshape(shape), rows, columns, down, across), _between(y.reshape(shape), rows, columns, down, across)


def _between(nodes: Values, rows: Values, columns: Values, down: Values, across: Values) -> Values:
    """Return (h, w) values between those of a lattice (n, m), linearly: first along its rows, then down its columns."""
    wide = np.stack([np.interp(columns, across, row) for row in nodes])
    return np.stack([np.interp(rows, down, column) for column in wide.T], axis=1)


def _looked_up(mosaic: Mosaic, x: Values, y: Values) -> tuple[Pixels, Mask]:
    """Return the colours (h, w, 3) and whether imagery shows (h, w) at places (h, w); what is invalid gives no colour to what is valid."""
    across = ((x - mosaic.x_min) / mosaic.gsd_m - 0.5).astype(np.float32)
    down = ((mosaic.y_max - y) / mosaic.gsd_m - 0.5).astype(np.float32)
    shares = cv2.remap(mosaic.valid.astype(np.float32), across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    summed = cv2.remap(mosaic.rgb.astype(np.float32), across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    share = np.asarray(shares, np.float32)
    colours = np.asarray(summed, np.float32) / np.maximum(share, 1e-3)[..., None]
    return np.rint(colours).clip(0, 255).astype(np.uint8), share >= 0.5
