"""crossgeo: point at something in a photo, get its place on the map."""

__version__ = "0.1.0"
