"""`geo index`: what it makes, shows and checks; damage, a full disk and Ctrl-C."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rasterio.transform import from_origin

Refused = Callable[..., str]


def files_of(index: Path) -> list[str]:
    return sorted(str(file.relative_to(index)) for file in index.rglob("*") if file.is_file())


def test_info_shows_model_ground_and_sources(city: Any, geo: Any) -> None:
    shown = geo("index", "info", city.index)
    assert shown.exit_code == 0
    for word in ("untrained-egotr", "EPSG:32645", "ortho.tif", "60 m wide every 30 m"):
        assert word in shown.stdout


def test_info_as_json_is_one_object(city: Any, geo: Any) -> None:
    found = json.loads(geo("index", "info", city.index, "--json").stdout)
    assert found["tiles"] >= 9
    assert found["model"]["name"] == "untrained-egotr"
    (segment,) = found["segments"]
    south, west, north, east = segment["bounds_lat_lon"]
    assert 27.6 < south < north < 27.7
    assert 85.6 < west < east < 85.7


def test_the_index_may_come_from_the_environment(city: Any, geo: Any) -> None:
    assert geo("index", "info", env={"GEO_INDEX": str(city.index)}).exit_code == 0


def test_verify_finds_nothing_wrong_with_a_whole_index(city: Any, geo: Any) -> None:
    done = geo("index", "verify", city.index)
    assert done.exit_code == 0
    assert json.loads(geo("index", "verify", city.index, "--json").stdout)["problems"] == []


def test_a_build_says_on_stdout_only_what_json_asks_for(city: Any, geo: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.geo"
    arguments = ("index", "build", city.ortho, "--stride-m", "30", *city.place_weights)
    quiet = geo(*arguments, "--out", out)
    assert quiet.exit_code == 0, quiet.output
    assert quiet.stdout == ""
    tiles = json.loads(geo("index", "info", out, "--json").stdout)["tiles"]
    assert f"{tiles} tiles" in quiet.stderr
    found = json.loads(geo(*arguments, "--out", tmp_path / "b.geo", "--json").stdout)
    assert found["manifest_sha256"] == json.loads(geo("index", "info", out, "--json").stdout)["manifest_sha256"]


def test_tiles_of_another_size_than_the_models_are_refused(city: Any, refused: Refused, tmp_path: Path) -> None:
    line = refused(2, "index", "build", city.ortho, "--out", tmp_path / "a.geo", "--tile-m", "50", *city.place_weights)
    assert "60 m" in line


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_file_is_named_by_verify_and_never_believed(city: Any, refused: Refused, geo: Any, tmp_path: Path, damage: str) -> None:
    for name in files_of(city.index):
        if name == "LOCK" or name.startswith("work"):
            continue
        hurt = tmp_path / name.replace("/", "_") / "hurt.geo"
        shutil.copytree(city.index, hurt)
        file = hurt / name
        data = bytearray(file.read_bytes())
        if damage == "gone":
            file.unlink()
        elif damage == "cut":
            file.write_bytes(data[: len(data) // 2])
        else:
            data[len(data) // 2] ^= 0x10
            file.write_bytes(data)
        found = geo("index", "verify", hurt)
        assert found.exit_code == 4, (name, found.output)
        assert Path(name).name in found.output or "CURRENT" in found.output, (name, found.output)
        line = refused(4, "query", city.photo, "--index", hurt, *city.weights)
        assert str(hurt) in line


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[str], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, "the build never began to write"
        time.sleep(0.01)


@pytest.mark.slow
def test_ctrl_c_ends_a_build_with_130_and_the_same_command_goes_on(city: Any, geo: Any, start_geo: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.geo"
    arguments = ("index", "build", str(city.ortho), "--out", str(out), "--stride-m", "7", *city.place_weights)
    child = start_geo(*arguments)
    wait_for(lambda: any(out.glob("work/*/descriptors/*")), child)
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert stdout == ""
    assert "kept" in stderr
    assert "Traceback" not in stderr
    assert not (out / "CURRENT").exists()
    again = geo(*arguments)
    assert again.exit_code == 0, again.output
    assert geo("index", "verify", out).exit_code == 0


def test_a_full_disk_is_said_and_publishes_nothing(city: Any, refused: Refused, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(600)
    line = refused(8, "index", "build", city.ortho, "--out", disk / "a.geo", "--stride-m", "5", *city.place_weights)
    assert str(disk) in line
    assert not (disk / "a.geo" / "CURRENT").exists()


def test_a_plan_for_several_nodes_says_hours_bytes_and_money(city: Any, geo: Any, refused: Refused) -> None:
    usual = "index", "plan", city.ortho, "--stride-m", "30", "--tiles-per-s", "10"
    one = json.loads(geo(*usual, "--json").stdout)
    found = json.loads(geo(*usual, "--area-km2", "900", "--cluster", "--nodes", "4", "--price", "2.5", "--json").stdout)
    assert found["tiles"] == pytest.approx(900e6 / 30**2, rel=1e-3)
    (row,) = found["cluster"]["build"]
    assert row["nodes"] == 4
    assert found["hours"] / 4 < row["hours"] < found["hours"]
    assert row["price"] == pytest.approx(2.5 * row["node_hours"])
    assert "cluster" not in one
    shown = geo(*usual, "--cluster", "--price", "2.5").stdout
    for word in ("build", "1 node:", "in money", "serve", "through the network"):
        assert word in shown
    assert "add --cluster" in refused(2, *usual, "--nodes", "3")
    assert "--node-memory" in refused(2, *usual, "--cluster", "--node-memory", "much")


def test_an_index_lives_on_after_it_was_built(
    city: Any, geo: Any, refused: Refused, tmp_path: Path, write_ortho: Any, patchwork: Any
) -> None:
    index, out = tmp_path / "a.geo", tmp_path / "tiles.csv"
    shutil.copytree(city.index, index)
    more = write_ortho(tmp_path / "more.tif", patchwork(4), transform=from_origin(363_120.0, 3_057_600.0, 0.25, 0.25))
    first = json.loads(geo("index", "info", index, "--json").stdout)
    planned = json.loads(geo("index", "plan", more, "--stride-m", "30", "--tiles-per-s", "10", "--json").stdout)
    added = geo("index", "add", index, more, "--vintage", "2024-05", "--licence", "CC BY 4.0", *city.place_weights)
    assert added.exit_code == 0, added.output
    shown = geo("index", "info", index).stdout
    for word in ("taken 2024-05", "licence CC BY 4.0", "generation 1", "removed"):
        assert word in shown
    both = json.loads(geo("index", "info", index, "--json").stdout)
    assert first["tiles"] < both["tiles"] <= first["tiles"] + planned["tiles"] + 10
    assert geo("index", "export", index, "--out", out).exit_code == 0
    assert "2024-05" in out.read_text()
    removed = json.loads(geo("index", "remove", index, "--vintage", "2024", *city.place_weights, "--json").stdout)
    assert (removed["tiles"], [s["name"] for s in removed["sources"]]) == (first["tiles"], ["ortho.tif"])
    assert geo("index", "rollback", index).exit_code == 0
    assert json.loads(geo("index", "info", index, "--json").stdout)["tiles"] == both["tiles"]
    assert geo("index", "compact", index).exit_code == 0
    assert "no generation before" in refused(3, "index", "rollback", index)
    assert geo("index", "verify", index, "--repair").exit_code == 0
    assert "nothing is named" in refused(2, "index", "remove", index)
    assert "give one of them" in refused(2, "index", "remove", index, "--bounds", "0", "0", "1", "1", "--polygon", more)
    assert "exists already" in refused(3, "index", "merge", index, city.index, "--out", index)
    merged = geo("index", "merge", index, city.index, "--out", tmp_path / "m.geo", *city.place_weights)
    assert merged.exit_code == 0, merged.output


def test_ground_is_warmed_once_and_only_as_much_as_fits(city: Any, geo: Any, refused: Refused, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    south, west, north, east = json.loads(geo("index", "info", city.index, "--json").stdout)["segments"][0]["bounds_lat_lon"]
    near = ("--near", f"{(south + north) / 2},{(west + east) / 2}", "--radius-m", "1")
    usual = ("index", "warm", city.index, "--feature-cache", kept, *city.weights[2:], "--runtime", "torch")
    planned = json.loads(geo(*usual, *near, "--plan", "--json").stdout)
    assert 1 <= planned["windows"] <= 16 and planned["there_before"] == 0 and planned["made"] is False
    made = geo(*usual, *near)
    assert made.exit_code == 0, made.output
    assert made.stdout == "" and f"{planned['windows']} windows" in made.stderr and f"{planned['bytes'] / 1e6:.1f} MB" in made.stderr
    again = json.loads(geo(*usual, *near, "--json").stdout)
    assert again == {**planned, "there_before": planned["windows"], "made": True}
    assert "give --feature-cache-mb" in refused(2, *usual, "--feature-cache-mb", "5")
    assert "no imagery" in refused(2, *usual, "--near", "0,0")
    assert "needs a place" in refused(2, *usual, "--radius-m", "5")
    assert "--near" in refused(2, *usual, "--near", "here")
