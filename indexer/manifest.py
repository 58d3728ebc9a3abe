"""The manifest of one generation of an index: what it holds, with which model, and the size and checksum of every file.

`manifest-000001.json` never changes once written; `CURRENT` names it and is replaced in one step, which is the commit (docs/formats.md).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from crossgeo import disk
from crossgeo.errors import InputError, MismatchError, StoreError
from crossgeo.indexer import files
from crossgeo.indexer.grid import Bounds

FORMAT = "crossgeo-index"
VERSION = 1
IMAGERY_FILE = "blocks.lmdb"
TILES_FILE = "descriptors.h5"
SEARCH_FILE = "ann.faiss"
SEARCH_FILES = frozenset({SEARCH_FILE, "axes.npy", "refine.faiss", "search.json"})  # can be made again from the tiles' file
ATTEMPTS = 50  # of a reader: so many new generations may each take away, while it reads, what an older one needed
FEATURES = frozenset(
    {"layers", "lists", "removed", "vintage", "mask", "content"}
)  # what a reader must understand to answer rightly (docs/formats.md)
_CURRENT = re.compile(r"(manifest-(\d{6,})\.json) ([0-9a-f]{64})\n")
_MANIFEST = re.compile(r"(manifest-(\d{6,})\.json)")
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
class RemovedRecord:
    """What of a segment is removed, in `removed/`: how many of its tiles, and the file that says which, and which imagery."""

    tiles: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SearchRecord:
    """What an approximate search of a segment finds and takes, measured against exact search when it was written."""

    structure: str
    recall_at_1: float
    recall_at_10: float
    memory_bytes: int
    lists_searched: int
    candidates: float


@dataclass(frozen=True)
class SegmentRecord:
    """One folder under `segments/`: the imagery and descriptors of the sources of one metric CRS, or either of the two."""

    name: str
    crs: str  # EPSG:..., or WKT where it has no code
    bounds: Bounds  # metres, of its blocks' valid cells
    blocks: int
    tiles: int
    dim: int  # D, the length of a descriptor
    files: dict[str, FileRecord]
    layer: int = 0  # its imagery lies over that of higher layers in the same CRS
    removed: RemovedRecord | None = None
    search: SearchRecord | None = None  # None: exact

    @property
    def live_tiles(self) -> int:
        """How many of its tiles are not removed."""
        return self.tiles - (0 if self.removed is None else self.removed.tiles)


@dataclass(frozen=True)
class SourceRecord:
    """A source as it was read: name without folders, kind, CRS, bounds in it, mean ground sample distance, fingerprint of its files."""

    name: str
    kind: str
    crs: str
    bounds: Bounds
    gsd_m: float
    fingerprint: str
    vintage: str | None = None  # when it was taken: 2023, 2023-06 or 2023-06-30
    licence: str | None = None
    mask: str | None = None  # a hash of the ground that was left out of it
    layer: int = 0  # the layer of its segment


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
    min_contrast: float | None = None  # tiles that show less are left out (contrast.py)
    sparse_below: float | None = None  # of tiles that show less, every second of every second row is kept


@dataclass(frozen=True)
class Manifest:
    """One generation; `hash` is over the content alone, so equal builds have equal hashes wherever they ran."""

    generation: int
    created: str  # UTC, ISO 8601
    identity: ModelIdentity
    grid: GridRecord
    sources: tuple[SourceRecord, ...]
    segments: tuple[SegmentRecord, ...]
    previous: int | None = None  # the generation that it was made from, or replaced
    latency_ms: Mapping[str, float] = field(
        default_factory=dict, compare=False
    )  # of one query in a segment by its name, as measured when it was made
    calibration: Mapping[str, Any] | None = None  # how sure answers are, as `geo calibrate` measured; plain data of the engine's

    @property
    def hash(self) -> str:
        """The SHA-256 of the canonical JSON of the content."""
        return hashlib.sha256(canonical(self.content())).hexdigest()

    @property
    def dim(self) -> int:
        """D, the length of a descriptor."""
        return next(s.dim for s in self.segments if s.tiles)

    @property
    def tiles(self) -> int:
        """How many tiles its segments hold together, without those that are removed."""
        return sum(s.live_tiles for s in self.segments)

    def features(self) -> list[str]:
        """Return the names of what a reader must understand to answer rightly from it."""
        found = set()
        if any(s.layer or set(s.files) - SEARCH_FILES != {IMAGERY_FILE, TILES_FILE} for s in self.segments):
            found.add("layers")
        if any(s.search for s in self.segments):
            found.add("lists")
        if any(s.removed for s in self.segments):
            found.add("removed")
        if any(s.vintage is not None or s.licence is not None for s in self.sources):
            found.add("vintage")
        if any(s.mask is not None for s in self.sources):
            found.add("mask")
        if self.grid.min_contrast is not None or self.grid.sparse_below is not None:
            found.add("content")
        return sorted(found)

    def content(self) -> dict[str, Any]:
        """Return the hashed part as plain data."""
        return {
            "identity": asdict(self.identity),
            "grid": plain(self.grid),
            "sources": [plain(s) for s in self.sources],
            "segments": [plain(s) for s in self.segments],
        }


def plain(record: SegmentRecord | SourceRecord | GridRecord) -> dict[str, Any]:
    """Return a record as plain data, without what is as in an index of the first days: its hash stays what it was."""
    defaults = {f.name: f.default for f in fields(record) if f.default is not MISSING}
    data = asdict(record)
    return {name: value for name, value in data.items() if name not in defaults or value != defaults[name]}


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
        "features": manifest.features(),
        "generation": manifest.generation,
        "previous": manifest.previous,
        "created": manifest.created,
        "latency_ms": {name: round(ms, 4) for name, ms in sorted(manifest.latency_ms.items())},
        **({} if manifest.calibration is None else {"calibration": dict(manifest.calibration)}),
        "hash": manifest.hash,
        "content": manifest.content(),
    }
    data = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    disk.write(path, data)
    point_to(index, path, data)


def read_manifest(index: Path) -> Manifest:
    """Read the current generation; raise InputError where there is no index, StoreError for damage, MismatchError for a newer format."""
    name, expected = _read_current(index)
    path = index / name
    if files.what_is(path) is None:
        raise files.damaged(path, "is named by CURRENT, but is not there")
    data = files.read(path)
    if hashlib.sha256(data).hexdigest() != expected:
        raise files.damaged(path, "does not match the checksum in CURRENT: one of the two is damaged")
    return parse_manifest(path, data)


def parse_manifest(path: Path, data: bytes) -> Manifest:
    """Read the bytes of a manifest file; raise StoreError where they are none that is whole, MismatchError for a newer format."""
    try:
        return _parse(path, json.loads(data))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise files.damaged(path, f"is not a manifest of this format ({error!r})") from error


def generations(index: Path) -> dict[int, Path]:
    """Return the manifests that lie in an index by generation, the oldest first; whether they are whole is not looked at."""
    found = {int(match[2]): path for path in files.listing(index) if (match := _MANIFEST.fullmatch(path.name))}
    return dict(sorted(found.items()))


def point_to(index: Path, path: Path, data: bytes) -> None:
    """Make a manifest that lies on disk, whose bytes are `data`, the current one; this is the commit."""
    disk.write(index / "CURRENT", f"{path.name} {hashlib.sha256(data).hexdigest()}\n".encode())


def has_index(index: Path) -> bool:
    """Say whether a folder holds a finished index."""
    return files.what_is(index / "CURRENT") is not None


def pointer(index: Path) -> str | None:
    """Return name and checksum of the manifest that counts, None where CURRENT is damaged: a reader sees by it whether it was overtaken.

    Raises InputError where there is no index.
    """
    try:
        return " ".join(_read_current(index))
    except StoreError:
        return None


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
    if document["version"] != VERSION or not set(document["features"]) <= FEATURES:
        found = f"version {document['version']} with features {document['features']}"
        raise MismatchError(f"{path} has {found}; this program reads version {VERSION} with {sorted(FEATURES)}: update it")
    content = document["content"]
    manifest = Manifest(
        generation=int(document["generation"]),
        created=str(document["created"]),
        identity=ModelIdentity(**content["identity"]),
        grid=GridRecord(**content["grid"]),
        sources=tuple(SourceRecord(**{**s, "bounds": _bounds(s["bounds"])}) for s in content["sources"]),
        segments=tuple(parse_segment(s) for s in content["segments"]),
        previous=document.get("previous"),
        latency_ms={str(name): float(ms) for name, ms in document.get("latency_ms", {}).items()},
        calibration=_calibration(document.get("calibration")),
    )
    if len({s.dim for s in manifest.segments if s.tiles}) != 1:
        raise ValueError("segments of several descriptor lengths")
    if manifest.hash != document["hash"]:
        raise files.damaged(path, "has content of another hash than it names")
    return manifest


def _calibration(data: Any) -> Mapping[str, Any] | None:
    if data is not None and not isinstance(data, dict):
        raise TypeError(f"a calibration that is a {type(data).__name__}")
    return data


def parse_segment(data: dict[str, Any]) -> SegmentRecord:
    """Read a segment's record from plain data; raise KeyError, TypeError or ValueError where it is none."""
    removed, search = data.get("removed"), data.get("search")
    read: dict[str, Any] = {
        "bounds": _bounds(data["bounds"]),
        "files": {n: FileRecord(**f) for n, f in data["files"].items()},
        "removed": None if removed is None else RemovedRecord(**removed),
        "search": None if search is None else SearchRecord(**search),
    }
    record = SegmentRecord(**{**data, **read})
    parts = {IMAGERY_FILE} & record.files.keys(), {TILES_FILE, SEARCH_FILE} & record.files.keys()
    if _SEGMENT_NAME.fullmatch(record.name) is None or not any(parts) or len(parts[1]) == 1 or any("/" in name for name in record.files):
        raise ValueError(f"segment {record.name}")
    if (record.tiles > 0) != bool(parts[1]) or (record.blocks > 0) != bool(parts[0]):
        raise ValueError(f"segment {record.name} without what it counts")
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


def check_model(path: Path, manifest: Manifest, identity: ModelIdentity) -> None:
    """Raise MismatchError, saying what differs, unless a model is the one that described an index's tiles."""
    mine = manifest.identity
    if identity != mine:
        what = "set of weights" if identity.sha256 != mine.sha256 else "view" if identity.view != mine.view else "name"
        raise MismatchError(
            f"{path} was built with {mine.name} (weights {mine.sha256[:12]}, view {mine.view[:12]}), not with {identity.name} "
            f"(weights {identity.sha256[:12]}, view {identity.view[:12]}): another {what}; use its own model or build it again"
        )
