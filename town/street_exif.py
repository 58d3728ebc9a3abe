"""What cameras on the street write into their photos: EXIF position, heading, lens and time, and GPano XMP of panoramas."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image
from PIL.ExifTags import IFD, Base

from crossgeo.town.exif import write_gps
from crossgeo.town.scene import Scene, Season
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose

_SENSOR_WIDTH_MM = 6.4
_FULL_FRAME_DIAGONAL_MM = 43.2666
_MONTHS: dict[Season, int] = {"spring": 4, "summer": 7, "autumn": 10, "winter": 1}  # of the northern half of the earth


@dataclass(frozen=True)
class StreetTags:
    """The facts of one photo."""

    lat: float
    lon: float
    altitude_m: float  # above the sea
    heading_deg: float  # of the middle column, clockwise from true north
    taken: str  # "YYYY:MM:DD HH:MM:SS"


def street_exif(tags: StreetTags, camera: Panorama | StreetLens, plain: bool = False) -> Image.Exif:
    """Return EXIF with time and lens and, unless `plain`, position, altitude and true heading; a panorama has no focal length."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Software] = "crossgeo", "crossgeo town"
    exif[Base.Model] = "simulated panorama camera" if isinstance(camera, Panorama) else "simulated street camera"
    detail = exif.get_ifd(IFD.Exif)
    detail[Base.DateTimeOriginal] = tags.taken
    detail[Base.ExifImageWidth], detail[Base.ExifImageHeight] = camera.width_px, camera.height_px
    if isinstance(camera, StreetLens):
        long_px = max(camera.width_px, camera.height_px)
        diagonal_px = math.hypot(camera.width_px, camera.height_px)
        detail[Base.FocalLength] = round(camera.focal_px / long_px * _SENSOR_WIDTH_MM, 3)
        detail[Base.FocalLengthIn35mmFilm] = round(camera.focal_px / diagonal_px * _FULL_FRAME_DIAGONAL_MM)
    if not plain:
        write_gps(exif, tags.lat, tags.lon, tags.altitude_m, tags.heading_deg)
    return exif


def panorama_xmp(tags: StreetTags, pose: StreetPose, camera: Panorama, plain: bool = False) -> bytes:
    """Return an XMP packet with the GPano properties of a full sphere; without its pose where `plain`."""
    facts: dict[str, str] = {
        "ProjectionType": "equirectangular",
        "UsePanoramaViewer": "True",
        "FullPanoWidthPixels": str(camera.width_px),
        "FullPanoHeightPixels": str(camera.height_px),
        "CroppedAreaImageWidthPixels": str(camera.width_px),
        "CroppedAreaImageHeightPixels": str(camera.height_px),
        "CroppedAreaLeftPixels": "0",
        "CroppedAreaTopPixels": "0",
    }
    if not plain:
        facts["PoseHeadingDegrees"] = f"{tags.heading_deg % 360.0:.2f}"
        facts["PosePitchDegrees"], facts["PoseRollDegrees"] = f"{pose.pitch_deg:.2f}", f"{pose.roll_deg:.2f}"
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in facts.items())
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>"
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description rdf:about='' xmlns:GPano='http://ns.google.com/photos/1.0/panorama/' {attributes}/>"
        "</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


def taken_at(scene: Scene, lat: float, day: int) -> str:
    """Return a date of the scene's season on that half of the earth, at the hour that its sun's azimuth says."""
    month = _MONTHS[scene.season] if lat >= 0.0 else (_MONTHS[scene.season] + 5) % 12 + 1
    from_noon = (scene.sun_azimuth_deg - 180.0) / 15.0 if lat >= 0.0 else -((scene.sun_azimuth_deg + 180.0) % 360.0 - 180.0) / 15.0
    minutes = round(60.0 * min(max(12.0 + from_noon, 5.5), 20.0))
    return f"2024:{month:02d}:{1 + day % 28:02d} {minutes // 60:02d}:{minutes % 60:02d}:00"
