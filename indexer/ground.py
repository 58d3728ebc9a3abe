"""The imagery of one CRS: layers of blocks, the first over the others, each without what was removed of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.block_store import BlockStore, Decoded, Mask, Pixels, block_cells, block_valid, cells_of
from crossgeo.indexer.files import damaged
from crossgeo.indexer.grid import BLOCK_PX, CELL_PX, CELLS
from crossgeo.indexer.source import fill

Block = tuple[int, int]
Cells = Mapping[Block, Mask]
"""(16, 16) cells of 16 x 16 px by block (bx, by)."""


@dataclass(frozen=True)
class Layer:
    """The blocks of one segment, without the pixels of the cells that are removed."""

    store: BlockStore
    removed: Cells = field(default_factory=dict)
    number: int = 0  # of the layer, as sources and segments name it

    def read(self, bx: int, by: int) -> Decoded | None:
        """Return a decoded block, None where nothing of it is left."""
        found = self.store.read(bx, by)
        gone = self.removed.get((bx, by))
        if found is None or gone is None:
            return found
        return _whole_or_none(*_without(found, gone))

    def valid(self, block: Block) -> Mask | None:
        """Return which pixels (256, 256) of a block are valid; None where there is none."""
        value = self.store[block]
        if value is None:
            return None
        gone = self.removed.get(block)
        try:
            valid = block_valid(value)
        except (ValueError, zlib.error) as error:
            raise damaged(self.store.path, f"has a damaged block {block}: {error}") from error
        return valid if gone is None else valid & ~pixels_of(gone)

    def cells(self, block: Block) -> Mask | None:
        """Return the cells (16, 16) of a block of which at least half is valid; None where there is none."""
        value = self.store[block]
        if value is None:
            return None
        gone = self.removed.get(block)
        return block_cells(value) if gone is None else block_cells(value) & ~gone


class Ground:
    """Layers seen from above."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)

    def read(self, bx: int, by: int) -> Decoded | None:
        """Return a decoded block: where the first layer has no pixel, that of the next; None where none has any."""
        found: Decoded | None = None
        for layer in self.layers:
            more = layer.read(bx, by)
            if more is None:
                continue
            found = more if found is None else _joined(found, more)
            if found[1] is None:
                break
        return found

    def valid(self, block: Block) -> Mask | None:
        """Return which pixels (256, 256) of a block any layer has; None where there is no such block."""
        masks = [mask for layer in self.layers if (mask := layer.valid(block)) is not None]
        return None if not masks else np.logical_or.reduce(masks)

    def cells(self, block: Block) -> Mask | None:
        """Return the cells (16, 16) of a block of which at least half is valid; None where there is no such block."""
        having = [layer for layer in self.layers if block in layer.store]
        if len(having) == 1:
            return having[0].cells(block)
        valid = self.valid(block)
        return None if valid is None else cells_of(valid)

    def coverage(self, blocks: Iterable[Block]) -> dict[Block, Mask]:
        """Return `cells` of those blocks that have any imagery."""
        return {block: cells for block in blocks if (cells := self.cells(block)) is not None}

    def layers_at(self, cols: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the place in `layers` of the one that shows at each of (n,) pixels; -1 where none does."""
        out = np.full(len(cols), -1, np.int32)
        blocks = np.stack([cols // BLOCK_PX, rows // BLOCK_PX], axis=1)
        keys, which = np.unique(blocks, axis=0, return_inverse=True)
        order = np.argsort(which.ravel(), kind="stable")
        for (bx, by), mine in zip(keys.tolist(), np.split(order, np.cumsum(np.bincount(which.ravel()))[:-1]), strict=True):
            for number, layer in enumerate(self.layers):
                todo = mine[out[mine] < 0]
                valid = layer.valid((bx, by)) if len(todo) else None
                if valid is not None:
                    out[todo[valid[rows[todo] % BLOCK_PX, cols[todo] % BLOCK_PX]]] = number
        return out


def seen(layer: Layer, above: Sequence[Layer], among: Cells | None = None) -> dict[Block, Mask]:
    """Return the cells in which any pixel of a layer shows beneath the layers above it; with `among`, of those cells alone."""
    over = Ground(above)
    found: dict[Block, Mask] = {}
    for block in layer.store.blocks() if among is None else among:
        valid = layer.valid(block)
        if valid is None:
            continue
        if among is not None:
            valid &= pixels_of(among[block])
        hidden = over.valid(block) if valid.any() else None
        if hidden is not None:
            valid &= ~hidden
        if valid.any():
            found[block] = np.asarray(valid.reshape(CELLS, CELL_PX, CELLS, CELL_PX).any(axis=(1, 3)), bool)
    return found


def joined_cells(several: Iterable[Cells]) -> dict[Block, Mask]:
    """Return the cells that are in any of several."""
    out: dict[Block, Mask] = {}
    for cells in several:
        for block, mask in cells.items():
            out[block] = out[block] | mask if block in out else mask
    return out


def pixels_of(cells: Mask) -> Mask:
    """Return the (256, 256) pixels of (16, 16) cells."""
    return cells.repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)


def _without(block: Decoded, gone: Mask) -> tuple[Pixels, Mask]:
    kept = ~pixels_of(gone)
    rgb = block[0].copy()
    valid = kept if block[1] is None else block[1] & kept
    rgb[~valid] = 0
    return rgb, valid


def _joined(upper: Decoded, lower: Decoded) -> Decoded:
    assert upper[1] is not None
    rgb, valid = upper[0].copy(), upper[1].copy()
    fill(rgb, valid, lower[0], np.ones(valid.shape, bool) if lower[1] is None else lower[1])
    return rgb, None if valid.all() else valid


def _whole_or_none(rgb: Pixels, valid: Mask) -> Decoded | None:
    if not valid.any():
        return None
    return rgb, None if valid.all() else valid
