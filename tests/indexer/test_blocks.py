"""Blocks keep pixels and masks; windows read from them are the same pixels however they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.errors import StoreError
from crossgeo.indexer.block_store import BlockStore, block_cells, decode_block, encode_block, write_blocks
from crossgeo.indexer.grid import Window
from crossgeo.indexer.windows import BlockCache, read_mosaic, read_window, read_windows, scale


def psnr(a: Any, b: Any) -> float:
    """Return the peak signal to noise ratio in decibels."""
    return float(10 * np.log10(255**2 / np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2)))


@pytest.fixture
def store(tmp_path: Path, paint: Any) -> Any:
    """Yield a store of 3 x 3 blocks about the origin, one of them missing, one partly valid."""
    whole = paint(768, 768)
    blocks = []
    for by in (-1, 0, 1):
        for bx in (-1, 0, 1):
            valid = np.ones((256, 256), bool)
            if (bx, by) == (1, 0):
                valid[:, 100:] = False
            if (bx, by) != (1, 1):
                piece = whole[(by + 1) * 256 : (by + 2) * 256, (bx + 1) * 256 : (bx + 2) * 256]
                blocks.append(((bx, by), encode_block(piece, valid, 90)))
    write_blocks(tmp_path / "b.lmdb", blocks, sum(len(v) for _, v in blocks), len(blocks))
    with BlockStore(tmp_path / "b.lmdb") as opened:
        yield opened


def test_a_block_comes_back_close_to_its_pixels_and_exactly_in_its_mask(paint: Any) -> None:
    rgb = paint(256, 256)
    valid = np.random.default_rng(0).random((256, 256)) < 0.7
    found, mask = decode_block(encode_block(rgb, valid, 90))
    assert mask is not None
    np.testing.assert_array_equal(mask, valid)
    assert not found[~valid].any()
    full, none = decode_block(encode_block(rgb, np.ones((256, 256), bool), 90))
    assert none is None
    assert psnr(full, rgb) > 35


def test_cells_are_valid_from_half_of_their_pixels_on() -> None:
    valid = np.zeros((256, 256), bool)
    valid[:8, :16] = True  # just half of the first cell
    valid[16:23, :16] = True  # a little less
    cells = block_cells(encode_block(np.zeros((256, 256, 3), np.uint8), valid, 90))
    assert cells[0, 0]
    assert cells.sum() == 1


def test_a_store_gives_its_blocks_in_order(store: Any) -> None:
    keys = [key for key, _ in store.items()]
    assert len(store) == 8
    assert keys == sorted(keys, key=lambda k: (k[1], k[0]))
    assert (1, 1) not in store
    assert store[1, 1] is None
    assert (0, 0) in store


def test_equal_blocks_make_equal_files(tmp_path: Path, store: Any) -> None:
    blocks = list(store.items())
    for name in ("one", "two"):
        write_blocks(tmp_path / name, blocks, sum(len(v) for _, v in blocks), len(blocks))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_opens_twice_in_one_process_and_closes_once_for_each(store: Any) -> None:
    other = BlockStore(store.path)
    other.close()
    other.close()
    assert store[0, 0] is not None


def test_what_is_no_block_is_a_store_error(tmp_path: Path, store: Any) -> None:
    for value in (b"", b"\x02" + bytes(60), store[0, 0][:60], store[1, 0][:70]):
        write_blocks(tmp_path / "bad", [((0, 0), value)], 100, 1)
        with BlockStore(tmp_path / "bad") as bad, pytest.raises(StoreError, match=r"bad has a damaged block \(0, 0\)"):
            BlockCache().get(bad, 0, 0)
        (tmp_path / "bad").unlink()


def test_a_window_over_several_blocks_is_one_picture(store: Any, paint: Any) -> None:
    rgb, valid = read_mosaic(store, BlockCache(), -200, -200, 400, 400)
    assert valid.all()
    assert psnr(rgb, paint(768, 768)[56:456, 56:456]) > 35


def test_missing_blocks_and_masked_pixels_are_invalid_and_black(store: Any) -> None:
    rgb, valid = read_mosaic(store, BlockCache(), 200, 200, 400, 400)
    assert valid[:56, :156].all()
    assert not valid[:56, 156:].any()
    assert not valid[56:, 56:].any()
    assert not rgb[~valid].any()


def test_many_windows_at_once_are_the_same_pixels_as_one_by_one(store: Any) -> None:
    cache = BlockCache()
    near = [Window(c, r, 100, 0.5) for c in range(-200, 300, 61) for r in range(-200, 300, 67)]
    far = [Window(-250, -250, 60, 0.5), Window(400, 400, 60, 0.5), Window(10**7, 10**7, 60, 0.5)]
    for windows in (near, far, [*near, *far]):
        for size_px in (50, 64, 100, 180):
            rgb, valid = read_windows(store, cache, windows, size_px)
            for n, window in enumerate(windows):
                one_rgb, one_valid = read_window(store, cache, window, size_px)
                np.testing.assert_array_equal(rgb[n], one_rgb)
                np.testing.assert_array_equal(valid[n], one_valid)
    assert read_windows(store, cache, [], 50)[0].shape == (0, 50, 50, 3)


def test_invalid_pixels_do_not_darken_valid_ones() -> None:
    rgb = np.full((300, 300, 3), 180, np.uint8)
    valid = np.random.default_rng(0).random((300, 300)) < 0.8
    rgb[~valid] = 0
    for size_px in (192, 500):
        out, kept = scale(rgb, valid, size_px)
        assert kept.mean() > 0.7
        assert np.abs(out[kept].astype(int) - 180).max() <= 1
        assert not out[~kept].any()


def test_a_small_cache_gives_the_same_pixels(store: Any) -> None:
    large, small = BlockCache(), BlockCache(limit_bytes=1)
    np.testing.assert_array_equal(read_mosaic(store, large, -256, -256, 768, 768)[0], read_mosaic(store, small, -256, -256, 768, 768)[0])
