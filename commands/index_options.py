"""What several commands of `geo index` ask alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands.cluster_options import SPREADING, Spreading
from crossgeo.commands.run_options import Running
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.engine.build import Helpers
    from crossgeo.engine.runtime.choose import RuntimeOptions
    from crossgeo.indexer.region import Region
    from crossgeo.indexer.vectors.structure import Budget

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", envvar="GEO_INDEX", help="The index.")]
Keep = Annotated[int, typer.Option(min=0, help="How many generations before the new one stay, to go back to.")]


@dataclass(frozen=True)
class Searching:
    """What a search of the index may cost and must find."""

    recall: Annotated[float, typer.Option(min=0.5, max=1.0, help="Share of the best tiles that a search finds; 1 for exact.")] = 0.99
    max_memory: Annotated[str | None, typer.Option(help="What is searched may take so much, like 8GB.")] = None
    max_latency_ms: Annotated[float, typer.Option(min=0.1, help="Search exactly as long as one query takes no longer.")] = 50.0

    def budget(self) -> Budget:
        """Return what the options say; raise UsageError for a size that is none."""
        from crossgeo.indexer.vectors.structure import Budget

        memory_bytes = math.inf if self.max_memory is None else size_bytes(self.max_memory, "--max-memory")
        return Budget(self.recall, memory_bytes, self.max_latency_ms)


def size_bytes(text: str, option: str) -> float:
    """Return the bytes that an option's text says; raise UsageError for a size that is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"{option} {text!r} is no size; give one like 8GB, 512MB or 4GiB")
    number, unit, binary = found.groups()
    return float(number) * (1024.0 if binary else 1000.0) ** (" kmgt".index(unit.lower()) if unit else 0)


@dataclass(frozen=True)
class About:
    """What is said of imagery that is built or added."""

    vintage: Annotated[str | None, typer.Option(help="When the imagery was taken: a year, a month or a day, like 2023-06.")] = None
    licence: Annotated[str | None, typer.Option(help="The licence of the imagery, in your words.")] = None
    mask: Annotated[list[Path] | None, typer.Option(help="GeoJSON polygons of ground that is not to be indexed.")] = None
    keep: Keep = 1

    def masks(self) -> tuple[Region, ...]:
        """Read the polygons; raise InputError, naming the file, where there are none."""
        from crossgeo.indexer.region import Region

        return tuple(Region.read(path) for path in self.mask or ())


@dataclass(frozen=True)
class Helping:
    """How those work together who do the work of a build, where `--cluster` names them."""

    storage: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Where they leave what they made: a folder or an address like s3://bucket/prefix that all nodes see.",
            rich_help_panel=SPREADING,
        ),
    ] = None
    workers: Annotated[int | None, typer.Option(min=1, help="How many processes work at once.", rich_help_panel=SPREADING)] = None
    mixed_nodes: Annotated[
        bool,
        typer.Option("--mixed-nodes", help="Allow nodes whose descriptors differ in the last digits.", rich_help_panel=SPREADING),
    ] = False

    def check(self, spreading: Spreading) -> None:
        """Raise UsageError for what says something of helpers that there are not."""
        given = {"--storage": self.storage is not None, "--workers": self.workers is not None, "--mixed-nodes": self.mixed_nodes}
        if spreading.cluster is None and any(given.values()):
            raise UsageError(f"{next(name for name in given if given[name])} is of the work of others; give --cluster, too")

    @contextmanager
    def open(self, spreading: Spreading, running: Running) -> Iterator[tuple[Helpers | None, RuntimeOptions]]:
        """Give who helps, None for nobody, and how models are to run there or here."""
        from crossgeo.engine.build import Helpers

        runtime = running.options(build=True) if spreading.cluster in {None, "local"} else running.elsewhere()
        cluster = spreading.open(self.workers, runtime.device)
        if cluster is None:
            yield None, runtime
        else:
            with cluster:
                yield Helpers(cluster, self.storage, self.mixed_nodes), runtime
