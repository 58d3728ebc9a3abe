"""training/memory.py: glibc agrees, others are left alone."""

import ctypes
import sys

import pytest

from crossgeo.training.memory import keep_freed_memory


def test_glibc_agrees_and_other_systems_are_told_no(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform.startswith("linux"):
        assert keep_freed_memory() == hasattr(ctypes.CDLL(None), "mallopt")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
