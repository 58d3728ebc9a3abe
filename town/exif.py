"""What every camera writes into its photos: EXIF with time, lens, position, altitude and heading, and the packet that XMP stands in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

_FULL_FRAME_DIAGONAL_MM = 43.2666


@dataclass(frozen=True)
class Tags:
    """The facts of one photo."""

    lat: float
    lon: float
    altitude_m: float  # above the sea
    heading_deg: float  # of a drone photo's upper edge, of a street photo's middle column, clockwise from true north
    taken: str  # "YYYY:MM:DD HH:MM:SS"


@dataclass(frozen=True)
class Lens:
    """A lens and the sensor behind it."""

    focal_px: float
    sensor_mm: float  # along the photo's longer side


def exif_of(tags: Tags, model: str, size_px: tuple[int, int], lens: Lens | None, plain: bool = False) -> Image.Exif:
    """Return EXIF with camera, size, time, lens where there is one and, unless `plain`, position, altitude and true heading."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model], exif[Base.Software] = "crossgeo", model, "crossgeo town"
    detail = exif.get_ifd(IFD.Exif)
    detail[Base.DateTimeOriginal] = tags.taken
    detail[Base.ExifImageWidth], detail[Base.ExifImageHeight] = size_px
    if lens is not None:
        detail[Base.FocalLength] = round(lens.focal_px / max(size_px) * lens.sensor_mm, 3)
        detail[Base.FocalLengthIn35mmFilm] = round(lens.focal_px / math.hypot(*size_px) * _FULL_FRAME_DIAGONAL_MM)
    if not plain:
        _write_gps(exif, tags)
    return exif


def xmp_packet(prefix: str, namespace: str, facts: Mapping[str, str]) -> bytes:
    """Return an XMP packet that holds facts as attributes of one namespace."""
    attributes = " ".join(f'{prefix}:{name}="{value}"' for name, value in facts.items())
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>"
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description rdf:about='' xmlns:{prefix}='{namespace}' {attributes}/>"
        "</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


def _write_gps(exif: Image.Exif, tags: Tags) -> None:
    gps = exif.get_ifd(IFD.GPSInfo)
    gps[GPS.GPSVersionID] = b"\x02\x03\x00\x00"
    gps[GPS.GPSLatitudeRef], gps[GPS.GPSLatitude] = "N" if tags.lat >= 0.0 else "S", _degrees_minutes_seconds(tags.lat)
    gps[GPS.GPSLongitudeRef], gps[GPS.GPSLongitude] = "E" if tags.lon >= 0.0 else "W", _degrees_minutes_seconds(tags.lon)
    gps[GPS.GPSAltitudeRef], gps[GPS.GPSAltitude] = b"\x00" if tags.altitude_m >= 0.0 else b"\x01", round(abs(tags.altitude_m), 3)
    gps[GPS.GPSImgDirectionRef], gps[GPS.GPSImgDirection] = "T", round(tags.heading_deg % 360.0, 2)


def _degrees_minutes_seconds(value: float) -> tuple[float, float, float]:
    whole_s = round(abs(value) * 3600.0, 4)
    degrees, rest = divmod(whole_s, 3600.0)
    minutes, seconds = divmod(rest, 60.0)
    return degrees, minutes, round(seconds, 4)
