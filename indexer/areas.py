"""All areas of a build, one after the other: cut, described and moved in, the next ones cut while one is described."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from crossgeo.errors import InputError
from crossgeo.indexer.area import Area
from crossgeo.indexer.manifest import SegmentRecord
from crossgeo.indexer.pieces import Maker
from crossgeo.indexer.progress import AreaCounts, Progress
from crossgeo.indexer.vectors.structure import Budget

_MAX_BLOCKS = 20_000_000


def make_areas(areas: Sequence[Area], maker: Maker, progress: Callable[[Progress], None] | None, budget: Budget) -> list[SegmentRecord]:
    """Cut, describe and move in all areas, whose pieces `maker` makes; raise InputError for more ground than an index may hold."""
    count = sum(len(a.blocks) for a in areas)
    if count > _MAX_BLOCKS:
        raise InputError(f"the imagery spans {count} blocks, more than {_MAX_BLOCKS}; use a larger --gsd-m or fewer sources")
    found = {n: record for n, a in enumerate(areas) if (record := a.finished()) is not None}
    counts = AreaCounts(count, progress, maker)
    for n, record in found.items():
        counts.known(record.tiles)
        counts.cut(len(areas[n].blocks))
    with _cutting([area for n, area in enumerate(areas) if n not in found], counts, maker) as cut:
        for record in found.values():
            counts.described(record.tiles)
        for n, area in enumerate(areas):
            if n not in found:
                if maker.overlaps:
                    area.describe_early()
                next(cut)
                found[n] = area.describe(counts.described, budget)
    return [found[n] for n in range(len(areas))]


@contextmanager
def _cutting(areas: Sequence[Area], counts: AreaCounts, maker: Maker) -> Iterator[Iterator[None]]:
    """Give an iterator that waits for each area to be cut, in order, by another thread where the maker can work on both.

    It goes on to the end whatever is described meanwhile: what is cut lies on disk, and what is wrong with the last source shows early.
    """

    def cut(area: Area) -> None:
        try:
            area.cut_blocks(counts.cut)
            counts.known(len(area.tiles))
        except BaseException as error:
            counts.end(error)
            raise

    if not maker.overlaps:
        for area in areas:
            cut(area)
        yield iter([None] * len(areas))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        cutting = [pool.submit(cut, area) for area in areas]
        try:
            yield (one.result() for one in cutting)
        except BaseException as error:
            counts.end(error)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
