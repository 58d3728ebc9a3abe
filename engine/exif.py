"""What a photo's EXIF and XMP say about its camera: position, heading, field of view, height, tilt (EXIF 2.32, drone-dji and GPano XMP)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image

_EXIF_IFD = 0x8769
_GPS_IFD = 0x8825
_MAKE, _MODEL = 0x010F, 0x0110
_FOCAL_MM, _FOCAL_35MM, _PIXELS_X, _PIXELS_Y = 0x920A, 0xA405, 0xA002, 0xA003
_TAKEN, _TAKEN_OFFSET = 0x9003, 0x9011  # DateTimeOriginal, OffsetTimeOriginal
_GPS_LAT_REF, _GPS_LAT, _GPS_LON_REF, _GPS_LON, _GPS_DIRECTION_REF, _GPS_DIRECTION = 1, 2, 3, 4, 16, 17
_FULL_FRAME_DIAGONAL_MM = 43.2666
_SAME_DEG = 0.06  # XMP has the heading to a tenth of a degree
_XMP_LIMIT_BYTES = 1 << 20
_MOST_TILT_DEG = 45.0  # of a panorama's camera; more is another convention, or a mistake
_XMP_NUMBER = rb"""\b%s:%s\s*(?:=\s*["']|>)\s*([+-]?\d+(?:\.\d+)?)"""
_EQUIRECTANGULAR = re.compile(rb"""\bGPano:ProjectionType\s*(?:=\s*["']|>)\s*equirectangular""", re.IGNORECASE)

# Sensor width in mm by the model that EXIF names, where the 35 mm equivalent is missing or rounded (makers' data sheets).
SENSOR_WIDTH_MM = {
    "FC300C": 6.17, "FC300S": 6.17, "FC300X": 6.17, "FC330": 6.17, "FC220": 6.17, "FC6310": 13.2, "FC6310S": 13.2, "FC6310R": 13.2,
    "FC6360": 4.87, "FC7203": 6.17, "FC7303": 6.17, "FC3170": 6.4, "FC3411": 13.2, "FC3582": 9.7, "FC3682": 9.7, "FC8482": 9.7,
    "L1D-20C": 13.2, "L2D-20C": 17.3, "M3E": 17.3, "FC6510": 13.2, "FC6520": 17.3, "ZENMUSEP1": 35.9, "HG310": 6.17,
}  # fmt: skip


@dataclass(frozen=True)
class PhotoExif:
    """What the file says; None where it says nothing that can be believed. The engine uses `lat, lon` only when asked to."""

    lat: float | None = None  # WGS 84 degrees
    lon: float | None = None
    heading_deg: float | None = None  # of the photo's upper edge (or its view), clockwise from true north
    heading_is_magnetic: bool = False  # the heading is against magnetic north, so off by the local declination
    heading_is_answer: bool = False  # it is an earlier answer of this program, which is no evidence for the next one
    fov_deg: float | None = None  # horizontal, across the upright photo
    height_m: float | None = None  # above the ground of take-off
    tilt_deg: float | None = None  # of the optical axis from straight down, 0 to 90
    panorama_deg: float | None = None  # how far round an equirectangular panorama goes
    horizon: float = 0.5  # where its horizon lies, as a share of its height
    pitch_deg: float = 0.0  # by which the camera of a panorama looked above the horizon
    roll_deg: float = 0.0  # and was turned clockwise, as seen from behind it
    taken: str | None = None  # ISO 8601, by the camera's clock, with its offset from UTC where the file says that


def read_exif(image: Image.Image, width_px: int, height_px: int) -> PhotoExif:
    """Read the camera's facts from an opened image whose upright size is (width_px, height_px); never raises for odd metadata."""
    tags = image.getexif()
    main: dict[int, Any] = dict(tags)
    detail, gps = _ifd(tags, _EXIF_IFD), _ifd(tags, _GPS_IFD)
    xmp = _xmp(image)
    lat, lon = _position(gps)
    heading, magnetic = _heading(gps, xmp)
    answer = _is_answer(heading, gps, xmp)
    height = _drone_number(xmp, b"RelativeAltitude")
    pitch = _drone_number(xmp, b"GimbalPitchDegree")
    around = _panorama(xmp)
    if heading is not None and not answer:  # an answer is of the middle column
        heading = (heading + around.offset_deg) % 360.0
    return PhotoExif(
        lat=lat,
        lon=lon,
        heading_deg=heading,
        heading_is_magnetic=magnetic,
        heading_is_answer=answer,
        fov_deg=_fov_deg(main, detail, width_px, height_px),
        height_m=height if height is not None and 1.0 <= height <= 10_000.0 else None,
        tilt_deg=min(abs(90.0 + pitch), 90.0) if pitch is not None and -135.0 <= pitch <= 90.0 else None,
        panorama_deg=around.width_deg,
        horizon=around.horizon,
        pitch_deg=around.pitch_deg,
        roll_deg=around.roll_deg,
        taken=_taken(detail),
    )


def _taken(detail: dict[int, Any]) -> str | None:
    try:
        when = datetime.strptime(str(detail.get(_TAKEN)).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:  # none, or what a camera without a clock writes
        return None
    try:
        offset = datetime.strptime(str(detail.get(_TAKEN_OFFSET)).strip("\0 "), "%z").tzinfo
    except ValueError:
        offset = None
    return when.replace(tzinfo=offset).isoformat()


def _ifd(tags: Image.Exif, which: int) -> dict[int, Any]:
    try:
        return dict(tags.get_ifd(which))
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, AttributeError, IndexError):  # a damaged directory says nothing
        return {}


def _number(value: Any) -> float | None:
    """A finite float from an EXIF rational, number or one-element tuple, else None."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).replace("\x00", "").strip().upper() if value is not None else ""


def _position(gps: dict[int, Any]) -> tuple[float | None, float | None]:
    lat = _degrees(gps.get(_GPS_LAT), _text(gps.get(_GPS_LAT_REF)), "N", "S", 90.0)
    lon = _degrees(gps.get(_GPS_LON), _text(gps.get(_GPS_LON_REF)), "E", "W", 180.0)
    if lat is None or lon is None or (lat == 0.0 and lon == 0.0):  # 0, 0 is what receivers without a fix write
        return None, None
    return lat, lon


def _degrees(value: Any, reference: str, positive: str, negative: str, limit: float) -> float | None:
    """Degrees, minutes, seconds with their hemisphere as signed degrees; None without a hemisphere or out of range."""
    if not isinstance(value, tuple) or not 1 <= len(value) <= 3 or reference not in (positive, negative):
        return None
    parts = [_number(part) for part in value]
    total = 0.0
    for part, unit in zip(parts, (1.0, 60.0, 3600.0), strict=False):
        if part is None or part < 0.0:
            return None
        total += part / unit
    return (total if reference == positive else -total) if total <= limit else None


def _heading(gps: dict[int, Any], xmp: bytes) -> tuple[float | None, bool]:
    """(heading, whether magnetic): a panorama's own, the gimbal's yaw where a drone wrote it, else GPSImgDirection with its reference."""
    own = _xmp_number(xmp, b"GPano", b"PoseHeadingDegrees")
    if own is not None and abs(own) <= 360.0:
        return own % 360.0, False
    yaw = _drone_number(xmp, b"GimbalYawDegree")
    if yaw is not None and abs(yaw) <= 360.0:
        roll = _drone_number(xmp, b"GimbalRollDegree")
        return (yaw + (180.0 if roll is not None and abs(roll) > 90.0 else 0.0)) % 360.0, False
    direction, reference = _number(gps.get(_GPS_DIRECTION)), _text(gps.get(_GPS_DIRECTION_REF))
    if direction is None or not 0.0 <= direction <= 360.0 or reference not in ("T", "M"):
        return None, False
    return direction % 360.0, reference == "M"


def _is_answer(heading_deg: float | None, gps: dict[int, Any], xmp: bytes) -> bool:
    """Whether a heading is GPSImgDirection as `engine.geotag` wrote it, with its own copy in the XMP."""
    own, direction = _xmp_number(xmp, b"crossgeo", b"HeadingDegrees"), _number(gps.get(_GPS_DIRECTION))
    return own is not None and heading_deg is not None and heading_deg == direction and abs(own - direction) < _SAME_DEG


def _fov_deg(main: dict[int, Any], detail: dict[int, Any], width_px: int, height_px: int) -> float | None:
    """The horizontal field of view of the whole frame; None when the picture was cropped to another shape than the camera's."""
    long_px, short_px = max(width_px, height_px), min(width_px, height_px)
    whole = (_number(detail.get(_PIXELS_X)), _number(detail.get(_PIXELS_Y)))
    if whole[0] and whole[1] and abs(max(whole) / min(whole) - long_px / short_px) > 0.03:  # type: ignore[type-var,operator]
        return None
    focal_mm, sensor_mm = _number(detail.get(_FOCAL_MM)), SENSOR_WIDTH_MM.get(_text(main.get(_MODEL)).replace(" ", ""))
    focal_35mm = _number(detail.get(_FOCAL_35MM))
    if focal_mm and sensor_mm and focal_mm > 0.0:
        focal_px = focal_mm / sensor_mm * long_px
    elif focal_35mm and focal_35mm > 0.0:  # CIPA DCG-001: equal over the diagonal
        focal_px = focal_35mm / _FULL_FRAME_DIAGONAL_MM * math.hypot(width_px, height_px)
    else:
        return None
    return math.degrees(2.0 * math.atan(width_px / 2.0 / focal_px))


def _xmp(image: Image.Image) -> bytes:
    packet = image.info.get("xmp", b"")
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    return packet[:_XMP_LIMIT_BYTES] if isinstance(packet, bytes) else b""


@dataclass(frozen=True)
class _Panorama:
    """What GPano says; nothing for other photos."""

    width_deg: float | None = None
    horizon: float = 0.5
    offset_deg: float = 0.0  # of the middle column from where PoseHeadingDegrees points, the middle of the whole turn
    pitch_deg: float = 0.0  # of the middle column's view
    roll_deg: float = 0.0


def _panorama(xmp: bytes) -> _Panorama:
    if not _EQUIRECTANGULAR.search(xmp):
        return _Panorama()
    full_px, cropped_px, left, full_rows, rows, top, pitch, roll = (
        _xmp_number(xmp, b"GPano", name)
        for name in (
            b"FullPanoWidthPixels", b"CroppedAreaImageWidthPixels", b"CroppedAreaLeftPixels", b"FullPanoHeightPixels",
            b"CroppedAreaImageHeightPixels", b"CroppedAreaTopPixels", b"PosePitchDegrees", b"PoseRollDegrees",
        )
    )  # fmt: skip
    around, horizon, offset = 360.0, 0.5, 0.0
    if full_px and cropped_px and 0.0 < cropped_px <= full_px:
        around = 360.0 * cropped_px / full_px
        if left is not None and 0.0 <= left <= full_px - cropped_px:
            offset = 360.0 * ((left + 0.5 * cropped_px) / full_px - 0.5)
    if full_rows and rows and top is not None and 0.0 < rows <= full_rows and 0.0 <= top <= full_rows:
        horizon = (0.5 * full_rows - top) / rows
    pitch, roll = (angle if angle is not None and abs(angle) <= _MOST_TILT_DEG else 0.0 for angle in (pitch, roll))
    cos, sin = math.cos(math.radians(offset)), math.sin(math.radians(offset))
    return _Panorama(around, horizon if -1.0 < horizon < 2.0 else 0.5, offset, pitch * cos - roll * sin, pitch * sin + roll * cos)


def _drone_number(xmp: bytes, name: bytes) -> float | None:
    return _xmp_number(xmp, b"drone-dji", name)


def _xmp_number(xmp: bytes, space: bytes, name: bytes) -> float | None:
    """A number of a name space, written as an attribute or as an element; read by pattern, so no XML of a stranger is parsed."""
    found = re.search(_XMP_NUMBER % (space, name), xmp)
    return float(found[1]) if found else None
