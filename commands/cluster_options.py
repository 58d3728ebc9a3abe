"""Who does the work, as commands that can be spread over machines are told: `--cluster`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands import console
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.engine.cluster import Cluster

SPREADING = "Who does the work"


@dataclass(frozen=True)
class Spreading:
    """What `geo index build` and `geo batch` ask alike."""

    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Have others do the work: local (processes of this machine), ray (the Ray that runs on it), HOST:PORT or ray://HOST:PORT.",
            rich_help_panel=SPREADING,
        ),
    ] = None

    def open(self, workers: int | None, device: str) -> Cluster | None:
        """Return what is to do the work, None for this process alone; raise as `open_cluster` does, UsageError for one GPU of several."""
        if self.cluster is None:
            return None
        if ":" in device:
            raise UsageError(f"--device {device}: each worker is given a GPU of its own; give cuda")
        from crossgeo.engine.cluster import open_cluster

        found = open_cluster(self.cluster, workers)
        for warning in found.warnings:
            console.say(warning)
        return found
