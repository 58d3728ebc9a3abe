"""A town that does not fit into memory is refused before any of it is drawn, with the size that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossgeo.errors import LimitError
from crossgeo.town import memory
from crossgeo.town.layout import make_town
from crossgeo.town.write import write_town


def test_what_does_not_fit_is_refused_with_the_size_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 4e9)
    with pytest.raises(LimitError, match=r"5000 m .* takes 27\.7 GB .* 4\.0 GB are free; make it at most 1750 m") as raised:
        make_town(9005, 5000.0)
    most_m = float(str(raised.value).rsplit("at most ", 1)[1].split()[0])
    memory.check_memory(most_m, 0.2)
    with pytest.raises(LimitError):
        memory.check_memory(most_m + 60.0, 0.2)
    memory.check_memory(5000.0, 1.0)


def test_a_town_with_street_photos_needs_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 1.8e9)
    memory.check_memory(1000.0, 0.2)
    with pytest.raises(LimitError, match="at most 800 m"):
        write_town(tmp_path / "t", 1, 1000.0, photos=0, panoramas=1)


def test_where_nothing_is_free_no_size_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 1e8)
    with pytest.raises(LimitError, match="close other programs"):
        memory.check_memory(600.0, 0.2)


def test_the_smaller_of_machine_and_control_group_counts(tmp_path: Path) -> None:
    assert memory.free_bytes(tmp_path) == pytest.approx(9.3e9), "where the system says nothing, a town of 3 km may be tried"
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  9000000 kB\nMemAvailable:    5000000 kB\n")
    assert memory.free_bytes(tmp_path) == 5.12e9
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("1000000000\n")
    (group / "memory.max").write_text("max\n")
    assert memory.free_bytes(tmp_path) == 5.12e9
    (group / "memory.max").write_text("3000000000\n")
    assert memory.free_bytes(tmp_path) == 2e9
    (group / "memory.stat").write_text("anon 100\ninactive_file 500000000\n")
    assert memory.free_bytes(tmp_path) == 2.5e9, "what is only cached can be had"
