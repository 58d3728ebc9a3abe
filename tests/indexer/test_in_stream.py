"""A build whose tiles are described by a device that takes whole pieces and is never waited for: the same index, and the same errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.errors import WeightsError
from crossgeo.indexer import described as describing
from crossgeo.indexer.build import build_index
from crossgeo.indexer.described import described_pieces, in_pieces

Tiles = NDArray[np.uint8]


class Device:
    """Describes in a stream; `ahead` pieces are asked for before one is given."""

    def __init__(self, describe: Any, ahead: int = 2, fail_at: int | None = None) -> None:
        self.pieces: list[int] = []
        self._describe, self._ahead, self._fail_at = describe, ahead, fail_at

    def __call__(self, tiles: Tiles) -> NDArray[np.float32]:
        return np.asarray(self._describe(tiles), np.float32)

    def stream(self, pieces: Iterable[Sequence[Tiles]]) -> Iterator[NDArray[np.float32]]:
        waiting: list[Tiles] = []
        for piece in pieces:
            waiting.append(np.concatenate(piece))
            if len(waiting) > self._ahead:
                yield self._made(waiting.pop(0))
        yield from map(self._made, waiting)

    def _made(self, tiles: Tiles) -> NDArray[np.float32]:
        if len(self.pieces) == self._fail_at:
            raise OSError("the device is gone")
        self.pieces.append(len(tiles))
        return self(tiles)


def test_a_stream_makes_the_index_that_batches_make_and_goes_on_where_it_was_broken_off(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = write_raster(tmp_path / "wide.tif", paint(400, 500))
    monkeypatch.setattr(describing, "BATCHES_PER_PIECE", 2)
    small = replace(options, batch=4)
    wanted = build_index([wide], tmp_path / "wanted.geo", describe, identity, small)
    whole, broken, rest = Device(describe), Device(describe, fail_at=2), Device(describe)
    assert build_index([wide], tmp_path / "a.geo", whole, identity, small).hash == wanted.hash
    assert max(whole.pieces) == 8 and sum(whole.pieces) == sum(segment.tiles for segment in wanted.segments)
    with pytest.raises(OSError, match="the device is gone"):
        build_index([wide], tmp_path / "b.geo", broken, identity, small)
    assert build_index([wide], tmp_path / "b.geo", rest, identity, small).hash == wanted.hash
    assert sum(broken.pieces) + sum(rest.pieces) == sum(whole.pieces) and broken.pieces


@pytest.mark.parametrize("rows", [lambda n: np.ones((n, 4)), lambda n: np.full((n, 4), np.nan), lambda n: np.eye(4)[np.zeros(n + 1, int)]])
def test_a_stream_that_gives_no_unit_vectors_is_refused(rows: Any) -> None:
    tiles = np.zeros((3, 8, 8, 3), np.uint8)
    counted: list[int] = []
    with pytest.raises(WeightsError, match="model m gives no finite unit vectors"):
        list(described_pieces(Device(lambda given: rows(len(given))), [[tiles, tiles]], "m", counted.append))
    assert counted == []


@pytest.mark.parametrize("stream", [False, True])
def test_pieces_are_described_in_order_and_counted(stream: bool) -> None:
    def describe(tiles: Tiles) -> NDArray[np.float32]:
        return np.eye(16, dtype=np.float32)[tiles[:, 0, 0, 0]]

    batches = [np.full((2, 4, 4, 3), number, np.uint8) for number in range(5)]
    counted: list[int] = []
    pieces = in_pieces(iter(batches), 10, 2) if not stream else iter([batches[:2], batches[2:]])
    found = list(described_pieces(Device(describe) if stream else describe, pieces, "m", counted.append))
    assert np.concatenate(found).argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert counted == ([4, 6] if stream else [2] * 5)
