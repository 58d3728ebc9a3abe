"""`geo weights`: what is shipped, and what a card says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_the_list_names_all_that_is_shipped(geo: Any) -> None:
    shipped = sorted(file.stem for file in (Path(__file__).resolve().parents[2] / "models" / "weights").glob("*.safetensors"))
    done = geo("weights", "list", "--json")
    assert done.exit_code == 0, done.output
    assert [entry["name"] for entry in json.loads(done.stdout)] == shipped


def test_a_card_is_shown_with_the_number_of_parameters(city: Any, geo: Any) -> None:
    file = city.folder / "egotr.safetensors"
    shown = geo("weights", "info", file)
    assert shown.exit_code == 0, shown.output
    assert "untrained-egotr" in shown.stdout
    found = json.loads(geo("weights", "info", file, "--json").stdout)
    assert 1_000_000 < found["parameters"] <= 12_000_000
    assert found["view"]["kind"] == "drone"


def test_weights_that_are_damaged_or_missing_end_with_6(city: Any, refused: Callable[..., str], tmp_path: Path) -> None:
    assert "nothing-like-it" in refused(6, "weights", "info", "nothing-like-it")
    (tmp_path / "short.safetensors").write_bytes((city.folder / "egotr.safetensors").read_bytes()[:500_000])
    assert "short.safetensors" in refused(6, "weights", "info", tmp_path / "short.safetensors")
