"""Pages for people who look rather than read: how one answer came about, and what a batch came to; one self-contained file each."""

from crossgeo.engine.explain.gather import Explanation, explain, explained
from crossgeo.engine.explain.page import page, save_page
from crossgeo.engine.explain.report import THUMB_PX, Report

__all__ = ["THUMB_PX", "Explanation", "Report", "explain", "explained", "page", "save_page"]
