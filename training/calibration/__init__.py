"""`geo calibrate`: photos of known places are asked about, confidence is fitted to the answers, judged on held-out ground, and kept."""

from crossgeo.training.calibration.calibrating import Calibrated, calibrate

__all__ = ["Calibrated", "calibrate"]
