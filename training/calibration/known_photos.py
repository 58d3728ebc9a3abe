"""Photos of known places as `geo calibrate` is given them: a town's folder, a truth.geojson, or a list as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossgeo.engine.batch import BatchItem
from crossgeo.errors import InputError, UsageError
from crossgeo.training.evaluation.engine_places import read_truth

TRUTHS = ("truth.geojson", "street.geojson")
COLUMNS = ("photo", "lat", "lon")
PRIORS = ("heading_deg", "fov_deg", "height_m", "tilt_deg")
KINDS = {"": None, "drone": "drone", "street": "street"}


@dataclass(frozen=True)
class KnownPhoto:
    """A photo to ask about, with all that is told of it, and where it was taken."""

    item: BatchItem
    lat: float
    lon: float


def read_known(path: Path) -> list[KnownPhoto]:
    """Read photos with their true places.

    A town's folder has `truth.geojson` or `street.geojson` or both, whose photos are asked about as they are; a list has the columns photo
    (a path, from the list's folder on), lat and lon, and may have heading_deg, fov_deg, height_m, tilt_deg and kind, which are told to the
    engine. Raises InputError for what is none of these, rows without a place, the same photo twice, and photos that are not there.
    """
    if path.is_dir():
        found = [path / name for name in TRUTHS if (path / name).is_file()]
        if not found:
            raise InputError(f"{path}: holds neither {' nor '.join(TRUTHS)}; give a town's folder, or a list of photos with their places")
        known = [one for truth in found for one in _of_truth(truth)]
    elif path.suffix.lower() in (".geojson", ".json"):
        known = _of_truth(path)
    else:
        known = [_of_row(path, number, row) for number, row in enumerate(_rows(path), start=1)]
    if not known:
        raise InputError(f"{path}: holds no photos; there is nothing to calibrate with")
    names = [one.item.name for one in known]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: names {twice} twice; give each photo once")
    return known


def _of_truth(path: Path) -> list[KnownPhoto]:
    out = []
    for one in read_truth(path):
        name = one.photo.relative_to(path.parent).as_posix()
        out.append(KnownPhoto(BatchItem(one.photo, name), *_place(path, one.lat, one.lon)))
    return out


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        match path.suffix.lower():
            case ".csv":
                with path.open(encoding="utf-8-sig", newline="") as file:
                    rows: list[Mapping[str, Any]] = list(csv.DictReader(file))
            case ".jsonl" | ".ndjson":
                rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            case ".parquet":
                rows = _parquet(path)
            case other:
                raise InputError(f"{path}: no list of photos ends in {other or 'nothing'!r}; give .csv, .jsonl, .parquet or .geojson")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list ({type(error).__name__}: {error})") from error
    lacking = [name for name in COLUMNS if rows and (not isinstance(rows[0], Mapping) or name not in rows[0])]
    if lacking:
        raise InputError(f"{path}: has no {', '.join(lacking)}; each row needs {', '.join(COLUMNS)}")
    return rows


def _parquet(path: Path) -> list[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow, which is not installed: pip install 'crossgeo[vectors]'") from error
    try:
        rows: list[Mapping[str, Any]] = read_table(path).to_pylist()
    except ArrowException as error:
        raise InputError(f"{path}: is no Parquet file that can be read ({error})") from error
    return rows


def _of_row(path: Path, number: int, row: Mapping[str, Any]) -> KnownPhoto:
    try:
        name, lat, lon = str(row["photo"] or ""), float(row["lat"]), float(row["lon"])
        told = {prior: None if row.get(prior) in (None, "") else float(row[prior]) for prior in PRIORS}
        kind = KINDS[str(row.get("kind") or "")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}, row {number}: not a photo with its place ({type(error).__name__}: {error})") from error
    where = path.parent / name
    if not name or not where.is_file():
        raise InputError(f"{path}, row {number}: {where} is not there; get the photo again, or take the row out")
    return KnownPhoto(BatchItem(where, name, kind=kind, **told), *_place(path, lat, lon))  # type: ignore[arg-type]


def _place(path: Path, lat: float, lon: float) -> tuple[float, float]:
    if not (math.isfinite(lat) and math.isfinite(lon) and -90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        raise InputError(f"{path}: latitude {lat}, longitude {lon} is no place on earth; give degrees, latitude first")
    return lat, lon


def answers_in(path: Path) -> dict[str, dict[str, Any]]:
    """Read the answers of a file that `geo batch` wrote, .jsonl or .geojson, by the photo's name; raises InputError where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            records = [json.loads(line) for line in text.splitlines()]
        else:
            records = [feature["properties"] for feature in json.loads(text)["features"]]
        return {str(record["photo"]): record for record in records}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: holds no answers of `geo batch` as .jsonl or .geojson ({type(error).__name__}: {error})") from error


def find_answer(answers: Mapping[str, dict[str, Any]], photo: KnownPhoto) -> dict[str, Any] | None:
    """Return the answer of a photo by its name, else the one whose name ends alike where that is one alone."""
    if photo.item.name in answers:
        return answers[photo.item.name]
    file = photo.item.path.name
    alike = [record for name, record in answers.items() if name.rsplit("/", 1)[-1] == file]
    return alike[0] if len(alike) == 1 else None
