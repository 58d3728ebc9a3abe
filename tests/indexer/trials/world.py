"""What the trials share: small made imagery, a cheap description, the steps of an index's life, and all that an index can be asked."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from crossgeo.errors import GeoError, InputError
from crossgeo.indexer import described, files, pieces
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.compact import compact_index
from crossgeo.indexer.generations import KEEP, tidy
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.lock import locked
from crossgeo.indexer.manifest import ModelIdentity, has_index, read_manifest, segment_path, write_manifest
from crossgeo.indexer.remove import What, remove_from_index
from crossgeo.indexer.vectors import structure
from crossgeo.indexer.verify import verify_index

IDENTITY = ModelIdentity("made", "0" * 64, "0")
PLACES = {
    "near": ("EPSG:32645", 353400.0, 3058000.0),
    "next": ("EPSG:32645", 353480.0, 3058000.0),
    "far": ("EPSG:32737", 527000.0, 9332000.0),
}
SLOWLY_S = 0.002  # a batch takes this long to describe, so that there is something to interrupt

os.fsync = lambda _: None  # no trial can tell: what was written outlives a kill anyhow, and of power cuts power.py keeps the books
pieces.BLOCKS_PER_PIECE, described.BATCHES_PER_PIECE = 2, 2


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the arguments of a trial: its own, the folder to work in, and whether indexes are searched by inverted lists."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lists", action="store_true")
    args = parser.parse_args()
    if args.lists:
        search_by_lists()
    return args


def search_by_lists() -> None:
    """Search by inverted lists from now on, as a city is searched, though these indexes have some dozens of tiles."""
    structure._LEAST_ROWS, structure.lists_for, structure._SCAN_BYTES_PER_S = 16, lambda _: 4, 1.0


def write_imagery(folder: Path) -> dict[str, Path]:
    """Write a GeoTIFF of 75 x 70 m for each of PLACES; return their paths."""
    paths = {}
    for seed, (name, (crs, west, north)) in enumerate(PLACES.items()):
        coarse = np.random.default_rng(seed).integers(30, 221, (20, 21, 3)).astype(np.uint8)
        pixels = np.asarray(cv2.resize(coarse, (150, 140), interpolation=cv2.INTER_LINEAR))
        paths[name] = folder / f"{name}.tif"
        profile = {"driver": "GTiff", "height": 140, "width": 150, "count": 3, "dtype": "uint8"}
        place = Affine(0.5, 0.0, west, 0.0, -0.5, north)
        with rasterio.open(paths[name], "w", crs=CRS.from_string(crs), transform=place, **profile) as file:
            file.write(pixels.transpose(2, 0, 1))
    return paths


def describe(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (B, 12) unit vectors of (B, P, P, 3) tiles."""
    time.sleep(SLOWLY_S)
    small = np.stack([cv2.resize(t, (2, 2), interpolation=cv2.INTER_AREA) for t in tiles]).reshape(len(tiles), -1)
    vectors = small.astype(np.float32) - 127.25
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def build(out: Path, sources: Sequence[Path], **changes: Any) -> None:
    """Build an index in the place of whatever is there."""
    chosen: dict[str, Any] = {"gsd_m": 0.5, "tile_px": 16, "batch": 4, "overwrite": True, **changes}
    build_index(sources, out, describe, IDENTITY, BuildOptions(**chosen))


def add(out: Path, source: Path, keep: int = KEEP) -> None:
    """Add imagery to an index."""
    add_to_index([source], out, describe, IDENTITY, AddOptions(batch=4, keep=keep))


def remove(out: Path, source: Path) -> None:
    """Remove a source from an index; no fault where a run that was broken off has done so."""
    try:
        remove_from_index(out, What(source=source.name), describe, batch=4)
    except InputError:
        if source.name in (s.name for s in read_manifest(out).sources):
            raise


def compact(out: Path) -> None:
    """Compact an index."""
    compact_index(out)


Step = Callable[[Path], None]


def life(imagery: dict[str, Path]) -> list[Step]:
    """Return the steps of an index's life: each makes one generation more of the index it is given; doing one again is harmless."""
    near, following, far = imagery["near"], imagery["next"], imagery["far"]
    return [
        lambda out: build(out, [near], stride_m=30.0),
        lambda out: build(out, [near]),
        lambda out: add(out, following),
        lambda out: remove(out, following),
        lambda out: add(out, far),
        compact,
    ]


def short_life(imagery: dict[str, Path]) -> list[Step]:
    """Return a life of as few calls to the file system as possible that takes every kind of step."""
    near, following = imagery["near"], imagery["next"]
    return [
        lambda out: build(out, [near], stride_m=30.0),
        lambda out: build(out, [near], stride_m=25.0),
        lambda out: add(out, following),
        lambda out: remove(out, following),
        compact,
    ]


def publish(variant: Path, out: Path) -> None:
    """Make a copy of another index the next generation of an index, and remove what it had before."""
    files.make_folder(out)
    with locked(out):
        manifest = read_manifest(variant)
        generation = read_manifest(out).generation + 1 if has_index(out) else 1
        for segment in manifest.segments:
            if not segment_path(out, segment.name).exists():
                arriving = out / "work" / segment.name
                files.make_folder(arriving.parent)
                files.make_folder(out / "segments")
                shutil.copytree(segment_path(variant, segment.name), arriving)
                files.move_folder(arriving, segment_path(out, segment.name))
        manifest = replace(manifest, generation=generation, previous=generation - 1 or None)
        write_manifest(out, manifest)
        tidy(out, manifest, 0, ["work"])


def ask(out: Path) -> list[Any]:
    """Ask an index for all it can tell: ["answer", manifest hash, digest of the answers, tiles], or the error's kind and text."""
    try:
        with GeoIndex.open(out) as index:
            return ["answer", index.manifest.hash, digest(index), len(index)]
    except GeoError as error:
        return [type(error).__name__, str(error)]


def digest(index: GeoIndex) -> str:
    """Return the SHA-256 of every tile's place and descriptor, the nearest of all, of some and of those in a circle, and some windows."""
    everything = np.arange(len(index))
    descriptors = index.descriptors(everything)
    places = index.lat_lon(everything)
    said = [index.centres, index.segment_numbers, places, descriptors]
    for among in (None, everything[::3], index.ids_near(*places[len(places) // 2], 40.0)):
        scores, ids = index.search(descriptors, 5, among)
        said += [np.round(scores, 4), ids]
    said += [index.read_windows(s, index.centres[s.first_id : s.first_id + 5], 60.0, 32)[0] for s in index.segments]
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in said)).hexdigest()


def state(out: Path) -> list[Any]:
    """Return the manifest's hash, what `verify` says, and what stands in the index's folder that no generation needs."""
    manifests = sorted(out.glob("manifest-*.json"))
    kept = {s["name"] for path in manifests for s in json.loads(path.read_text())["content"]["segments"]}
    belongs = {"CURRENT", "LOCK", "segments", "removed", *(path.name for path in manifests[-2:])}
    litter = [path.name for path in out.iterdir() if path.name not in belongs]
    litter += [path.name for path in (out / "segments").iterdir() if path.name not in kept]
    return [read_manifest(out).hash, verify_index(out), sorted(litter)]
