"""models/library.py and models/registry.py: weights by name, and how those that others publish come here."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from crossgeo import disk
from crossgeo.errors import UsageError, WeightsError
from crossgeo.models import registry
from crossgeo.models.checkpoint import load_weights, read_card, save_weights
from crossgeo.models.convnextv2 import ConvNeXtV2
from crossgeo.models.library import find_weights, imported_weights, place_for, shipped_weights, weights_folder
from crossgeo.models.registry import Remote, downloads_folder, entries, find_remote, pull, remotes

OURS = Remote(
    "ours-far", "trained elsewhere", "Apache-2.0", url="https://example.org/files/ours-far.safetensors?download=1", sha256="0" * 64
)
CARD = {"name": "ours-far", "kind": "egotr", "config": {}, "view": {"kind": "drone"}, "licence": "Apache-2.0"}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def quiet(done: int, total: int) -> None:
    pass


def ours(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(out, {"a": torch.ones(3)}, CARD)
    return out


def giving(make: Callable[[Path], object]) -> Callable[..., str]:
    """Return what fetches, in the network's place."""

    def get(url: str, out: Path, sha256: str | None, progress: registry.Progress, *, anew: bool) -> str:
        out.parent.mkdir(parents=True, exist_ok=True)
        make(out)
        return "0" * 64

    return get


def never(url: str, out: Path, sha256: str | None, progress: registry.Progress, *, anew: bool) -> str:
    raise AssertionError(f"{url} was asked")


def test_names_lead_to_shipped_then_to_imported_weights(tmp_path: Path) -> None:
    assert imported_weights() == [] and not weights_folder().exists()
    ours(weights_folder() / "mine.safetensors")
    assert imported_weights() == ["mine"]
    assert find_weights("mine") == tmp_path / "data" / "crossgeo" / "weights" / "mine.safetensors"
    assert find_weights(shipped_weights()[0]).parent.name == "weights"
    assert read_card("mine")["name"] == "ours-far"


def test_a_name_for_new_weights_must_be_free_and_one(tmp_path: Path) -> None:
    assert place_for("mine") == ("mine", weights_folder() / "mine.safetensors")
    assert place_for(str(tmp_path / "x" / "a.safetensors")) == ("a", tmp_path / "x" / "a.safetensors")
    ours(weights_folder() / "mine.safetensors")
    with pytest.raises(UsageError, match=r"mine\.safetensors is there already; choose another name, or replace it with --overwrite"):
        place_for("mine")
    assert place_for("mine", overwrite=True)[0] == "mine"
    with pytest.raises(UsageError, match="are weights that came with the package; choose another name"):
        place_for(shipped_weights()[0], overwrite=True)
    for wrong in ("", ".hidden", "a/b", "../a", "a b", "x" * 101):
        with pytest.raises(UsageError, match="names no weights"):
            place_for(wrong)


def test_the_registry_is_whole_and_says_how_each_is_had() -> None:
    known = remotes()
    assert len({one.name for one in known}) == len(known) >= 5
    for one in known:
        assert one.url.startswith("https://") != one.page.startswith("https://"), one
        assert one.licence and one.says
        assert not one.url or one.sha256 or "huggingface.co" in one.url, "nobody would say what came"
        assert not set(one.name) & set("/ ")
    assert not {one.name for one in known} & set(shipped_weights())


def test_entries_are_shipped_imported_and_remote_ones_that_are_not_here() -> None:
    ours(weights_folder() / "l2ltr-cvusa.safetensors")
    (weights_folder() / "broken.safetensors").write_bytes(b"nothing")
    found = {entry.name: entry for entry in entries()}
    assert {found[name].where for name in shipped_weights()} == {"shipped"}
    assert found["l2ltr-cvusa"].where == "imported" and found["l2ltr-cvusa"].kind == "egotr"
    assert found["broken"].kind.startswith("cannot be read") and found["broken"].size_bytes == 7
    far = found["timm-vit-r50"]
    assert (far.where, far.sha256, far.licence) == ("remote", "6f7c7740", "Apache-2.0") and far.url.endswith("6f7c7740.pth")
    assert json.loads(json.dumps(far.to_json()))["bytes"] is None
    assert found["l2ltr-cvact"].metrics["CVACT val R@1"] == 84.89


def test_what_is_told_wins_over_the_registry_and_addresses_stand_for_themselves() -> None:
    assert find_remote("timm-vit-r50", sha256="12345678", origin="").sha256 == "12345678"
    own = find_remote("https://example.org/a/model_best.pth.tar?x=1", origin="detgeo", sha256="")
    assert (own.name, own.origin, own.url) == ("model_best", "detgeo", "https://example.org/a/model_best.pth.tar?x=1")
    with pytest.raises(UsageError, match="no weights are called 'resnet'; known elsewhere are: timm-vit-r50, "):
        find_remote("resnet")
    with pytest.raises(
        UsageError, match=r"no program can fetch it; .* page, https://github\.com/\S+, .* --from l2ltr --view polar --out l2ltr-cvusa"
    ):
        find_remote("l2ltr-cvusa")


def test_our_own_weights_are_pulled_once(tmp_path: Path) -> None:
    done = pull(OURS, "mine", quiet, get=giving(ours))
    assert (done.name, done.was_here, done.card) == ("mine", False, read_card("mine"))
    assert done.card["name"] == "mine"  # as an import names it
    assert load_weights("mine")[1]["a"].tolist() == [1.0, 1.0, 1.0]
    assert list(downloads_folder().iterdir()) == []
    assert pull(OURS, "mine", quiet, get=never).was_here
    assert pull(OURS, "mine", quiet, offline=True, get=never).was_here
    assert not pull(OURS, "mine", quiet, overwrite=True, get=giving(ours)).was_here


def test_published_weights_are_brought_in_with_what_the_registry_knows() -> None:
    timms = next(one for one in remotes() if one.origin == "timm-convnextv2")

    def make(out: Path) -> None:
        torch.manual_seed(1)
        from safetensors.torch import save_file

        save_file(ConvNeXtV2().state_dict(), out)

    done = pull(timms, "start", quiet, get=giving(make))
    assert done.card["licence"] == "CC-BY-NC-4.0" and done.card["url"] == timms.url and done.card["source"]["from"] == "timm-convnextv2"
    assert done.path == find_weights("start")


def test_without_a_network_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"--offline asks nobody; fetch https://example\S+ elsewhere, then `geo weights import FILE --out"
    ):
        pull(OURS, "mine", quiet, offline=True, get=never)
    ours(downloads_folder() / "ours-far.safetensors")  # of nobody knows where
    with pytest.raises(WeightsError, match=r"mine is not here, .*, then `geo weights import FILE --out mine`"):
        pull(OURS, "mine", quiet, offline=True, get=never)

    def cut_off(url: str, out: Path, sha256: str | None, progress: registry.Progress, *, anew: bool) -> str:
        raise WeightsError("example.org cannot be reached (no name)")

    by_hand = r"without a network, fetch https://example\S+ on another machine, then `[^`]* --out other`"
    with pytest.raises(WeightsError, match=rf"cannot be reached \(no name\); {by_hand}"):
        pull(OURS, "other", quiet, get=cut_off)


def test_what_does_not_fit_is_not_brought_in() -> None:
    def make(out: Path) -> None:
        out.write_bytes(b"<html>")

    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        pull(OURS, "mine", quiet, get=giving(make))
    assert imported_weights() == []


def test_an_address_that_ends_in_no_name_for_weights_needs_one() -> None:
    for url in ("https://example.org/", "https://example.org/a/..", "https://example.org/ä.pth", "https://example.org/.pth"):
        with pytest.raises(UsageError, match=r"names no weights; .*; give the name that they should get with --out"):
            find_remote(url)
        assert find_remote(url, name="mine").name == "mine"
        assert registry._place_of(find_remote(url, name="mine").url).resolve().parent.parent == downloads_folder().resolve()
    with pytest.raises(UsageError, match=r"came with the package.*; give the name that they should get with --out"):
        find_remote(f"https://example.org/{shipped_weights()[0]}.safetensors")
    assert find_remote("https://example.org/ä.pth", name="mine").url == "https://example.org/%C3%A4.pth"
    with pytest.raises(UsageError, match="is no address on the web"):
        find_remote("http://[::1/x", name="mine")
    with pytest.raises(UsageError, match=r"l2ltr-cvusa: no program can fetch it; .* --view polar --out mine`"):
        find_remote("l2ltr-cvusa", name="mine")


def test_what_weights_with_a_card_say_themselves_is_not_told() -> None:
    for told in ({"view": "polar"}, {"licence": "MIT"}):
        with pytest.raises(UsageError, match="weights with a card say all of that themselves; give --from"):
            find_remote("https://example.org/a.safetensors", **told)
        assert find_remote("https://example.org/a.pth", origin="timm-vit-r50", **told).origin == "timm-vit-r50"
        assert find_remote("timm-vit-r50", **told).origin == "timm-vit-r50"


def test_weights_come_in_across_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def across(self: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", across)
    assert pull(OURS, "mine", quiet, get=giving(ours)).path == find_weights("mine")
    assert list(downloads_folder().iterdir()) == [] and [path.name for path in weights_folder().iterdir()] == ["mine.safetensors"]


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Callable[..., Remote]]:
    """Return a function that publishes our weights on a server of this machine, with a right or a wrong digest."""
    folder = tmp_path / "far"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()

        def publish(path: str, value: float = 1.0, sha256: str = "") -> Remote:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            save_weights(folder / path, {"a": torch.full((3,), value)}, CARD)
            url = f"http://127.0.0.1:{running.server_port}/{path}"
            return Remote("far", "ours", "", url=url, sha256=sha256 or disk.sha256_of(folder / path))

        yield publish
        running.shutdown()
        thread.join()


def fetched(remote: Remote) -> Path:
    """Fetch weights that then do not come in."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "load_weights", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pull(remote, "far", quiet)
    return next(path for path in downloads_folder().glob("*/*") if path.suffix == ".safetensors")


def value_of(pulled: registry.Pulled) -> float:
    return float(load_weights(pulled.path)[1]["a"][0])


def test_what_waits_is_brought_in_without_asking_and_only_with_the_right_digest(far: Callable[..., Remote], tmp_path: Path) -> None:
    one = far("one/a.safetensors")
    waits = fetched(one)
    (tmp_path / "far" / "one" / "a.safetensors").unlink()
    with pytest.raises(WeightsError, match="far is not here, and --offline asks nobody"):
        pull(replace(one, sha256="0" * 64), "far", quiet, offline=True)
    with pytest.raises(WeightsError, match="404"):
        pull(replace(one, sha256="0" * 64), "far", quiet)
    assert value_of(pull(one, "far", quiet, offline=True)) == 1.0
    assert not waits.exists() and list(downloads_folder().iterdir()) == []


def test_what_waits_changed_or_of_another_address_is_not_brought_in(far: Callable[..., Remote]) -> None:
    one, other = far("one/a.safetensors"), far("other/a.safetensors", 2.0)
    waits = fetched(one)
    assert value_of(pull(other, "other", quiet)) == 2.0
    assert waits.exists()
    save_weights(waits, {"a": torch.full((3,), 9.0)}, CARD)
    with pytest.raises(WeightsError, match="--offline asks nobody"):
        pull(one, "far", quiet, offline=True)
    assert value_of(pull(one, "far", quiet)) == 1.0


def test_overwriting_asks_again(far: Callable[..., Remote]) -> None:
    one = far("one/a.safetensors")
    fetched(one)
    newer = far("one/a.safetensors", 3.0, sha256=one.sha256)
    with pytest.raises(WeightsError, match=r"not .*, and was deleted"):
        pull(newer, "far", quiet, overwrite=True)
    assert imported_weights() == [] and [path for path in downloads_folder().glob("*/*") if path.is_file()] == []


def test_two_pulls_at_once_do_not_take_the_file_from_each_other(far: Callable[..., Remote], monkeypatch: pytest.MonkeyPatch) -> None:
    one, load = far("one/a.safetensors"), registry.load_weights

    def meanwhile(path: Path) -> object:
        with pytest.raises(WeightsError, match="another process is fetching this"):
            pull(one, "second", quiet)
        return load(path)

    monkeypatch.setattr(registry, "load_weights", meanwhile)
    assert value_of(pull(one, "first", quiet)) == 1.0
    assert imported_weights() == ["first"]


def test_a_view_is_told_before_anything_is_fetched_and_only_of_weights_that_know_one() -> None:
    url = "https://example.org/model_checkpoint.pth"
    with pytest.raises(UsageError, match="does not say which aerial view it was trained with"):
        find_remote(url, origin="l2ltr", sha256="0" * 64)
    assert find_remote(url, origin="l2ltr", view="polar", sha256="0" * 64).view == "polar"
    for origin in ("detgeo", "timm-convnextv2"):
        with pytest.raises(UsageError, match=f"weights of {origin} know no aerial views; leave --view out"):
            find_remote(url, origin=origin, view="plain", sha256="0" * 64)
