"""Building an index: imagery to blocks to tiles to descriptors to a committed generation; a killed build goes on where it ended."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.disk import guarded
from crossgeo.errors import GeoError, InputError, UsageError
from crossgeo.indexer import files
from crossgeo.indexer.area import Area
from crossgeo.indexer.areas import make_areas
from crossgeo.indexer.described import Describe
from crossgeo.indexer.generations import KEEP, check_files, commit, tidy
from crossgeo.indexer.imagery import open_sources
from crossgeo.indexer.journal import Journal, begun_command
from crossgeo.indexer.lock import locked
from crossgeo.indexer.makers import check_storage, forget_shards, maker_of
from crossgeo.indexer.manifest import (
    GridRecord,
    Manifest,
    ModelIdentity,
    SegmentRecord,
    SourceRecord,
    has_index,
    plain,
    read_manifest,
    segment_path,
)
from crossgeo.indexer.places import crs_text, ground_m
from crossgeo.indexer.progress import Progress
from crossgeo.indexer.region import Region
from crossgeo.indexer.segment_files import is_whole
from crossgeo.indexer.shards import Prints, path_of
from crossgeo.indexer.source import Source
from crossgeo.indexer.sources_of import VINTAGE
from crossgeo.indexer.spread import Crew
from crossgeo.indexer.vectors.structure import USUAL, Budget

_MAX_STRETCH = 0.01  # of lengths, that a metric CRS may have where imagery lies


@dataclass(frozen=True)
class BuildOptions:
    """How an index is cut; `tile_m` and `tile_px` are those of the model's view."""

    gsd_m: float = 0.2  # metres of ground a pixel of a block covers
    tile_m: float = 60.0  # side of a tile
    stride_m: float = 15.0  # from one tile's centre to the next
    tile_px: int = 192  # side of a tile as the model reads it
    min_valid: float = 0.15  # share of a tile that must be imagery: photos are taken at the rim of a flight, too
    min_contrast: float | None = None  # tiles that show less (contrast.py), like water, are left out
    sparse_below: float | None = None  # of tiles that show less, every second of every second row is kept: a coarser stride there
    centre_valid: bool = False  # True asks for imagery at the centre of each tile; photos taken past the rim would find none
    crs: str | None = None  # one metric CRS for all sources; None: the UTM zone of each source's centre
    source_crs: str | None = None  # CRS of sources that name none
    batch: int = 32  # tiles described at once
    jpeg_quality: int = 90  # of blocks
    max_coarser: float = 4.0  # a source with pixels more than this many times gsd_m is refused
    overwrite: bool = False  # replace a finished index or another command's unfinished one
    vintage: str | None = None  # when the imagery was taken: 2023, 2023-06 or 2023-06-30
    licence: str | None = None
    masks: tuple[Region, ...] = ()  # ground that is not to be indexed
    keep: int = KEEP  # how many generations before this one stay
    budget: Budget = USUAL  # what a search may cost and must find

    def __post_init__(self) -> None:
        checks = {
            "gsd_m": 0.0 < self.gsd_m <= 100.0,
            "tile_m": self.gsd_m <= self.tile_m <= 8192 * self.gsd_m,
            "stride_m": 0.0 < self.stride_m < math.inf,
            "tile_px": 1 <= self.tile_px <= 4096,
            "min_valid": 0.0 <= self.min_valid <= 1.0,
            "batch": self.batch >= 1,
            "jpeg_quality": 1 <= self.jpeg_quality <= 100,
            "max_coarser": self.max_coarser > 0.0,
            "keep": self.keep >= 0,
            "min_contrast": self.min_contrast is None or 0.0 <= self.min_contrast <= 255.0,
            "sparse_below": self.sparse_below is None or 0.0 <= self.sparse_below <= 255.0,
        }
        for name, fine in checks.items():
            if not fine:
                raise UsageError(f"{name} = {getattr(self, name)} is out of range (gsd_m = {self.gsd_m}); see `geo index build --help`")
        check_vintage(self.vintage)


def check_vintage(vintage: str | None) -> None:
    """Raise UsageError unless it is a year, a month or a day."""
    if vintage is not None and VINTAGE.fullmatch(vintage) is None:
        raise UsageError(f"vintage {vintage!r} is no date; give a year, a month or a day, like 2023, 2023-06 or 2023-06-30")


def build_index(
    source_paths: Sequence[str | Path],
    out: str | Path,
    work: Describe | Crew,
    identity: ModelIdentity,
    options: BuildOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Make the index `out` of imagery and return its manifest; the same call goes on after an interruption and ends at the same hash.

    `work` is what describes tiles here, or a `Crew` of workers elsewhere who cut and describe. Earlier sources lie over later ones. An
    index that is already there and equal is returned as it is; any other is replaced only with `options.overwrite`, in one step at the
    very end.
    Raise InputError for imagery or a path where nothing can be made, UsageError for an output that is taken, LockedError where
    another build runs, LimitError for a full disk, and of a crew's work what `shards.Runner` says.
    """
    options = options or BuildOptions()
    out = Path(out)
    _check_out(out)
    if not source_paths:
        raise InputError("no imagery given; name GeoTIFFs or folders of tiles")
    sources = open_sources(source_paths, options.source_crs)
    try:
        areas = group(sources, options)
        wanted = _Wanted(identity, grid_of(options), source_records(sources, options))
        check_storage(work)
        files.make_folder(out)
        with locked(out):
            done = _already_there(out, wanted, overwrite=options.overwrite)
            if done is None:
                prints = {path_of(s): s.glance() for s in sources}
                segments = _make_segments(out, areas, wanted, prints, work, options, progress)
                done = commit(out, wanted.identity, wanted.grid, wanted.sources, segments, _current(out))
                forget_shards(out, work)
                tidy(out, done, options.keep, ["work"])
            else:
                forget_shards(out, work)
                tidy(out, done, options.keep, [] if begun_command(out) == "add" else ["work"])  # a kill may have come before this
            return done
    finally:
        for source in sources:
            source.close()


@dataclass(frozen=True)
class _Wanted:
    """What decides the content of an index before any of it is made."""

    identity: ModelIdentity
    grid: GridRecord
    sources: tuple[SourceRecord, ...]


def source_records(sources: Sequence[Source], o: BuildOptions, layer: int = 0) -> tuple[SourceRecord, ...]:
    """Return what a manifest says of sources."""
    mask = hashlib.sha256("".join(region.digest() for region in o.masks).encode()).hexdigest() if o.masks else None
    return tuple(
        SourceRecord(s.path.resolve().name, s.kind, crs_text(s.crs), s.bounds, s.gsd_m, s.fingerprint(), o.vintage, o.licence, mask, layer)
        for s in sources
    )


def grid_of(o: BuildOptions) -> GridRecord:
    """Return the numbers that fix the pixels of blocks and tiles."""
    crs = None if o.crs is None else crs_text(geodesy.parse_crs(o.crs))
    content = o.min_contrast, o.sparse_below
    return GridRecord(o.gsd_m, o.tile_m, o.stride_m, o.tile_px, o.min_valid, o.centre_valid, o.jpeg_quality, crs, *content)


def _check_out(out: Path) -> None:
    there = files.what_is(out)
    if there == "file":
        raise UsageError(f"{out} is a file; choose another --out")
    with guarded(out):
        if there == "folder" and files.listing(out) and not (out / "LOCK").exists() and not has_index(out):
            raise UsageError(f"{out} is a folder of other things; choose another --out")


def group(sources: Sequence[Source], o: BuildOptions) -> dict[str, list[Source]]:
    """Return the sources by the metric CRS (its text) of the segment they go to; raise InputError for one that cannot be used."""
    groups: dict[str, list[Source]] = {}
    one = None if o.crs is None else geodesy.parse_crs(o.crs)
    if one is not None and not geodesy.is_metric(one):
        raise UsageError(f"--crs {o.crs} is not a metric CRS of true scale; leave it out, or name a UTM zone like EPSG:32645")
    for s in sources:
        if s.gsd_m > o.max_coarser * o.gsd_m:
            raise InputError(
                f"{s.path} has pixels of {s.gsd_m:.3g} m, too coarse for an index of {o.gsd_m:g} m; give finer imagery, "
                f"or a coarser index with --gsd-m {s.gsd_m:.2g} and a model made for it"
            )
        x, y = (s.bounds[0] + s.bounds[2]) / 2, (s.bounds[1] + s.bounds[3]) / 2
        crs = one or geodesy.metric_crs_at(*geodesy.to_lat_lon(s.crs, x, y))
        _check_scale(s, crs)
        if not s.has_imagery():
            raise InputError(f"{s.path}: every pixel is masked as no data; check its nodata value, mask or alpha band, or leave it out")
        groups.setdefault(crs_text(crs), []).append(s)
    return groups


def _check_scale(source: Source, crs: CRS) -> None:
    """Raise InputError where a source reaches so far from a CRS's own ground that its metres are none."""
    corners = [source.bounds[i] for i in (0, 2)], [source.bounds[i] for i in (1, 3)]
    for x in corners[0]:
        for y in corners[1]:
            to_x, to_y = geodesy.from_lat_lon(crs, *geodesy.to_lat_lon(source.crs, x, y))
            if not (math.isfinite(to_x) and math.isfinite(to_y)):
                stretch = math.inf
            else:
                stretch = abs(ground_m(crs, Affine(1.0, 0.0, to_x, 0.0, -1.0, to_y), 0.0, 0.0) - 1.0)
            if stretch > _MAX_STRETCH:
                raise InputError(
                    f"{source.path} reaches ground where {crs.name} is no longer true to scale; "
                    "leave --crs out, or split the imagery by place and give the parts as sources"
                )


def _already_there(out: Path, wanted: _Wanted, *, overwrite: bool) -> Manifest | None:
    """Return the finished index's manifest where it is the one wanted and whole; None where there is one to make."""
    if not has_index(out):
        return None
    try:
        manifest = read_manifest(out)
    except GeoError:
        if overwrite:
            return None
        raise
    if (manifest.identity, manifest.grid, manifest.sources) != (wanted.identity, wanted.grid, wanted.sources):
        if overwrite:
            return None
        raise UsageError(f"{out} holds another index (imagery, options or model differ); pass --overwrite, or choose another --out")
    if overwrite and not all(is_whole(segment_path(out, s.name), s) for s in manifest.segments):
        return None
    check_files(out, manifest)
    return manifest


def _current(out: Path) -> int | None:
    """Return the generation that a build replaces; None where there is none that can be read."""
    try:
        return read_manifest(out).generation
    except GeoError:
        return None


def _make_segments(
    out: Path,
    groups: dict[str, list[Source]],
    wanted: _Wanted,
    prints: Prints,
    work: Describe | Crew,
    options: BuildOptions,
    progress: Callable[[Progress], None] | None,
) -> list[SegmentRecord]:
    plan = _plan(wanted, options)
    journal = Journal(out, plan, restart=options.overwrite)
    maker = maker_of(work, journal, plan, prints, wanted.grid, options.source_crs, options.batch, wanted.identity.name)
    areas = [
        Area(n, out, journal, maker, geodesy.parse_crs(crs), sources, wanted.grid, options.masks)
        for n, (crs, sources) in enumerate(groups.items())
    ]
    return make_areas(areas, maker, progress, options.budget)


def _plan(wanted: _Wanted, options: BuildOptions) -> dict[str, Any]:
    plan = build_plan(wanted.identity, wanted.grid, wanted.sources)
    plan["options"]["batch"] = options.batch
    return plan


def build_plan(identity: ModelIdentity, grid: GridRecord, sources: Sequence[SourceRecord]) -> dict[str, Any]:
    """Return the plan of a build's journal, without the size of its batches."""
    return {"format": 1, "model": asdict(identity), "options": plain(grid), "sources": [plain(s) for s in sources]}
