"""Photos: read safely from a file or bytes, made upright RGB, with what EXIF says about the camera."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from crossgeo.engine.exif import PhotoExif, read_exif
from crossgeo.engine.given import read_given
from crossgeo.errors import InputError, LimitError, UsageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
DECODE_LONG_PX = 1600  # enough for a canvas of 192 px and an object crop at 0.2 m/px of a photo 300 m wide
_OF_FOLDER = "give one photo, or use `geo batch` for a folder"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# What Pillow's readers raise for damaged data: their parsers index, unpack and divide before they check.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError,
    NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """An upright photo, perhaps decoded smaller than it is; points are always in its full-size upright pixels."""

    name: str
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    width_px: int  # of the full-size upright photo
    height_px: int
    exif: PhotoExif

    @classmethod
    def read(cls, source: str | Path | bytes, max_px: int = 50_000_000, name: str | None = None, long_px: int = DECODE_LONG_PX) -> Photo:
        """Read a JPEG, PNG, WebP or TIFF; the longer side is decoded to at least `long_px` where the file is larger.

        Raises InputError when there is no such file, it is not an image of these formats, or it is damaged; LimitError past `max_px`.
        """
        label = name or ("photo" if isinstance(source, bytes) else Path(source).name)
        where = label if isinstance(source, bytes) else str(source)
        data = source if isinstance(source, bytes) else read_given(Path(source), "file", _OF_FOLDER)
        if not data:
            raise InputError(f"{where}: the file is empty; copy it again from the camera")
        _check_webp_size(data, where, max_px)
        try:
            with _quiet, Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > max_px:
                    raise LimitError(_too_large(where, image.width, image.height, max_px))
                return _decode(image, label, long_px)
        except Image.DecompressionBombError as error:
            raise LimitError(f"{where}: the picture is larger than {max_px / 1e6:g} megapixels; make it smaller first") from error
        except UnidentifiedImageError as error:
            raise InputError(f"{where}: not an image that we read; give a JPEG, PNG, WebP or TIFF") from error
        except MemoryError as error:
            raise LimitError(f"{where}: not enough memory to decode it; make it smaller first") from error
        except _DAMAGED as error:
            raise InputError(f"{where}: the image is damaged or cut short ({_one_line(error)}); copy it again from the camera") from error

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.uint8], name: str = "photo", exif: PhotoExif | None = None) -> Photo:
        """Make a photo from an upright (H, W, 3) uint8 RGB array; raise InputError for any other shape or type."""
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise InputError(f"{name}: pixels must be (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
        return cls(name, np.ascontiguousarray(pixels), pixels.shape[1], pixels.shape[0], exif or PhotoExif())

    @property
    def scale(self) -> float:
        """Decoded pixels per full-size pixel, at most 1."""
        return float(self.pixels.shape[1] / self.width_px)

    @property
    def position(self) -> tuple[float, float]:
        """The position in the EXIF, lat, lon; raises InputError without one."""
        if self.exif.lat is None or self.exif.lon is None:
            raise InputError(f"{self.name}: its EXIF holds no position to start from; give one, or search without it")
        return self.exif.lat, self.exif.lon

    def check_point(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return a point (x, y) of the full-size upright photo in decoded pixels; raise UsageError when it lies outside."""
        x, y = point
        if not (0.0 <= x < self.width_px and 0.0 <= y < self.height_px):  # also refuses NaN
            size = f"{self.width_px} x {self.height_px} px once upright"
            raise UsageError(f"the point {x:g},{y:g} is outside the photo {self.name}, which is {size}; count from its top left")
        return x * self.pixels.shape[1] / self.width_px, y * self.pixels.shape[0] / self.height_px


def _decode(image: Image.Image, name: str, long_px: int) -> Photo:
    turn = _UPRIGHT.get(_orientation(image))
    swapped = turn in (Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90)
    width, height = (image.height, image.width) if swapped else image.size
    exif = read_exif(image, width, height)
    if max(width, height) > 2 * long_px:
        shrink = long_px / max(image.size)
        image.draft(None, (max(1, round(image.width * shrink)), max(1, round(image.height * shrink))))  # JPEG: decodes at 1/2, 1/4, 1/8
    image.load()
    picture = _to_rgb(image)
    if max(picture.size) >= 2 * long_px:
        picture = picture.reduce(max(picture.size) // long_px)
    if turn is not None:
        picture = picture.transpose(turn)
    return Photo(name, np.array(picture, np.uint8), width, height, exif)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any mode that Pillow decodes; what is transparent becomes mid-grey, deep greys are scaled by their depth."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        top = float(values.max(initial=0.0))
        depths = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
        full = next((depth for depth in depths if top <= depth), max(top, 1.0))
        return Image.fromarray(np.clip(values * (255.0 / full), 0.0, 255.0).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (128, 128, 128, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def _check_webp_size(data: bytes, where: str, max_px: int) -> None:
    """Refuse a large WebP before Pillow opens it: its animation decoder sets canvases aside at opening."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30 or data[12:16] != b"VP8X":
        return
    width, height = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if width * height > max_px:
        raise LimitError(_too_large(where, width, height, max_px))


def _too_large(where: str, width: int, height: int, max_px: int) -> str:
    megapixels = width * height / 1e6
    return f"{where}: {width} x {height} px is {megapixels:.0f} megapixels, more than the limit of {max_px / 1e6:g}; make it smaller first"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


class _Quiet:
    """Keeps Pillow's warnings about odd metadata and large pictures to ourselves: what matters is raised, the size is checked here.

    Filters of warnings are the process's. Of several threads that read photos the first puts them aside, the last brings them back.
    """

    def __init__(self) -> None:
        self._lock, self._reading = Lock(), 0
        self._aside: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._reading == 0:
                self._aside = warnings.catch_warnings()
                self._aside.__enter__()
                warnings.simplefilter("ignore")
            self._reading += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._reading -= 1
            if self._reading == 0 and self._aside is not None:
                self._aside.__exit__(None, None, None)
                self._aside = None


_quiet = _Quiet()
