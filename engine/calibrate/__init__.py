"""Calibration: from the evidence of an answer to probabilities and a radius that hold, fitted on photos whose places are known."""

from crossgeo.engine.calibrate.calibration import Calibration, KindCalibration
from crossgeo.engine.calibrate.fit import Seen, fit_kind

__all__ = ["Calibration", "KindCalibration", "Seen", "fit_kind"]
