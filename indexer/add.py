"""Adding imagery to a finished index: new segments beside the old, and the tiles at the seam described again over both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crossgeo import geodesy
from crossgeo.errors import UsageError
from crossgeo.indexer.area import Area, Between
from crossgeo.indexer.areas import make_areas
from crossgeo.indexer.block_store import BlockStore
from crossgeo.indexer.build import BuildOptions, build_plan, check_vintage, group, source_records
from crossgeo.indexer.change import Base, without
from crossgeo.indexer.described import Describe
from crossgeo.indexer.generations import KEEP, check_files, commit, tidy
from crossgeo.indexer.ground import Layer, seen
from crossgeo.indexer.imagery import open_sources
from crossgeo.indexer.journal import Journal, drop_finished
from crossgeo.indexer.lock import locked
from crossgeo.indexer.manifest import (
    IMAGERY_FILE,
    Manifest,
    ModelIdentity,
    SegmentRecord,
    SourceRecord,
    check_model,
    plain,
    read_manifest,
    segment_path,
)
from crossgeo.indexer.pieces import Here
from crossgeo.indexer.progress import Progress
from crossgeo.indexer.region import Region
from crossgeo.indexer.tiles import reached
from crossgeo.indexer.vectors.structure import USUAL, Budget


@dataclass(frozen=True)
class AddOptions:
    """How imagery is added; how it is cut is the index's own."""

    source_crs: str | None = None  # CRS of sources that name none
    vintage: str | None = None  # when it was taken: 2023, 2023-06 or 2023-06-30
    licence: str | None = None
    masks: tuple[Region, ...] = ()  # ground that is not to be indexed
    over: bool = False  # whether it lies over the imagery that is there, not under it
    batch: int = 32  # tiles described at once
    max_coarser: float = 4.0  # a source with pixels more than this many times the index's is refused
    keep: int = KEEP  # how many generations before the new one stay
    budget: Budget = USUAL  # what a search of it may cost and must find
    restart: bool = False  # throw away an unfinished addition of other imagery

    def __post_init__(self) -> None:
        check_vintage(self.vintage)
        if self.batch < 1 or self.keep < 0 or not self.max_coarser > 0.0:
            raise UsageError(f"batch = {self.batch}, keep = {self.keep} or max_coarser = {self.max_coarser} is out of range")

    def build_options(self, manifest: Manifest) -> BuildOptions:
        """Return the options of a build that cuts as the index does."""
        return BuildOptions(
            **asdict(manifest.grid), source_crs=self.source_crs, batch=self.batch, max_coarser=self.max_coarser, vintage=self.vintage,
            licence=self.licence, masks=self.masks, keep=self.keep,
        )  # fmt: skip


def add_to_index(
    source_paths: Sequence[str | Path],
    index: str | Path,
    describe: Describe,
    identity: ModelIdentity,
    options: AddOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Add imagery to an index and return its new manifest; it then answers as one built of the old imagery and the new, in this order.

    The same call goes on after an interruption, and returns a finished addition as it is. With `options.over` the new imagery comes first.
    Raise MismatchError for another model, InputError for imagery or an index that cannot be used, StoreError for a damaged index,
    LockedError where another process writes, LimitError for a full disk: the index is then as before.
    """
    options = options or AddOptions()
    index = Path(index)
    check_model(index, read_manifest(index), identity)
    sources = open_sources(source_paths, options.source_crs)
    try:
        with locked(index):
            manifest = read_manifest(index)
            check_model(index, manifest, identity)
            how = options.build_options(manifest)
            groups = group(sources, how)
            numbers = [s.layer for s in manifest.sources]
            layer = min(numbers) - 1 if options.over else max(numbers) + 1
            records = source_records(sources, how, layer)
            if _already_added(manifest, records, over=options.over):
                check_files(index, manifest)
                tidy(index, manifest, options.keep, ["work"])  # a kill may have come before this
                return manifest
            drop_finished(index, build_plan(manifest.identity, manifest.grid, manifest.sources))
            with Base(index, manifest) as base:
                journal = _journal(index, manifest, records, options)
                maker = Here(journal, describe, options.batch, identity.name)
                areas = []
                for n, (crs, some) in enumerate(groups.items()):
                    layers = tuple(base.layers(crs))
                    between = Between(layer, (), layers) if options.over else Between(layer, layers)
                    areas.append(Area(n, index, journal, maker, geodesy.parse_crs(crs), some, manifest.grid, options.masks, between))
                made = make_areas(areas, maker, progress, options.budget)
                kept = _superseded(base, made, over=options.over)
            all_sources = (*records, *manifest.sources) if options.over else (*manifest.sources, *records)
            done = commit(index, manifest.identity, manifest.grid, all_sources, [*kept, *made], manifest.generation)
            tidy(index, done, options.keep, ["work"])
        return done
    finally:
        for source in sources:
            source.close()


def _journal(index: Path, manifest: Manifest, records: Sequence[SourceRecord], options: AddOptions) -> Journal:
    plan: dict[str, Any] = {
        "format": 1,
        "command": "add",
        "index": manifest.hash,
        "options": {"batch": options.batch, "over": options.over},
        "sources": [plain(s) for s in records],
    }
    return Journal(index, plan, restart=options.restart, option="--restart")


def _already_added(manifest: Manifest, records: Sequence[SourceRecord], *, over: bool) -> bool:
    """Say whether the last addition to an index was of these sources, and they are whole in it."""
    there = manifest.sources[: len(records)] if over else manifest.sources[-len(records) :]
    layers = {s.layer for s in there}
    if len(layers) != 1 or any(s.layer in layers and s.removed is not None for s in manifest.segments):
        return False
    alone = sum(s.layer in layers for s in manifest.sources) == len(records) < len(manifest.sources)
    return alone and tuple(replace(s, layer=0) for s in there) == tuple(replace(s, layer=0) for s in records)


def _superseded(base: Base, made: Sequence[SegmentRecord], *, over: bool) -> list[SegmentRecord]:
    """Return the records of the old segments, without the tiles that the new ones have again."""
    kept: list[SegmentRecord] = []
    new = {record.crs: record for record in made}
    for crs, zone in base.zones.items():
        if crs not in new:
            kept += [part.record for part in zone.parts]
            continue
        with BlockStore(segment_path(base.index, new[crs].name) / IMAGERY_FILE) as store:
            changed = seen(Layer(store), () if over else base.layers(crs))
        kept += without(base.index, zone, reached(changed, base.manifest.grid))
    return kept
