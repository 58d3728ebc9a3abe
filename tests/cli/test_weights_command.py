"""`geo weights`: what is here, what a card says, how published weights come in and go back."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from crossgeo.models import registry
from crossgeo.models.checkpoint import save_weights
from crossgeo.models.convnextv2 import ConvNeXtV2
from crossgeo.models.registry import Remote

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def timms(tmp_path: Path) -> Path:
    """A published file that is small."""
    torch.manual_seed(1)
    save_file({**ConvNeXtV2().state_dict(), "head.fc.weight": torch.zeros(2, 768)}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_the_list_names_all_that_is_shipped_and_all_that_others_publish(geo: Any) -> None:
    shipped = sorted(file.stem for file in (Path(__file__).resolve().parents[2] / "models" / "weights").glob("*.safetensors"))
    done = geo("weights", "list", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [entry["name"] for entry in found if entry["where"] == "shipped"] == shipped
    assert {"timm-vit-r50", "l2ltr-cvusa", "detgeo-cvogl"} <= {entry["name"] for entry in found if entry["where"] == "remote"}
    shown = geo("weights", "list").stdout
    assert all(entry["name"] in shown for entry in found)


def test_a_card_is_shown_with_the_number_of_parameters(city: Any, geo: Any) -> None:
    file = city.folder / "egotr.safetensors"
    shown = geo("weights", "info", file)
    assert shown.exit_code == 0, shown.output
    assert "untrained-egotr" in shown.stdout
    found = json.loads(geo("weights", "info", file, "--json").stdout)
    assert 1_000_000 < found["parameters"] <= 12_000_000
    assert found["view"]["kind"] == "drone"


def test_what_others_publish_is_described_without_fetching_it(geo: Any) -> None:
    found = json.loads(geo("weights", "info", "l2ltr-cvusa", "--json").stdout)
    assert (found["where"], found["view"], found["origin"]) == ("remote", "polar", "l2ltr")
    assert "94.05" in geo("weights", "info", "l2ltr-cvusa").stdout


def test_weights_that_are_damaged_or_missing_end_with_6(city: Any, refused: Refused, tmp_path: Path) -> None:
    assert "nothing-like-it" in refused(6, "weights", "info", "nothing-like-it")
    (tmp_path / "short.safetensors").write_bytes((city.folder / "egotr.safetensors").read_bytes()[:500_000])
    assert "short.safetensors" in refused(6, "weights", "info", tmp_path / "short.safetensors")


def test_published_weights_come_in_under_a_name_that_commands_take(timms: Path, geo: Any, refused: Refused) -> None:
    done = geo("weights", "import", timms, "--from", "timm-convnextv2", "--licence", "CC-BY-NC-4.0", "--out", "start")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "licence: CC-BY-NC-4.0; start from it with `geo train attengeo --preset attengeo --imagenet start`" in said
    found = json.loads(geo("weights", "info", "start", "--json").stdout)
    assert (found["name"], found["kind"], found["source"]["file"]) == ("start", "convnextv2", "model.safetensors")
    assert [entry["where"] for entry in json.loads(geo("weights", "list", "--json").stdout) if entry["name"] == "start"] == ["imported"]
    assert "is there already" in refused(2, "weights", "import", timms, "--from", "timm-convnextv2", "--out", "start")
    assert geo("weights", "import", timms, "--from", "timm-convnextv2", "--out", "start", "--overwrite").exit_code == 0


def test_weights_with_a_card_are_copied(city: Any, geo: Any, refused: Refused, tmp_path: Path) -> None:
    file = city.folder / "egotr.safetensors"
    assert geo("weights", "import", file, "--out", "mine").exit_code == 0
    copied, own = (json.loads(geo("weights", "info", name, "--json").stdout) for name in ("mine", file))
    assert copied == {**own, "name": "mine"}
    assert "no such file" in refused(3, "weights", "import", "egotr-s-drone", "--out", "other")
    assert "say all of that themselves; give --from" in refused(2, "weights", "import", file, "--out", "other", "--view", "polar")
    save_file({"a": torch.ones(1)}, tmp_path / "bare.safetensors")
    assert "has no card" in refused(6, "weights", "import", tmp_path / "bare.safetensors", "--out", "bare")
    assert "names no weights" in refused(2, "weights", "import", file, "--out", "a/b")


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "done")


def test_bad_checkpoints_are_refused_and_nothing_in_them_is_run(tmp_path: Path, refused: Refused, timms: Path) -> None:
    harm, short, wrong = (tmp_path / name for name in ("harm.pth", "short.pth", "wrong.pth"))
    harm.write_bytes(pickle.dumps({"state_dict": Harm(tmp_path / "touched")}))
    assert "code is never run" in refused(6, "weights", "import", harm, "--from", "detgeo", "--out", "x")
    assert not (tmp_path / "touched").exists()
    torch.save({"state_dict": {"a": torch.ones(1000)}}, wrong)
    line = refused(6, "weights", "import", wrong, "--from", "detgeo", "--out", "x")
    assert "wrong.pth: this is no DetGeo of 584 tensors: missing combine_clickptns_conv.conv.weight, " in line
    assert "and 576 more; extra a; is it another model's?" in line
    short.write_bytes(wrong.read_bytes()[:2000])
    assert "not a whole checkpoint" in refused(6, "weights", "import", short, "--from", "detgeo", "--out", "x")
    assert "no such file" in refused(6, "weights", "import", tmp_path / "no.pth", "--from", "detgeo", "--out", "x")
    probe = ("--probe", tmp_path)
    assert "needs no such thing" in refused(2, "weights", "import", timms, "--from", "timm-convnextv2", "--out", "x", *probe)
    assert "that --probe names" in refused(2, "weights", "import", timms, "--from", "timm-convnextv2", "--out", "x", "--layout", "cvusa")
    assert not (tmp_path / "data" / "crossgeo" / "weights" / "x.safetensors").exists()


def test_weights_go_back_to_the_program_they_came_from(tmp_path: Path, geo: Any, refused: Refused) -> None:
    from crossgeo.models.detgeo import DetGeo
    from crossgeo.models.published.detgeo import detgeo_to_published

    torch.manual_seed(2)
    state = detgeo_to_published(DetGeo().state_dict())
    torch.save({"state_dict": state}, tmp_path / "best.pth.tar")
    assert geo("weights", "import", tmp_path / "best.pth.tar", "--from", "detgeo", "--out", "det").exit_code == 0
    done = geo("weights", "export", "det", tmp_path / "back.safetensors", "--to", "detgeo")
    assert done.exit_code == 0 and "584 tensors" in done.stderr
    back = load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    assert "no place for" in refused(6, "weights", "export", "det", tmp_path / "l.pth", "--to", "l2ltr")
    assert "no such folder" in refused(3, "weights", "export", "det", tmp_path / "no" / "l.pth", "--to", "detgeo")
    for path in (tmp_path / "best.pth.tar", tmp_path / "back.safetensors", tmp_path / "data/crossgeo/weights/det.safetensors"):
        path.unlink()  # pytest keeps what tests leave


def test_pulling_fetches_once_and_says_what_to_do_without_a_network(
    timms: Path, geo: Any, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(url: str, out: Path, sha256: str | None, progress: registry.Progress, **_: Any) -> str:
        progress(1, 2)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(timms.read_bytes())
        return "0" * 64

    own = Remote("far", "a backbone", "CC-BY-NC-4.0", "timm-convnextv2", "https://nowhere.invalid/far.safetensors", sha256="0" * 64)
    monkeypatch.setattr(registry, "remotes", lambda: [own])
    offline = refused(6, "weights", "pull", "far", "--offline")
    assert "far is not here, and --offline asks nobody; fetch https://nowhere.invalid/far.safetensors elsewhere" in offline
    cut_off = refused(6, "weights", "pull", "far", "--out", "near")
    assert "nowhere.invalid cannot be reached" in cut_off and "--from timm-convnextv2 --out near` here" in cut_off
    assert "no weights are called 'unheard'; known elsewhere are: far" in refused(2, "weights", "pull", "unheard")
    monkeypatch.setattr(registry, "fetch", get)
    done = geo("weights", "pull", "far", "--out", "near")
    assert done.exit_code == 0, done.output
    assert "licence: CC-BY-NC-4.0" in done.stderr
    assert "near is here already" in geo("weights", "pull", "far", "--out", "near", "--offline").stderr


def test_pulling_refuses_what_would_be_ignored_and_needs_a_name(refused: Refused) -> None:
    own = "https://nowhere.invalid/own.safetensors"
    assert "say all of that themselves; give --from" in refused(2, "weights", "pull", own, "--licence", "MIT")
    assert "say all of that themselves; give --from" in refused(2, "weights", "pull", own, "--view", "polar")
    assert "give the name that they should get with --out" in refused(2, "weights", "pull", "https://nowhere.invalid/ä.pth")
    assert "'http://[::1/x' is no address on the web" in refused(2, "weights", "pull", "http://[::1/x", "--out", "x")


def test_own_weights_without_a_licence_are_pulled(tmp_path: Path, geo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(url: str, out: Path, sha256: str | None, progress: registry.Progress, **_: Any) -> str:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_weights(out, {"a": torch.ones(3)}, {"name": "own", "kind": "egotr", "config": {}, "view": "aerial"})
        return "0" * 64

    monkeypatch.setattr(registry, "fetch", get)
    done = geo("weights", "pull", "https://nowhere.invalid/own.safetensors", "--sha256", "0" * 64)
    assert done.exit_code == 0, done.output
    assert "licence: not told at import" in done.stderr


def test_the_options_name_all_that_can_be_brought_in_and_given_back() -> None:
    from crossgeo.commands.weights import Origin, Target
    from crossgeo.models.published.exporting import TARGETS
    from crossgeo.models.published.importing import ORIGINS

    assert {origin.value for origin in Origin} == set(ORIGINS)  # which `--help` does not wait for
    assert {target.value for target in Target} == set(TARGETS)
