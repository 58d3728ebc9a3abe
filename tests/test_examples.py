"""The Python that people are shown runs as it stands: of the README, of the names of `crossgeo`, of the how-tos, and in the notebooks."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import crossgeo
from crossgeo.errors import InputError
from crossgeo.geodesy import distance_m
from crossgeo.town.write import write_town

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
IN_ORDER = ("build_index", "GeoSearch", "Answer", "Place", "FoundObject", "BatchItem", "run_batch", "GeoIndex", "GeoError", "calibrate")


def examples(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: ortho.tif, photo.jpg and photos/; the first example makes city.geo."""
    folder = tmp_path_factory.mktemp("examples")
    write_town(folder / "town", 9004, 150.0, photos=1)  # whose photo is found at once
    shutil.copy(folder / "town" / "ortho.tif", folder / "ortho.tif")
    shutil.copy(folder / "town" / "photos" / "photo_0000.jpg", folder / "photo.jpg")
    shutil.move(folder / "town" / "photos", folder / "photos")
    (truth,) = json.loads((folder / "town" / "truth.geojson").read_text())["features"]
    place = truth["properties"]
    (folder / "photos_with_places.csv").write_text(f"photo,lat,lon\nphoto.jpg,{place['lat']},{place['lon']}\n")
    return folder


@pytest.mark.slow
def test_the_examples_of_all_names_and_of_the_readme_run_one_after_the_other(
    city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(IN_ORDER) == set(crossgeo.__all__)
    monkeypatch.chdir(city)
    space: dict[str, Any] = {}
    exec("from pathlib import Path\nfrom crossgeo import *", space)
    said = {}
    for name in IN_ORDER:
        for code in examples(inspect.getdoc(getattr(crossgeo, name)) or ""):
            with (
                pytest.raises(InputError, match="drone photos: ") if name == "calibrate" else nullcontext()
            ):  # it wants more photos than one
                exec(compile(code, name, "exec"), space)
            said[name] = capsys.readouterr().out
    assert said["build_index"].split()[0] == "1"
    assert "located" in said["GeoSearch"]
    assert said["run_batch"] == "1 of 1\n"
    assert "ortho.tif" in said["GeoIndex"]
    assert said["GeoError"].startswith("InputError 3 no-such-city.geo")

    (code,) = examples((ROOT / "README.md").read_text())
    assert len(code.splitlines()) <= 10
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split("\n")
    status, lat, lon, radius_m, heading_deg = printed[0].split()
    (truth,) = json.loads((city / "town" / "truth.geojson").read_text())["features"]
    assert status in ("located", "ambiguous", "low_confidence")
    assert distance_m(float(lat), float(lon), truth["properties"]["lat"], truth["properties"]["lon"]) < 25.0
    assert float(radius_m) > 0.0
    assert 0.0 <= float(heading_deg) < 360.0
    assert ("Polygon" in printed[1]) == (status in ("located", "ambiguous"))

    for page in sorted((ROOT / "docs" / "howto").glob("*.md")):
        for code in examples(page.read_text()):
            exec(compile(code, page.name, "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(notebook: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "_hooks" / "run_notebooks.py"), str(tmp_path), str(notebook)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    code = [cell for cell in json.loads((tmp_path / notebook.name).read_text())["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in code)
    assert all(cell["execution_count"] for cell in code)
