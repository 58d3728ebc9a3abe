"""Answers in photos' metadata: positions, headings and radii in EXIF and XMP, without touching the picture, and undone exactly."""

from crossgeo.engine.geotag.batch import Tally, read_results, write_all
from crossgeo.engine.geotag.write import ExifOptions, Written, sidecar_of, undo_exif, write_exif

__all__ = ["ExifOptions", "Tally", "Written", "read_results", "sidecar_of", "undo_exif", "write_all", "write_exif"]
