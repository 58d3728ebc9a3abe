"""What a drone writes into its photos: EXIF with position, altitude, heading and lens, and the XMP attributes of DJI cameras."""

from __future__ import annotations

from PIL import Image

from crossgeo.town.camera import Camera, Pose
from crossgeo.town.exif import Lens, Tags, exif_of, xmp_packet

_SENSOR_MM = 13.2


def drone_exif(tags: Tags, camera: Camera, plain: bool = False) -> Image.Exif:
    """Return EXIF with lens and time and, unless `plain`, position, altitude and true heading."""
    size_px = camera.width_px, camera.height_px
    return exif_of(tags, "simulated drone", size_px, Lens(camera.focal_px, _SENSOR_MM), plain)


def drone_xmp(tags: Tags, pose: Pose) -> bytes:
    """Return an XMP packet with the drone-dji attributes; a gimbal pitch of -90 looks straight down."""
    yaw = (tags.heading_deg + 180.0) % 360.0 - 180.0
    facts = {
        "AbsoluteAltitude": tags.altitude_m, "RelativeAltitude": pose.height_m, "GimbalRollDegree": 0.0, "GimbalYawDegree": yaw,
        "GimbalPitchDegree": pose.tilt_deg - 90.0, "FlightYawDegree": yaw,
    }  # fmt: skip
    return xmp_packet("drone-dji", "http://www.dji.com/drone-dji/1.0/", {name: f"{value:+.2f}" for name, value in facts.items()})
