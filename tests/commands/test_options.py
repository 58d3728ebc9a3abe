"""Options that commands share reach each command, and typer, as if they had been written out there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from crossgeo.commands.options import Asked, PhotoKind, spread
from crossgeo.errors import UsageError


@dataclass(frozen=True)
class Shared:
    """What two commands take alike."""

    where: Annotated[Path, typer.Option(help="Where.")]
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 3


def test_a_command_gets_the_dataclass_and_typer_its_fields() -> None:
    app, seen = typer.Typer(), []

    @app.command()
    @spread
    def work(name: Annotated[str, typer.Argument()], shared: Shared, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
        """Do it."""
        seen.append((name, shared, loud))

    runner = CliRunner()
    assert runner.invoke(app, ["a", "--where", "here"]).exit_code == 0
    assert runner.invoke(app, ["b", "--where", "there", "--count", "5", "--loud"]).exit_code == 0
    assert seen == [("a", Shared(Path("here")), False), ("b", Shared(Path("there"), 5), True)]
    assert runner.invoke(app, ["a"]).exit_code == 2, "an option without a default is needed"
    assert runner.invoke(app, ["a", "--where", "here", "--count", "0"]).exit_code == 2


def test_what_is_asked_reaches_the_engine_whole() -> None:
    where = {"near": "27.5,85.5", "radius_m": 90.0, "use_exif_position": True}
    camera = {"heading": 10.0, "fov": 60.0, "height_m": 80.0, "tilt": 5.0, "kind": PhotoKind.street}
    asked = Asked(index=Path("a.geo"), top=7, anyway=True, **camera, **where)
    options = asked.options()
    assert (options.top, options.heading_deg, options.fov_deg, options.height_m, options.tilt_deg) == (7, 10.0, 60.0, 80.0, 5.0)
    assert (options.near, options.radius_m, options.use_exif_position, options.kind) == ((27.5, 85.5), 90.0, True, "street")
    assert options.anyway and not Asked(index=Path("a.geo")).options().anyway


def test_a_radius_wants_a_place_which_exif_may_give() -> None:
    with pytest.raises(UsageError, match="--near"):
        Asked(index=Path("a.geo"), radius_m=5.0).options()
    assert Asked(index=Path("a.geo"), radius_m=5.0, use_exif_position=True).options().radius_m == 5.0
