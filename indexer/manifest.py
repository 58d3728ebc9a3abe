"""The manifest of one generation of an index: what it holds, with which model, and the size and checksum of every file.

`manifest-000001.json` never changes once written; `CURRENT` names it and is replaced in one step, which is the commit (docs/formats.md).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from crossgeo import disk
from crossgeo.errors import InputError, MismatchError
from crossgeo.indexer import files
from crossgeo.indexer.grid import Bounds

FORMAT = "crossgeo-index"
VERSION = 1
SEGMENT_FILES = ("ann.faiss", "blocks.lmdb", "descriptors.h5")
_CURRENT = re.compile(r"(manifest-(\d{6,})\.json) ([0-9a-f]{64})\n")
_SEGMENT_NAME = re.compile(r"s-[0-9a-f]{16}")


@dataclass(frozen=True)
class ModelIdentity:
    """Which model made the descriptors: its name, the SHA-256 of its weights, and the hash of its view (pixels to model input)."""

    name: str
    sha256: str
    view: str


@dataclass(frozen=True)
class FileRecord:
    """A file of a segment: its size and SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentRecord:
    """One folder under `segments/`: the imagery and descriptors of the sources of one metric CRS."""

    name: str
    crs: str  # EPSG:..., or WKT where it has no code
    bounds: Bounds  # metres, of its blocks' valid cells
    blocks: int
    tiles: int
    dim: int  # D, the length of a descriptor
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class SourceRecord:
    """A source as it was read: name without folders, kind, CRS, bounds in it, mean ground sample distance, fingerprint of its files."""

    name: str
    kind: str
    crs: str
    bounds: Bounds
    gsd_m: float
    fingerprint: str


@dataclass(frozen=True)
class GridRecord:
    """The numbers that fix the pixels of blocks and tiles."""

    gsd_m: float
    tile_m: float
    stride_m: float
    tile_px: int
    min_valid: float
    centre_valid: bool
    jpeg_quality: int
    crs: str | None  # where one CRS was asked for; None: the UTM zone of each source


@dataclass(frozen=True)
class Manifest:
    """One generation; `hash` is over all but `generation` and `created`, so equal builds have equal hashes wherever they ran."""

    generation: int
    created: str  # UTC, ISO 8601
    identity: ModelIdentity
    grid: GridRecord
    sources: tuple[SourceRecord, ...]
    segments: tuple[SegmentRecord, ...]

    @property
    def hash(self) -> str:
        """The SHA-256 of the canonical JSON of the content."""
        return hashlib.sha256(canonical(self.content())).hexdigest()

    @property
    def dim(self) -> int:
        """D, the length of a descriptor."""
        return self.segments[0].dim

    @property
    def tiles(self) -> int:
        """How many tiles its segments hold together."""
        return sum(s.tiles for s in self.segments)

    def content(self) -> dict[str, Any]:
        """Return the hashed part as plain data."""
        content = asdict(self)
        del content["generation"], content["created"]
        return content


def canonical(data: Any) -> bytes:
    """Return the one JSON text of plain data: sorted keys, no spaces, UTF-8."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def manifest_path(index: Path, generation: int) -> Path:
    """Return where a generation's manifest lies."""
    return index / f"manifest-{generation:06d}.json"


def segment_path(index: Path, name: str) -> Path:
    """Return a segment's folder."""
    return index / "segments" / name


def write_manifest(index: Path, manifest: Manifest) -> None:
    """Write a generation's manifest and make it the current one; the second step is the commit."""
    path = manifest_path(index, manifest.generation)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "features": [],
        "generation": manifest.generation,
        "created": manifest.created,
        "hash": manifest.hash,
        "content": manifest.content(),
    }
    data = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    disk.write(path, data)
    disk.write(index / "CURRENT", f"{path.name} {hashlib.sha256(data).hexdigest()}\n".encode())


def read_manifest(index: Path) -> Manifest:
    """Read the current generation; raise InputError where there is no index, StoreError for damage, MismatchError for a newer format."""
    name, expected = _read_current(index)
    path = index / name
    try:
        data = disk.read(path)
    except FileNotFoundError as error:
        raise files.damaged(path, "is named by CURRENT, but is not there") from error
    except OSError as error:
        raise files.unreadable(path, error) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise files.damaged(path, "does not match the checksum in CURRENT: one of the two is damaged")
    try:
        return _parse(path, json.loads(data))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise files.damaged(path, f"is not a manifest of this format ({error!r})") from error


def has_index(index: Path) -> bool:
    """Say whether a folder holds a finished index."""
    return files.what_is(index / "CURRENT") is not None


def _read_current(index: Path) -> tuple[str, str]:
    pointer = index / "CURRENT"
    there = files.what_is(index)
    if there != "folder":
        what = "is a file, not an index" if there else "is not there"
        raise InputError(f"{index} {what}; give the folder that `geo index build IMAGERY --out ...` made")
    try:
        text = disk.read(pointer).decode("ascii", errors="replace")
    except FileNotFoundError as error:
        if (index / "segments").is_dir() and files.listing(index / "segments") and not (index / "work").exists():
            raise files.damaged(pointer, "is missing, but there are segments") from error
        if (index / "work").exists():
            raise InputError(f"{index} holds an unfinished build; run the same `geo index build` again to finish it") from error
        raise InputError(f"{index} is not an index: it has no CURRENT; make one: `geo index build IMAGERY --out {index}`") from error
    except OSError as error:
        raise files.unreadable(pointer, error) from error
    match = _CURRENT.fullmatch(text)
    if match is None:
        raise files.damaged(pointer, "is damaged")
    return match[1], match[3]


def _parse(path: Path, document: dict[str, Any]) -> Manifest:
    if document["format"] != FORMAT:
        raise files.damaged(path, "is not the manifest of an index")
    if document["version"] != VERSION or document["features"]:
        found = f"version {document['version']} with features {document['features']}"
        raise MismatchError(f"{path} has {found}; this program reads version {VERSION} without any: update it")
    content = document["content"]
    manifest = Manifest(
        generation=int(document["generation"]),
        created=str(document["created"]),
        identity=ModelIdentity(**content["identity"]),
        grid=GridRecord(**content["grid"]),
        sources=tuple(SourceRecord(**{**s, "bounds": _bounds(s["bounds"])}) for s in content["sources"]),
        segments=tuple(parse_segment(s) for s in content["segments"]),
    )
    if len({s.dim for s in manifest.segments}) != 1:
        raise ValueError("segments of several descriptor lengths")
    if manifest.hash != document["hash"]:
        raise files.damaged(path, "has content of another hash than it names")
    return manifest


def parse_segment(data: dict[str, Any]) -> SegmentRecord:
    """Read a segment's record from plain data; raise KeyError, TypeError or ValueError where it is none."""
    record = SegmentRecord(**{**data, "bounds": _bounds(data["bounds"]), "files": {n: FileRecord(**f) for n, f in data["files"].items()}})
    if _SEGMENT_NAME.fullmatch(record.name) is None or set(record.files) != set(SEGMENT_FILES):
        raise ValueError(f"segment {record.name}")
    return record


def _bounds(values: list[float]) -> Bounds:
    if len(values) != 4:
        raise ValueError(f"bounds {values}")
    return cast(Bounds, tuple(float(v) for v in values))


def check_file(path: Path, record: FileRecord) -> None:
    """Raise StoreError, naming the file, unless it has the size and the checksum of its record; LimitError where it may not be damaged."""
    try:
        disk.called("look", path)
        size = path.stat().st_size
    except OSError as error:
        raise files.unreadable(path, error) from error
    if size != record.bytes:
        raise files.damaged(path, f"is {size} bytes long, the manifest says {record.bytes}")
    found = files.checksum(path)
    if found != record.sha256:
        raise files.damaged(path, f"has checksum {found[:12]}, the manifest says {record.sha256[:12]}")
