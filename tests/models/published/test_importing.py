"""Published checkpoints brought in and given back: each value as it was, a card that says what they are, and refusals that help."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossgeo.errors import UsageError, WeightsError
from crossgeo.models.checkpoint import load_egotr, load_object_network, load_weights, read_card, save_weights
from crossgeo.models.convnextv2 import ConvNeXtV2
from crossgeo.models.detgeo import PRESETS as DETGEO
from crossgeo.models.detgeo import DetGeo
from crossgeo.models.library import weights_folder
from crossgeo.models.published.detgeo import detgeo_to_published
from crossgeo.models.published.exporting import export_weights
from crossgeo.models.published.importing import AerialView, published, start_tensors, use_of

LISTING = Path(__file__).parents[1] / "data" / "l2ltr_branch.txt"


def l2ltr_branch(value: float = 0.0) -> dict[str, Tensor]:
    """Return one branch whose tensors hold one value each, stored once: 392 MB that take no memory until they are written."""
    rows = [line.split() for line in LISTING.read_text().splitlines() if not line.startswith("#")]
    shapes = [(name, [int(n) for n in shape.split("x")]) for name, shape in rows]
    return {name: torch.tensor(value + number).expand(shape) for number, (name, shape) in enumerate(shapes)}


def bring_in(path: Path, origin: str, out: Path, view: AerialView | None = None, **about: str) -> dict[str, object]:
    with published(path, origin) as found:
        return found.write(out, view=view, about=about)


@pytest.fixture(scope="module")
def detgeo_state() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return detgeo_to_published(DetGeo().state_dict())


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def test_detgeo_comes_in_with_a_card_runs_and_goes_back_bit_for_bit(tmp_path: Path, detgeo_state: dict[str, Tensor]) -> None:
    torch.save({"epoch": 24, "state_dict": detgeo_state, "optimizer": {}}, tmp_path / "model_best.pth.tar")
    card = bring_in(tmp_path / "model_best.pth.tar", "detgeo", tmp_path / "det.safetensors")
    assert json.loads(json.dumps(card)) == read_card(tmp_path / "det.safetensors")
    assert (card["name"], card["kind"], card["licence"]) == ("det", "detgeo", "not told at import")
    assert card["source"]["from"] == "detgeo" and card["source"]["file"] == "model_best.pth.tar"
    assert len(card["source"]["sha256"]) == 64
    assert "--object-weights" in use_of(card)
    loaded = load_object_network(tmp_path / "det.safetensors")
    assert loaded.module.config == DETGEO["detgeo"]
    assert export_weights(tmp_path / "det.safetensors", "detgeo", tmp_path / "back.pth") == 584
    assert same(torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"], detgeo_state)
    assert export_weights(tmp_path / "det.safetensors", "detgeo", tmp_path / "back.safetensors") == 584
    assert same(load_file(tmp_path / "back.safetensors"), detgeo_state)
    for path in tmp_path.iterdir():
        path.unlink()  # pytest keeps what tests leave


def test_convnext_v2_under_timms_names_comes_in_as_a_start(tmp_path: Path) -> None:
    torch.manual_seed(6)
    state = ConvNeXtV2().state_dict()
    save_file({**state, "head.fc.weight": torch.zeros(1000, 768)}, tmp_path / "model.safetensors")
    card = bring_in(tmp_path / "model.safetensors", "timm-convnextv2", tmp_path / "start.safetensors", says="from timm")
    assert (card["kind"], card["says"]) == ("convnextv2", "from timm")
    assert "--imagenet {name}" in use_of(card)
    assert same(load_weights(tmp_path / "start.safetensors")[1], state)
    with pytest.raises(WeightsError, match="these are weights of 'convnextv2', not of 'egotr'"):
        load_egotr(tmp_path / "start.safetensors")


def test_training_starts_from_a_published_file_or_from_imported_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    state = {"stem.0.weight": torch.ones(2, 3)}
    torch.save({"model": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    assert same(start_tensors(str(tmp_path / "checkpoint.pth")), state)
    card = {"name": "mine", "kind": "convnextv2", "config": {}, "view": {}}
    weights_folder().mkdir(parents=True)
    save_weights(weights_folder() / "mine.safetensors", state, card)
    assert start_tensors("mine")["stem.0.weight"].shape == (2, 3)
    save_weights(weights_folder() / "whole.safetensors", state, {**card, "kind": "egotr"})
    with pytest.raises(UsageError, match="whole are weights of 'egotr', not of a backbone; start from them with --start-from"):
        start_tensors("whole")
    with pytest.raises(WeightsError, match="other: no such file, nor imported weights of that name"):
        start_tensors("other")


def test_l2ltr_needs_a_view_since_no_file_says_it(tmp_path: Path) -> None:
    flat = {f"{part}.{name}": tensor[:0].clone() for part in ("model_grd", "model_sat") for name, tensor in l2ltr_branch().items()}
    save_file(flat, tmp_path / "l.safetensors")
    with pytest.raises(UsageError, match="does not say which aerial view it was trained with; give --view polar or plain, or --probe"):
        bring_in(tmp_path / "l.safetensors", "l2ltr", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_what_is_missing_extra_or_misshapen_is_named(tmp_path: Path, detgeo_state: dict[str, Tensor]) -> None:
    wrong = {**detgeo_state, "module.more": torch.zeros(1), "module.fcn_out.1.bias": torch.zeros(44)}
    del wrong["module.fcn_out.1.weight"]
    save_file(wrong, tmp_path / "wrong.safetensors")
    with pytest.raises(WeightsError, match=r"missing fcn_out.1.weight; extra more; fcn_out.1.bias is \(44,\), not \(45,\)"):
        bring_in(tmp_path / "wrong.safetensors", "detgeo", tmp_path / "out.safetensors")
    (tmp_path / "wrong.safetensors").unlink()
    with pytest.raises(UsageError, match="'torchvision' is no kind of published weights; choose from l2ltr, detgeo, timm"):
        bring_in(tmp_path / "wrong.safetensors", "torchvision", tmp_path / "out.safetensors")


def test_numbers_stay_what_they_are_and_what_are_none_is_named(tmp_path: Path) -> None:
    torch.manual_seed(6)
    state = {name: tensor.half() for name, tensor in ConvNeXtV2().state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    bring_in(tmp_path / "half.safetensors", "timm-convnextv2", tmp_path / "out.safetensors")
    assert same(load_weights(tmp_path / "out.safetensors")[1], state)
    for bad, said in (
        (torch.full((96,), float("nan")), "no finite numbers"),
        (torch.ones(96, dtype=torch.int64), "is torch.int64, not of"),
    ):
        save_file({**state, "stem.0.bias": bad}, tmp_path / "bad.safetensors")
        with pytest.raises(WeightsError, match=rf"bad.safetensors: stem.0.bias .*{said}"):
            bring_in(tmp_path / "bad.safetensors", "timm-convnextv2", tmp_path / "no.safetensors")
    assert not (tmp_path / "no.safetensors").exists()


def test_only_weights_of_a_program_go_back_to_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'timm' is no program that weights are written for"):
        export_weights("egotr-s-drone", "timm", tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"a.onnx: weights are written as .pth or .safetensors"):
        export_weights("egotr-s-drone", "l2ltr", tmp_path / "a.onnx")
    with pytest.raises(WeightsError, match="egotr-s-drone has another CNN stem than L2LTR"):
        export_weights("egotr-s-drone", "l2ltr", tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="these are weights of 'attengeo', which detgeo has no place for"):
        export_weights("attengeo-s-drone", "detgeo", tmp_path / "a.pth")
    (tmp_path / "there.pth").touch()
    with pytest.raises(UsageError, match="is there already"):
        export_weights("egotr-s-drone", "l2ltr", tmp_path / "there.pth")


GEO = """
import resource, sys
from pathlib import Path
from crossgeo.cli import main
sys.argv = ["geo", *sys.argv[1:]]
try:
    main()
finally:
    most = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(most.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""  # the most that this process held at once, and one that it started, in KB


@pytest.mark.slow
def test_a_whole_l2ltr_file_with_its_optimiser_comes_in_under_1500_mb_and_goes_back_bit_for_bit(tmp_path: Path) -> None:
    path, out = tmp_path / "model_checkpoint.pth", tmp_path / "cvusa.safetensors"
    branches = {"model_grd": l2ltr_branch(), "model_sat": l2ltr_branch(0.5)}
    solid = {part: {name: tensor.contiguous() for name, tensor in state.items()} for part, state in branches.items()}
    torch.save({**solid, "optimizer": {number: torch.empty(48_000_000) for number in range(8)}}, path)
    del solid
    assert path.stat().st_size > 2.3e9
    command = ["weights", "import", str(path), "--from", "l2ltr", "--view", "polar", "--licence", "MIT", "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", GEO, *command], capture_output=True, text=True, check=True)
    assert all(int(most) * 1024 < 1.5e9 for most in done.stdout.split()), done.stdout
    path.unlink()
    card = read_card(out)
    assert (card["licence"], card["view"]["polar"], card["config"]["name"]) == ("MIT", True, "polar-egotr-b")
    export_weights(out, "l2ltr", tmp_path / "back.pth")
    out.unlink()
    back = torch.load(tmp_path / "back.pth", weights_only=True, mmap=True)
    assert list(back) == ["model_grd", "model_sat"]
    assert all(same(back[part], state) for part, state in branches.items())
    (tmp_path / "back.pth").unlink()
