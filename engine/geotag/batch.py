"""Many answers written into the metadata of their photos: from records at hand, or from a file that `geo batch` wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from crossgeo.engine.geotag.write import ExifOptions, Written, write_exif
from crossgeo.errors import GeoError, InputError

Record = dict[str, Any]


@dataclass
class Tally:
    """How many answers were written and how many not; `failures` says why photos could not be written, a line each."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The counts in words."""
        said = {
            "written": "written", "same": "written before", "kept": "left with their own position", "unsure": "not to be believed",
            "failed": "failed",
        }  # fmt: skip
        return ", ".join(f"{self.counts[state]} {words}" for state, words in said.items() if self.counts[state]) or "no photos"


def write_all(answered: Iterable[tuple[Path, Record]], options: ExifOptions, told: Callable[[Written], None] | None = None) -> Tally:
    """Write records beside or into their photos; one that fails stops none. `told` gets each that was looked at."""
    tally = Tally()
    for path, record in answered:
        try:
            written = write_exif(path, record, options)
        except GeoError as error:
            written = Written(path, "failed", reason=str(error))
            tally.failures.append(str(error))
        tally.counts[written.state] += 1
        if told:
            told(written)
    return tally


def read_results(results: Path, folder: Path) -> list[tuple[Path, Record]]:
    """Return the records of a .jsonl or .geojson file of answers, with their photos below a folder.

    Raises InputError where it is no such file, or names a photo that does not lie below the folder.
    """
    try:
        text = results.read_text(encoding="utf-8")
        if results.suffix.lower() in (".jsonl", ".ndjson"):
            records: list[Record] = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            records = [feature["properties"] for feature in json.loads(text)["features"]]
        names = [str(record["photo"]) for record in records]
    except OSError as error:
        raise InputError(f"{results}: cannot be read ({error.strerror or error})") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{results}: is no file of answers; give a .jsonl or .geojson that `geo batch` wrote") from error
    for name in names:
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise InputError(f"{results}: names a photo outside of {folder}: {name}; give the folder that the batch was asked about")
    return [(folder / name, record) for name, record in zip(names, records, strict=True)]
