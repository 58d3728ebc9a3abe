"""`geo index plan`: what a build would take, before it is begun."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands import console
from crossgeo.commands.index_options import Json, Searching, size_bytes
from crossgeo.commands.options import Weights, spread
from crossgeo.commands.run_options import Running
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.indexer.plan import Plan
    from crossgeo.indexer.plan_cluster import ClusterPlan, Site

DIM = 768  # of every model that describes
NODES = "Several nodes, each like this machine"


@dataclass(frozen=True)
class Nodes:
    """What nodes there are, or how soon it must be done."""

    cluster: Annotated[bool, typer.Option("--cluster", help="Say what it takes on several nodes.", rich_help_panel=NODES)] = False
    nodes: Annotated[int | None, typer.Option(min=1, help="How many nodes build.", rich_help_panel=NODES)] = None
    hours: Annotated[float | None, typer.Option(min=0.001, help="How soon it must be built.", rich_help_panel=NODES)] = None
    price: Annotated[float | None, typer.Option(min=0.0, help="Of a node for an hour, in your currency.", rich_help_panel=NODES)] = None
    node_memory: Annotated[str, typer.Option(help="Memory of a node that serves.", rich_help_panel=NODES)] = "64GB"
    fails_per_month: Annotated[float, typer.Option(min=0.0, help="How often a node fails.", rich_help_panel=NODES)] = 1.0
    shard_tiles: Annotated[int, typer.Option(min=1, help="Tiles that one process serves.", rich_help_panel=NODES)] = 1_000_000
    replicas: Annotated[int, typer.Option(min=1, help="Processes that serve the same tiles.", rich_help_panel=NODES)] = 2

    def site(self) -> Site:
        """Return it as the plan takes it; raise UsageError for a size that is none."""
        from crossgeo.indexer.plan_cluster import Site

        memory_bytes = size_bytes(self.node_memory, "--node-memory")
        return Site(memory_bytes, self.price, self.fails_per_month / 720.0, self.shard_tiles, self.replicas)


@spread
def plan(
    sources: Annotated[list[Path], typer.Argument(help="Imagery, as geo index build takes it.")],
    stride_m: Annotated[float, typer.Option(min=0.5, help="From one tile to the next in metres.")] = 15.0,
    gsd_m: Annotated[float, typer.Option(min=0.01, help="Metres of ground a pixel of the index covers.")] = 0.2,
    crs: Annotated[str | None, typer.Option(help="One metric CRS for all, like EPSG:32645; else each place gets its UTM zone.")] = None,
    source_crs: Annotated[str | None, typer.Option(help="CRS of sources that name none.")] = None,
    min_valid: Annotated[float, typer.Option(min=0.0, max=1.0, help="Leave out a tile with less imagery than this share.")] = 0.15,
    mask: Annotated[list[Path] | None, typer.Option(help="GeoJSON polygons of ground that is not to be indexed.")] = None,
    tiles_per_s: Annotated[float | None, typer.Option(min=0.001, help="How many tiles a second; without it, a short try says.")] = None,
    area_km2: Annotated[
        float | None, typer.Option(min=0.001, help="Plan so much ground that looks like this imagery, in place of its own.")
    ] = None,
    weights: Weights = "egotr-s-drone",
    *,
    several: Nodes,
    searching: Searching,
    running: Running,
    json: Json = False,
) -> None:
    """Say how many tiles and bytes a build would make of imagery and how long it would take, from a small sample of it; write nothing."""
    from crossgeo.engine.describe import EgoTRDescriber
    from crossgeo.engine.runtime.pictures import of_imagery
    from crossgeo.indexer.build import BuildOptions
    from crossgeo.indexer.plan import plan_index
    from crossgeo.indexer.plan_cluster import plan_cluster, scaled
    from crossgeo.indexer.region import Region

    site = several.site() if several.cluster else None
    if site is None and (several.nodes is not None or several.hours is not None or several.price is not None):
        raise UsageError("--nodes, --hours and --price are of a plan for several nodes; add --cluster")
    masks = tuple(Region.read(path) for path in mask or ())
    options = BuildOptions(
        gsd_m=gsd_m,
        stride_m=stride_m,
        min_valid=min_valid,
        crs=crs,
        source_crs=source_crs,
        masks=masks,
        budget=searching.budget(),
    )
    describe = None
    if tiles_per_s is None:
        describe = EgoTRDescriber.load(weights, running.options(build=False), lambda: of_imagery(sources, source_crs)).tiles
    found = plan_index(sources, options, DIM, describe, tiles_per_s)
    if area_km2 is not None:
        found = scaled(found, area_km2, stride_m, options.budget, DIM)
    on_nodes = None if site is None else plan_cluster(found, site, several.nodes, several.hours, budget=options.budget, dim=DIM)
    if json:
        also = {} if on_nodes is None else {"cluster": asdict(on_nodes)}
        console.print_json({**asdict(found), "hours": found.hours, **also})
    else:
        console.print_rows(_rows(found) + ([] if on_nodes is None else _rows_of(on_nodes)))


def _rows(found: Plan) -> list[tuple[str, str]]:
    rows = [
        ("tiles", f"about {found.tiles}"),
        (
            "blocks",
            f"{found.blocks} of 256 x 256 px in {found.zones} CRS{'s' * (found.zones > 1)}, {100 * found.valid_share:.0f} % imagery",
        ),
        ("disk", f"about {_size(found.bytes)}, up to {_size(found.peak_bytes)} while it is built"),
    ]
    rows += [("search", line) for line in found.search]
    if found.describe_s is not None and found.hours is not None:
        rows.append(("time", f"about {_span(found.cut_s + found.describe_s)}, {found.tiles_per_s:.1f} tiles a second"))
    return rows


def _rows_of(found: ClusterPlan) -> list[tuple[str, str]]:
    out = [("shards", f"{found.shards} to build, about {_span(found.shard_s)} of a node each")]
    for row in found.build:
        about = [f"{row.node_hours:.3g} node hours"]
        about += [] if row.price is None else [f"{row.price:,.2f} in money"]
        about += [f"{row.failures:.2g} failures of nodes to expect"] if row.failures >= 0.05 else []
        about += [f"the driver alone {100 * row.driver_share:.0f} % of it"] if row.driver_share >= 0.05 else []
        out.append(("build", f"{row.nodes} node{'s' * (row.nodes > 1)}: {_span(row.hours * 3600.0)} ({', '.join(about)})"))
    out.append(
        ("storage", f"{_size(found.stored_bytes)} of shards until the index is whole; {_size(found.moved_bytes)} through the network")
    )
    out.append(("driver", f"up to {_size(found.driver_bytes)} of memory; it works {_span(found.driver_s)} alone"))
    s = found.serving
    money = "" if s.price_per_hour is None else f", {s.price_per_hour * 24:,.2f} in money a day"
    out.append(
        ("serve", f"{s.shards} shards of {_size(s.shard_bytes)} in {s.replicas} replicas, {_size(s.bytes)} on {s.nodes} nodes{money}")
    )
    out.append(("", f"and {_size(s.front_bytes)} in each process that answers, beside its models"))
    return out


def _size(size_bytes: int) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes / 1e6:.1f} MB"


def _span(seconds: float) -> str:
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:.1f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
