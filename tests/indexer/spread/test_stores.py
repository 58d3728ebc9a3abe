"""Where shards are left: what is whole is kept, what is not is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossgeo.errors import UsageError
from crossgeo.indexer.shard_store import open_store


def test_stores_keep_what_is_whole(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert store.get("a/b") is None
    assert store.sizes("a") == {}
    store.put("a/b", b"")
    store.put("a/c", b"payload")
    assert (store.get("a/b"), store.get("a/c")) == (b"", b"payload")
    assert store.sizes("a") == {"a/b": 0, "a/c": 7}
    (tmp_path / "a" / "c").write_bytes(b"torn")
    assert store.sizes("a") == {"a/b": 0}
    assert store.get("a/c") is None
    assert not (tmp_path / "a" / "c").exists()
    store.remove_all("a")
    store.remove_all("a")
    assert list(tmp_path.iterdir()) == []
    assert open_store(f"file://{tmp_path}").where == str(tmp_path)


def test_storage_that_fsspec_knows_serves_too() -> None:
    store = open_store("memory://shards/of")
    store.put("a/b", b"payload")
    assert (store.get("a/b"), store.get("a/c"), store.sizes("a")) == (b"payload", None, {"a/b": 7})
    store.remove_all("a")
    store.remove_all("a")
    assert store.sizes("a") == {}


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:se/cret@bucket/a",
        "s3://AKIA:se/cr@cret@bucket/a",
        "nothing://AKIA:secret@bucket/a",
        "nothing://bucket/a?client_secret=cret&x=1",
    ],
)
def test_keys_in_an_address_are_never_shown(url: str) -> None:
    with pytest.raises(UsageError, match="://bucket/a") as caught:
        open_store(url)
    assert not any(word in str(caught.value) for word in ("AKIA", "cret@", "=cret", "se/cr"))
