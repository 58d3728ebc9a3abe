"""Checkpoints of strangers: plain tensors come through, code and damage do not, and nothing is run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from crossgeo.errors import WeightsError
from crossgeo.models.published.opening import opened

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(7)}


def read(path: Path, *containers: str) -> dict[str, dict[str, torch.Tensor]]:
    with opened(path, containers or (".",)) as found:
        return {name: {key: tensor.clone() for key, tensor in part.items()} for name, part in found.items()}


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "done")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_out_of_a_checkpoint_with_an_optimiser_and_losses(tmp_path: Path, legacy: bool) -> None:
    saved = {"epoch": 3, "best_loss": np.float64(0.5), "state_dict": STATE, "optimizer": {"state": {0: {"m": torch.ones(9)}}}}
    torch.save(saved, tmp_path / "model.pth.tar", _use_new_zipfile_serialization=not legacy)
    found = read(tmp_path / "model.pth.tar", "state_dict", ".")
    assert found.keys() == {"state_dict"}
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in STATE.items())


def test_containers_that_belong_together_come_together(tmp_path: Path) -> None:
    torch.save({"model_grd": STATE, "model_sat": STATE}, tmp_path / "both.pth")
    assert read(tmp_path / "both.pth", "model_grd+model_sat").keys() == {"model_grd", "model_sat"}
    torch.save({"model_grd": STATE}, tmp_path / "one.pth")
    with pytest.raises(WeightsError, match=r"one.pth: holds model_grd; expected model_grd\+model_sat; is it of another model\?"):
        read(tmp_path / "one.pth", "model_grd+model_sat")


def test_bare_tensors_npz_and_safetensors_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "bare.pth")
    np.savez(tmp_path / "bare.npz", **{name: tensor.numpy() for name, tensor in STATE.items()})
    save_file(STATE, tmp_path / "bare.safetensors")
    for path in ("bare.pth", "bare.npz", "bare.safetensors"):
        found = read(tmp_path / path, "state_dict", ".")["."]
        assert found.keys() == STATE.keys() and all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


def test_views_and_shared_tensors_are_written_once_each_and_whole(tmp_path: Path) -> None:
    wide = torch.arange(12.0).reshape(3, 4)
    torch.save({"column": wide[:, 1], "again": wide[:, 1], "turned": wide.T}, tmp_path / "views.pth")
    found = read(tmp_path / "views.pth")["."]
    assert torch.equal(found["column"], wide[:, 1]) and torch.equal(found["again"], wide[:, 1]) and torch.equal(found["turned"], wide.T)


def test_a_file_whose_tensors_take_far_more_room_than_it_does_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(100_000_000_000)}, tmp_path / "swelling.pth")
    np.savez_compressed(tmp_path / "swelling.npz", a=np.zeros(50_000_000, np.float32))
    for name, size in (("swelling.pth", 400_000), ("swelling.npz", 200)):
        with pytest.raises(WeightsError, match=rf"{name}: its tensors take {size} MB, far more than the file; do not use it"):
            read(tmp_path / name)
    (tmp_path / "long.safetensors").write_bytes((59_000_000).to_bytes(8, "little") + b" " * 100)
    with pytest.raises(WeightsError, match=r"long.safetensors: not a whole .*its list of tensors is 59 MB long"):
        read(tmp_path / "long.safetensors")


def test_tensors_of_other_kinds_are_named(tmp_path: Path) -> None:
    for kind, tensor in (("complex64", torch.ones(2, dtype=torch.complex64)), ("sparse", torch.ones(2).to_sparse())):
        torch.save({"a": tensor}, tmp_path / f"{kind}.pth")
        with pytest.raises(WeightsError, match=rf"{kind}.pth: a is a torch.* tensor of layout .*{kind if kind == 'sparse' else ''}"):
            read(tmp_path / f"{kind}.pth")
    np.savez(tmp_path / "words.npz", **{"a": np.ones(2, np.float32), "about": np.array(["words"])})
    assert read(tmp_path / "words.npz")["."].keys() == {"a"}


def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    torch.save({"state_dict": STATE, "extra": Harm(touched)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harm(touched)))
    for name, what in (("zip.pth", "it calls getattr"), ("plain.pth", "a pickle that holds more than tensors")):
        with pytest.raises(WeightsError, match=rf"{name}: not plain tensors \({what}\), and code is never run"):
            read(tmp_path / name, "state_dict")
    assert not touched.exists()
    with pytest.raises(WeightsError, match="not a whole checkpoint"):
        np.savez(tmp_path / "objects.npz", a=np.array([Harm(touched)], dtype=object), allow_pickle=True)
        read(tmp_path / "objects.npz")
    assert not touched.exists()


def test_code_that_lies_beside_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, tmp_path / "model.pth")
    for name in ("resource", "torch", "numpy", "json", "safetensors"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert read(Path("model.pth")).keys() == {"."}
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kept", [0.3, 0.98])
def test_a_truncated_file_is_said_to_be_one(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"state_dict": {"a": torch.rand(100, 100)}}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(WeightsError, match=r"cut.pth: not a whole checkpoint"):
        read(path, "state_dict")


@pytest.mark.parametrize(("name", "said"), [("gone.pth", "no such file"), ("weights.h5", "not a kind of checkpoint")])
def test_other_files_are_refused(tmp_path: Path, name: str, said: str) -> None:
    if name == "weights.h5":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=said):
        read(tmp_path / name)


def test_a_list_is_not_a_checkpoint(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds a list, not named tensors"):
        read(tmp_path / "list.pth")
