"""Checking a whole index: every file against the manifest, and the segment's three files against each other."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from crossgeo.errors import StoreError
from crossgeo.indexer.block_store import BlockStore, decode_block
from crossgeo.indexer.descriptor_store import read_descriptors, read_tiles
from crossgeo.indexer.manifest import SegmentRecord, check_file, read_manifest, segment_path
from crossgeo.indexer.vector_index import VectorIndex


def verify_index(path: str | Path) -> list[str]:
    """Return what is wrong with the current generation, a sentence each that names the file; nothing when it is whole.

    Raise InputError where there is no index and MismatchError for a newer format.
    """
    index = Path(path)
    try:
        manifest = read_manifest(index)
    except StoreError as error:
        return [str(error)]
    problems: list[str] = []
    for segment in manifest.segments:
        problems += _verify_segment(segment_path(index, segment.name), segment, manifest.dim)
    return problems


def _verify_segment(folder: Path, segment: SegmentRecord, dim: int) -> list[str]:
    problems = []
    for name, record in sorted(segment.files.items()):
        try:
            check_file(folder / name, record)
        except StoreError as error:
            problems.append(str(error))
    return problems or _verify_content(folder, segment, dim)  # no library opens a file that is not what was written


def _verify_content(folder: Path, segment: SegmentRecord, dim: int) -> list[str]:
    problems = []
    try:
        descriptors, tiles = read_descriptors(folder / "descriptors.h5"), read_tiles(folder / "descriptors.h5")
        if descriptors.shape != (segment.tiles, dim) or tiles.shape != (segment.tiles, 2):
            problems.append(f"{folder / 'descriptors.h5'} does not hold the {segment.tiles} tiles of the manifest")
        vectors = VectorIndex(folder / "ann.faiss")
        if len(vectors) != segment.tiles or not np.array_equal(vectors.vectors(np.arange(len(vectors))), descriptors):
            problems.append(f"{folder / 'ann.faiss'} does not hold the vectors of descriptors.h5")
    except StoreError as error:
        problems.append(str(error))
    with BlockStore(folder / "blocks.lmdb") as store:
        if len(store) != segment.blocks:
            problems.append(f"{store.path} holds {len(store)} blocks, the manifest says {segment.blocks}")
        for (bx, by), value in store.items():
            try:
                decode_block(value)
            except (ValueError, zlib.error) as error:
                problems.append(f"{store.path}: block ({bx}, {by}) does not decode: {error}")
    return problems
