"""What a drone writes into its photos: EXIF position, height, heading and lens, and the XMP attributes of DJI cameras."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

_SENSOR_WIDTH_MM = 13.2
_FULL_FRAME_DIAGONAL_MM = 43.2666


@dataclass(frozen=True)
class Tags:
    """The facts of one photo."""

    lat: float
    lon: float
    altitude_m: float  # above the sea
    height_m: float  # above the ground
    heading_deg: float  # of the photo's upper edge, clockwise from true north
    tilt_deg: float  # 0 looks straight down
    focal_px: float
    width_px: int
    height_px: int
    taken: str  # "YYYY:MM:DD HH:MM:SS"


def exif_of(tags: Tags, plain: bool = False) -> Image.Exif:
    """Return EXIF with lens and time and, unless `plain`, position, altitude and true heading."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model], exif[Base.Software] = "crossgeo", "simulated drone", "crossgeo town"
    detail = exif.get_ifd(IFD.Exif)
    diagonal_px = float(tags.width_px**2 + tags.height_px**2) ** 0.5
    detail[Base.DateTimeOriginal] = tags.taken
    detail[Base.FocalLength] = round(tags.focal_px / tags.width_px * _SENSOR_WIDTH_MM, 3)
    detail[Base.FocalLengthIn35mmFilm] = round(tags.focal_px / diagonal_px * _FULL_FRAME_DIAGONAL_MM)
    detail[Base.ExifImageWidth], detail[Base.ExifImageHeight] = tags.width_px, tags.height_px
    if not plain:
        write_gps(exif, tags.lat, tags.lon, tags.altitude_m, tags.heading_deg)
    return exif


def write_gps(exif: Image.Exif, lat: float, lon: float, altitude_m: float, heading_deg: float) -> None:
    """Add a position, an altitude above the sea and a heading against true north."""
    gps = exif.get_ifd(IFD.GPSInfo)
    gps[GPS.GPSVersionID] = b"\x02\x03\x00\x00"
    gps[GPS.GPSLatitudeRef], gps[GPS.GPSLatitude] = "N" if lat >= 0.0 else "S", _degrees_minutes_seconds(lat)
    gps[GPS.GPSLongitudeRef], gps[GPS.GPSLongitude] = "E" if lon >= 0.0 else "W", _degrees_minutes_seconds(lon)
    gps[GPS.GPSAltitudeRef], gps[GPS.GPSAltitude] = b"\x00" if altitude_m >= 0.0 else b"\x01", round(abs(altitude_m), 3)
    gps[GPS.GPSImgDirectionRef], gps[GPS.GPSImgDirection] = "T", round(heading_deg % 360.0, 2)


def _degrees_minutes_seconds(value: float) -> tuple[float, float, float]:
    whole_s = round(abs(value) * 3600.0, 4)
    degrees, rest = divmod(whole_s, 3600.0)
    minutes, seconds = divmod(rest, 60.0)
    return degrees, minutes, round(seconds, 4)


def xmp_of(tags: Tags) -> bytes:
    """Return an XMP packet with the drone-dji attributes; a gimbal pitch of -90 looks straight down."""
    yaw = (tags.heading_deg + 180.0) % 360.0 - 180.0
    facts = {
        "AbsoluteAltitude": tags.altitude_m, "RelativeAltitude": tags.height_m, "GimbalRollDegree": 0.0, "GimbalYawDegree": yaw,
        "GimbalPitchDegree": tags.tilt_deg - 90.0, "FlightYawDegree": yaw,
    }  # fmt: skip
    attributes = " ".join(f'drone-dji:{name}="{value:+.2f}"' for name, value in facts.items())
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>"
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description rdf:about='' xmlns:drone-dji='http://www.dji.com/drone-dji/1.0/' {attributes}/>"
        "</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()
