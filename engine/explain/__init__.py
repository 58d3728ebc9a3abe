"""Pages for people who look rather than read: how one answer came about, and what a batch came to; one self-contained file each."""

from crossgeo.engine.explain.gather import Explanation, explain
from crossgeo.engine.explain.page import page

__all__ = ["Explanation", "explain", "page"]
