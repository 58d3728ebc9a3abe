"""Joining indexes of one model and one grid into a new one, as if all their imagery had been built at once, the first over the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from crossgeo.errors import MismatchError, UsageError
from crossgeo.indexer import files
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.change import Base, Patch, without
from crossgeo.indexer.described import Describe
from crossgeo.indexer.generations import check_files, commit
from crossgeo.indexer.grid import CELLS
from crossgeo.indexer.ground import Block, Layer, joined_cells, seen
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import Manifest, SegmentRecord, SourceRecord, read_manifest, segment_path
from crossgeo.indexer.progress import Counter, Progress
from crossgeo.indexer.removed import removed_path
from crossgeo.indexer.tiles import among, around, reached


def merge_indexes(
    paths: Sequence[str | Path],
    out: str | Path,
    describe: Describe,
    batch: int = 32,
    progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Make the index `out` of several and return its manifest; they stay as they are.

    It answers as a build of all their imagery in this order: where two meet, tiles are described again, by `describe` of their own model,
    which is only called where there are such. Raise MismatchError, saying what differs, for other models or grids, InputError where `out`
    exists or an index is none, StoreError for a damaged one, LimitError for a full disk: nothing is left of `out` then.
    """
    folders, out = [Path(path) for path in paths], Path(out)
    if len(folders) < 2:
        raise UsageError("merging takes two indexes or more; name them")
    manifests = [read_manifest(folder) for folder in folders]
    for folder, manifest in zip(folders[1:], manifests[1:], strict=True):
        _check_alike(folders[0], manifests[0], folder, manifest)
    with files.new_folder(out, "index") as part:
        sources: list[SourceRecord] = []
        segments: list[SegmentRecord] = []
        for n, (folder, manifest) in enumerate(zip(folders, manifests, strict=True)):
            _copy(folder, manifest, part)
            shift = 1 + max((s.layer for s in sources), default=-1) - min(s.layer for s in manifest.sources)
            more = [replace(s, layer=s.layer + shift) for s in manifest.segments]
            segments = _joined(part, manifests[0], segments, more, describe, batch, progress, n) if segments else more
            sources += [replace(s, layer=s.layer + shift) for s in manifest.sources]
        files.remove(part / "work")
        return commit(part, manifests[0].identity, manifests[0].grid, sources, segments, None)


def _check_alike(one: Path, a: Manifest, two: Path, b: Manifest) -> None:
    for what, mine, other in (("model", asdict(a.identity), asdict(b.identity)), ("grid", asdict(a.grid), asdict(b.grid))):
        if mine != other:
            said = "; ".join(f"{name}: {mine[name]!r} and {other[name]!r}" for name in mine if mine[name] != other[name])
            raise MismatchError(f"{one} and {two} have another {what} ({said}); build one of them again as the other was built")


def _copy(folder: Path, manifest: Manifest, to: Path) -> None:
    """Copy a generation's files, and check what arrived."""
    for segment in manifest.segments:
        target = segment_path(to, segment.name)
        files.make_folder(target)
        for name in segment.files:
            files.copy(segment_path(folder, segment.name) / name, target / name)
        if segment.removed is not None:
            files.make_folder(to / "removed")
            files.copy(removed_path(folder, segment.removed), removed_path(to, segment.removed))
    check_files(to, manifest)


def _joined(
    index: Path,
    like: Manifest,
    upper: Sequence[SegmentRecord],
    lower: Sequence[SegmentRecord],
    describe: Describe,
    batch: int,
    progress: Callable[[Progress], None] | None,
    number: int,
) -> list[SegmentRecord]:
    """Return the records of the segments of two sets that lie in one folder, and of new ones where they meet."""
    out: list[SegmentRecord] = []
    patches: list[Patch] = []
    plan = {"format": 1, "command": "merge", "step": number}
    with Base(index, replace(like, segments=tuple(upper))) as above, Base(index, replace(like, segments=tuple(lower))) as below:
        for crs in [*above.zones, *(crs for crs in below.zones if crs not in above.zones)]:
            if crs not in above.zones or crs not in below.zones:
                out += [part.record for part in (above if crs in above.zones else below).zones[crs].parts]
                continue
            over, under = above.layers(crs), below.layers(crs)
            near = _near(under, over, like)
            fresh, old = _shown(under, over), _shown(over, (), near)
            meeting = Patch.of(crs, [*over, *under], fresh, like)
            met = reached(old, like.grid)
            patches.append(replace(meeting, tiles=meeting.tiles[among(meeting.tiles, met)]))
            out += without(index, above.zones[crs], reached(fresh, like.grid))
            out += without(index, below.zones[crs], met)
        tiles = Counter("describe", sum(len(patch.tiles) for patch in patches), progress)
        journal = Journal(index, plan, restart=True)
        made = [patch.describe(n, index, journal, like, describe, batch, tiles.step) for n, patch in enumerate(patches)]
    return [*out, *(record for record in made if record is not None)]


def _near(layers: Sequence[Layer], others: Sequence[Layer], like: Manifest) -> dict[Block, Mask]:
    """Return all cells of those blocks of other layers that a tile may show together with one of these."""
    reach = set(around({block for layer in layers for block in layer.store.blocks()}, like.grid))
    return {block: np.ones((CELLS, CELLS), bool) for layer in others for block in layer.store.blocks() if block in reach}


def _shown(layers: Sequence[Layer], above: Sequence[Layer], near: Mapping[Block, Mask] | None = None) -> dict[Block, Mask]:
    """Return the cells in which any of several layers shows beneath others."""
    return joined_cells(seen(layer, [*above, *layers[:n]], near) for n, layer in enumerate(layers))
