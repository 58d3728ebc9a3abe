"""An index of imagery made with a model of ours: what `geo index build` does, as a function (crossgeo.indexer.build writes it)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossgeo.engine.cluster import Cluster
from crossgeo.engine.cluster_build import ClusterRunner, Tools
from crossgeo.engine.describe import EgoTRDescriber, drone_view, identity_of
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.runtime.pictures import of_imagery
from crossgeo.errors import UsageError
from crossgeo.indexer import build
from crossgeo.indexer.build import BuildOptions
from crossgeo.indexer.described import Describe
from crossgeo.indexer.manifest import Manifest
from crossgeo.indexer.progress import Progress
from crossgeo.indexer.spread import Crew
from crossgeo.models.checkpoint import read_card
from crossgeo.models.views import DroneView


@dataclass(frozen=True)
class Helpers:
    """Who does the work of a build in place of this process."""

    cluster: Cluster
    storage: str | None = None  # a folder or an address that all nodes see; None: the index's own folder
    mixed_nodes: bool = False  # whether nodes may describe whose last digits differ


def build_index(
    imagery: str | Path | Sequence[str | Path],
    out: str | Path,
    weights: str | EgoTRDescriber = "egotr-s-drone",
    options: BuildOptions | None = None,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    helpers: Helpers | None = None,
) -> Manifest:
    """Index imagery: cut it into overlapping square tiles, describe each, write the folder `out`; what `geo index build` does.

    - `imagery`: a GeoTIFF or COG, a folder of them or of XYZ tiles, a picture with a world file, or several of these, earlier over later.
    - `weights`: of the model that describes tiles, by shipped name or path, or a describer that is loaded already; searches need the same.
    - `options`: grid, CRS, vintage, masks and the rest (`crossgeo.indexer.build.BuildOptions`); the side of a tile, in metres and in
      pixels, is the model's whatever they say.
    - `runtime`: how the model runs (`crossgeo.engine.runtime.choose.RuntimeOptions`), on the processor unless told.
    - `progress`: called with the stage ("imagery", then "describe"), how much of it is done and how much there is.
    - `helpers`: a cluster that does the work (`crossgeo.engine.cluster.open_cluster`), to the same bytes where its nodes compute alike;
      `weights` are then a name or a path that all nodes know.

    Returns the manifest of what is there then: its `generation`, `hash`, `sources` and `segments`. A call that was stopped is given again
    and goes on where it ended; an index that is there and equal is left as it is, any other is replaced only with `options.overwrite`.

    Raises InputError for imagery that cannot be read, UsageError for an output that is taken or options out of range, LockedError where
    another process writes it, LimitError for a full disk, WeightsError for missing or damaged weights, EngineError for a runtime that
    cannot be had; with helpers MismatchError for nodes that differ and ClusterError for a cluster that is lost, each naming the node.

    ```python
    from crossgeo import build_index
    from crossgeo.indexer.build import BuildOptions

    manifest = build_index("ortho.tif", "city.geo", options=BuildOptions(stride_m=30.0, vintage="2024-05"))
    print(manifest.generation, sum(segment.tiles for segment in manifest.segments))
    ```
    """
    sources = [imagery] if isinstance(imagery, (str, Path)) else list(imagery)
    options = options or BuildOptions()
    runtime = runtime or RuntimeOptions()
    if helpers is not None:
        if not isinstance(weights, str):
            raise UsageError("workers load the model themselves; give weights by name or path")
        known = str(Path(weights).absolute()) if Path(weights).is_file() else weights
        card = read_card(known)
        view = drone_view(card)
        identity = identity_of(card, view)
        tools = Tools(known, identity, runtime, tuple(str(Path(source).absolute()) for source in sources), options.source_crs)
        work: Describe | Crew = Crew(ClusterRunner(helpers.cluster, tools), helpers.storage, helpers.mixed_nodes)
    else:
        if isinstance(weights, str):
            weights = EgoTRDescriber.load(weights, runtime, lambda: of_imagery([Path(source) for source in sources], options.source_crs))
        work, identity, view = weights.describe, weights.identity, weights.tile_view
    fitting = replace(options, tile_m=view.extent_m, tile_px=view.size_px)
    return build.build_index(sources, out, work, identity, fitting, progress)


def view_of(weights: str) -> DroneView:
    """Return how large tiles are that weights read; raises WeightsError and MismatchError as `EgoTRDescriber.load`."""
    return drone_view(read_card(weights))
