"""The options by which `geo serve` spreads indexes over a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands import console
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.engine.serving.rows import OnShelf

CLUSTER = "Spreading indexes over a cluster"


@dataclass(frozen=True)
class Sharding:
    """Who holds the descriptors of indexes, and how many of them each."""

    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Have processes elsewhere hold the indexes' descriptors: ray, HOST:PORT, ray://HOST:PORT, or local for some here.",
            rich_help_panel=CLUSTER,
        ),
    ] = None
    shard_tiles: Annotated[int, typer.Option(min=1, help="Tiles of each, about.", rich_help_panel=CLUSTER)] = 1_000_000
    replicas: Annotated[
        int, typer.Option(min=1, max=16, help="Processes that hold the same tiles, on different nodes.", rich_help_panel=CLUSTER)
    ] = 2
    shard_deadline_ms: Annotated[
        float, typer.Option(min=1.0, max=6e5, help="How long one is waited for; then answers go without it.", rich_help_panel=CLUSTER)
    ] = 2000.0
    shard_start_s: Annotated[
        float,
        typer.Option(min=1.0, max=1e6, help="How long one may take to be made and read, after the one before it.", rich_help_panel=CLUSTER),
    ] = 3600.0
    shard_folder: Annotated[
        Path | None,
        typer.Option(help="Folder for what they search, which all nodes see; without it `shards` in the index.", rich_help_panel=CLUSTER),
    ] = None

    @contextmanager
    def spread(self) -> Iterator[OnShelf | None]:
        """Yield what opens the rows of indexes on the cluster, None without one; raise UsageError, or ClusterError where there is none."""
        if self.cluster is None:
            for field in fields(self):
                if getattr(self, field.name) != field.default:
                    raise UsageError(f"--{field.name.replace('_', '-')} says how --cluster spreads an index; give that, too")
            yield None
            return
        from crossgeo.engine.cluster import open_cluster
        from crossgeo.engine.serving.rows import OnShelf
        from crossgeo.engine.serving.shelf import ShardOptions, Shelf

        options = ShardOptions(self.shard_tiles, self.replicas, self.shard_deadline_ms / 1000.0, self.shard_folder, self.shard_start_s)
        with open_cluster(self.cluster) as cluster:
            for warning in cluster.warnings:
                console.say(f"warning: {warning}")
            console.say(f"spreading over {'processes of this machine' if self.cluster == 'local' else cluster.label}")
            with Shelf(cluster, options) as shelf:
                yield OnShelf(shelf)
