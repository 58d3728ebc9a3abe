"""What cameras on the street write into their photos: EXIF position, heading, lens and time, and GPano XMP of panoramas."""

from __future__ import annotations

from PIL import Image

from crossgeo.town.exif import Lens, Tags, exif_of, xmp_packet
from crossgeo.town.scene import Scene, Season
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose

_SENSOR_MM = 6.4
_MONTHS: dict[Season, int] = {"spring": 4, "summer": 7, "autumn": 10, "winter": 1}  # of the northern half of the earth


def street_exif(tags: Tags, camera: Panorama | StreetLens, plain: bool = False) -> Image.Exif:
    """Return EXIF with time and lens and, unless `plain`, position, altitude and true heading; a panorama has no focal length."""
    size_px = camera.width_px, camera.height_px
    if isinstance(camera, Panorama):
        return exif_of(tags, "simulated panorama camera", size_px, None, plain)
    return exif_of(tags, "simulated street camera", size_px, Lens(camera.focal_px, _SENSOR_MM), plain)


def panorama_xmp(tags: Tags, pose: StreetPose, camera: Panorama, plain: bool = False) -> bytes:
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
    return xmp_packet("GPano", "http://ns.google.com/photos/1.0/panorama/", facts)


def taken_at(scene: Scene, lat: float, day: int) -> str:
    """Return a date of the scene's season on that half of the earth, at the hour that its sun's azimuth says."""
    month = _MONTHS[scene.season] if lat >= 0.0 else (_MONTHS[scene.season] + 5) % 12 + 1
    from_noon = (scene.sun_azimuth_deg - 180.0) / 15.0 if lat >= 0.0 else -((scene.sun_azimuth_deg + 180.0) % 360.0 - 180.0) / 15.0
    minutes = round(60.0 * min(max(12.0 + from_noon, 5.5), 20.0))
    return f"2024:{month:02d}:{1 + day % 28:02d} {minutes // 60:02d}:{minutes % 60:02d}:00"
