"""processor.py: what Linux tells of the processor, and what is said where nothing is told."""

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossgeo import processor

X86 = "processor\t: 0\nmodel name\t: Xeon: fast\nflags\t\t: fpu amx_bf16 avx2\n\nprocessor\t: 1\nmodel name\t: other\nflags\t\t: none\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    processor.fields.cache_clear()
    yield
    processor.fields.cache_clear()


def test_the_first_processor_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(X86)
    assert processor.model() == "Xeon: fast"
    assert processor.instructions() == {"fpu", "amx_bf16", "avx2"}


def test_arm_calls_its_instructions_features_and_may_tell_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(ARM)
    assert processor.instructions() == {"fp", "asimd", "bf16"}
    assert processor.model() == (platform.processor() or platform.machine())


def test_a_system_without_the_file_tells_no_instructions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert processor.instructions() == frozenset()
    assert processor.model() == (platform.processor() or platform.machine())
