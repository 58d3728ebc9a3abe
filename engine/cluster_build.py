"""Builds on a cluster: the indexer's shards given out as jobs, to workers that load the model once."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from crossgeo.engine.cluster import Cluster, Job, Shard, Tally
from crossgeo.engine.cluster.answer import on_node
from crossgeo.engine.cluster.versions import here
from crossgeo.engine.describe import TileDescriber
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.runtime.pictures import of_imagery
from crossgeo.errors import ClusterError, MismatchError
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.indexer.shards import Brief, CutShard, DescribeShard, Done, Made, digest_of
from crossgeo.indexer.workshop import Workshop

_RETRIES = 5  # of a shard whose worker died: of its own fault, it would die of it as often
_NODES_SHOWN = 4


@dataclass(frozen=True)
class Tools:
    """What a worker describes with."""

    weights: str
    identity: ModelIdentity
    runtime: RuntimeOptions
    imagery: tuple[str, ...]  # what engines are checked with, where one has to be built
    source_crs: str | None


class ClusterRunner:
    """A `shards.Runner` whose workers are a cluster's."""

    def __init__(self, cluster: Cluster, tools: Tools) -> None:
        self._cluster, self._tools = cluster, replace(tools, runtime=replace(tools.runtime, say=None))
        self._tally = Tally()

    @property
    def who(self) -> str:
        """Return who works, and how quickly on each node where there are several."""
        rates = self._tally.rates()
        if len(rates) < 2:
            return self._cluster.label
        shown = ", ".join(f"{node} {rate:.1f}/s" for node, rate in sorted(rates.items(), key=lambda item: -item[1])[:_NODES_SHOWN])
        return f"{self._cluster.label}: {shown}{', ...' if len(rates) > _NODES_SHOWN else ''}"

    @property
    def versions(self) -> str:
        """Return a digest of what this process runs, and hence, as they are compared with it, all workers."""
        return digest_of(dict(here()))

    def cut(self, brief: Brief, shards: Iterable[CutShard | None]) -> Generator[Done, None, None]:
        """Have blocks cut, as `Runner.cut` says."""
        return self._run(Job("cut", open_shop, cut, brief, retries=_RETRIES), shards)

    def describe(
        self, brief: Brief, shards: Iterable[DescribeShard | None], stop: threading.Event | None = None
    ) -> Generator[Done, None, None]:
        """Have tiles described, as `Runner.describe` says."""
        gpus = 1.0 if self._tools.runtime.device.startswith("cuda") else 0.0
        job = Job("describe", open_describing_shop, describe, (brief, self._tools), gpus=gpus, retries=_RETRIES)
        return self._run(job, shards, stop)

    def _run(
        self,
        job: Job[Any, Workshop, Any, Made],
        shards: Iterable[CutShard | DescribeShard | None],
        stop: threading.Event | None = None,
    ) -> Generator[Done, None, None]:
        self._tally = Tally()
        given = (None if shard is None else Shard(shard.name, shard, shard.size) for shard in shards)
        with closing(self._cluster.run(job, given, stop)) as outcomes:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise on_node(outcome.node, outcome.error)
                if outcome.result is None:
                    raise ClusterError(
                        f"{outcome.died} workers ended while they did {outcome.shard.key}, the last on {outcome.node or 'a node'} "
                        f"({outcome.why}); they may lack memory: give fewer workers, then run the same command again: it goes on from there"
                    )
                self._tally.count(outcome)
                yield Done(outcome.shard.payload, outcome.result, outcome.node)


def open_shop(brief: Brief) -> Workshop:
    """Make the state of a worker that cuts."""
    return Workshop(brief)


def open_describing_shop(context: tuple[Brief, Tools]) -> Workshop:
    """Make the state of a worker that describes; raise MismatchError where its weights are others than the driver's."""
    brief, tools = context
    describer = TileDescriber.load(tools.weights, tools.runtime, lambda: of_imagery(tools.imagery, tools.source_crs))
    own, asked = describer.identity, tools.identity
    if own != asked:
        raise MismatchError(
            f"{tools.weights} is another model here (weights {own.sha256[:12]}, view {own.view[:12]}) than where the build was started "
            f"(weights {asked.sha256[:12]}, view {asked.view[:12]}); put the same file on all nodes"
        )
    return Workshop(brief, describer.describe, own.name)


def cut(shop: Workshop, shard: CutShard) -> Made:
    """Cut a shard of blocks."""
    return shop.cut(shard)


def describe(shop: Workshop, shard: DescribeShard) -> Made:
    """Describe a shard of tiles."""
    return shop.describe(shard)
