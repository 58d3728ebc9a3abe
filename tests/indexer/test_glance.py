"""What workers compare of imagery: quick, however many files there are."""

from pathlib import Path

import pytest

from crossgeo.errors import InputError
from crossgeo.indexer import source
from crossgeo.indexer.source import files_glance


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:03d}.png" for number in range(100)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def test_a_glance_reads_sixteen_files_from_first_to_last(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(source, "files_fingerprint", lambda paths: read.extend(paths) or "")
    files_glance(files)
    assert len(set(read)) == 16
    assert (read[0], read[-1]) == (files[0], files[-1])
    read.clear()
    files_glance(files[:3])
    assert read == files[:3]


@pytest.mark.parametrize("change", ["size", "content", "name", "fewer"])
def test_a_glance_sees_other_files(files: list[Path], change: str) -> None:
    before = files_glance(files)
    assert files_glance(files) == before
    if change == "size":
        files[1].write_bytes(b"longer than before")
    elif change == "content":
        files[-1].write_bytes(b"099.jpg")
    elif change == "name":
        files[1] = files[1].rename(files[1].with_name("001b.png"))
    else:
        files.pop(1)
    assert files_glance(files) != before


def test_a_file_that_is_gone_is_named(files: list[Path]) -> None:
    files[1].unlink()
    with pytest.raises(InputError, match=r"001\.png cannot be read"):
        files_glance(files)
