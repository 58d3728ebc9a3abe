"""`geo serve --cluster` and what goes with it: refused alone, and who holds rows once it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossgeo.commands.shard_options import Sharding
from crossgeo.engine.serving.rows import OnShelf
from crossgeo.engine.serving.shelf import ShardOptions
from crossgeo.errors import UsageError


@pytest.mark.parametrize(
    "given", [{"shard_tiles": 10}, {"replicas": 1}, {"shard_deadline_ms": 10.0}, {"shard_start_s": 9.0}, {"shard_folder": Path("x")}]
)
def test_options_of_a_cluster_are_refused_without_one(given: dict[str, object]) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} says how --cluster"), Sharding(**given).spread():
        pass


def test_without_a_cluster_this_process_holds_the_rows() -> None:
    with Sharding().spread() as rows:
        assert rows is None


def test_with_one_others_do(capsys: pytest.CaptureFixture[str]) -> None:
    with Sharding(cluster="local", shard_tiles=10, shard_start_s=9.0, shard_deadline_ms=70.0).spread() as rows:
        assert isinstance(rows, OnShelf)
        assert rows.shelf.options == ShardOptions(tiles=10, deadline_s=0.07, start_s=9.0)
    assert capsys.readouterr().err == "spreading over processes of this machine\n"
    with pytest.raises(UsageError, match="no cluster 'moon'"), Sharding(cluster="moon").spread():
        pass
