"""models/checkpoint.py: weights come back as they were, and nothing damaged, foreign or pickled is believed."""

import json
import os
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from crossgeo.errors import InputError, LimitError, WeightsError
from crossgeo.models import attengeo
from crossgeo.models.checkpoint import (
    load_attengeo,
    load_egotr,
    load_street_branch,
    load_weights,
    read_card,
    save_weights,
    street_partner,
    tensors_digest,
)
from crossgeo.models.egotr import EgoTR, EgoTRConfig
from crossgeo.models.library import find_weights, shipped_weights
from crossgeo.models.views import DroneView

TINY = EgoTRConfig("tiny", "efficientnet-lite0", (32, 32), (32, 32), width=24, layers=2, heads=3, hidden=40, dropout=0.0)
VIEW = DroneView(size_px=32, extent_m=60.0)


def card_of(config: EgoTRConfig = TINY, **more: Any) -> dict[str, Any]:
    return {"name": "tiny-drone", "kind": "egotr", "config": config.to_dict(), "view": VIEW.to_dict(), "licence": "Apache-2.0", **more}


@pytest.fixture(scope="module")
def model() -> EgoTR:
    torch.manual_seed(11)
    return EgoTR(TINY).eval()


@pytest.fixture
def saved(tmp_path: Path, model: EgoTR) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, model.state_dict(), card_of(metrics={"recall_25m": 0.97}))
    return path


def rewrite(path: Path, card: Any = None, **tensors: torch.Tensor) -> None:
    """Write the file again with another card (an object, or raw text) or tensors, the digest left as it was, the card's checksum true."""
    with safe_open(path, framework="pt") as file:
        state, metadata = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    text = metadata["card"] if card is None else card if isinstance(card, str) else json.dumps(card)
    save_file(state | tensors, path, metadata={"card": text})


def test_a_model_comes_back_with_the_same_descriptors(saved: Path, model: EgoTR) -> None:
    loaded = load_egotr(saved)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        cosine = (loaded.module.ground(images) * model.ground(images)).sum(1)
        assert not torch.allclose(loaded.module.aerial(images), model.ground(images))
    assert cosine.min() > 0.9999  # stored as float16
    assert not loaded.module.training and loaded.module.config == TINY
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}


def test_float32_weights_come_back_bit_for_bit(tmp_path: Path, model: EgoTR) -> None:
    path = tmp_path / "wide.safetensors"
    save_weights(path, model.state_dict(), card_of(), dtype=torch.float32)
    loaded = load_egotr(str(path)).module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_the_card_is_read_back_with_the_digest_and_without_the_tensors(saved: Path) -> None:
    card = read_card(saved)
    assert card == {**json.loads(json.dumps(card_of(metrics={"recall_25m": 0.97}))), "digest": card["digest"]}
    assert EgoTRConfig.from_dict(card["config"]) == TINY and DroneView.from_dict(card["view"]) == VIEW
    loaded = load_egotr(saved)
    assert loaded.identity == ("tiny-drone", card["digest"]) and loaded.sha256 == card["digest"] and loaded.card == card


def test_saving_returns_the_digest_of_what_was_stored(tmp_path: Path, model: EgoTR) -> None:
    path = tmp_path / "tiny.safetensors"
    digest = save_weights(path, model.state_dict(), card_of())
    card, state = load_weights(path)
    assert digest == card["digest"] == tensors_digest(state) and len(digest) == 64
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}


def test_the_digest_sees_names_types_shapes_and_values_but_not_their_order() -> None:
    base = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    others = [
        {"a": torch.arange(6.0), "c": torch.zeros(2)},
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)},
        {"a": torch.arange(6.0).half(), "b": torch.zeros(2)},
        {"a": torch.arange(6.0) + 1e-6, "b": torch.zeros(2)},
    ]
    assert len({tensors_digest(state) for state in [base, *others]}) == 5
    assert tensors_digest({"b": base["b"], "a": base["a"]}) == tensors_digest(base)


def test_tensors_that_differ_from_the_digest_are_refused(saved: Path) -> None:
    rewrite(saved, **{"ground.class_token": torch.ones(1, 1, 24, dtype=torch.float16)})
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: its tensors have SHA-256 \w{12}, its card says \w{12}"):
        load_egotr(saved)


def test_one_flipped_byte_anywhere_is_found(saved: Path) -> None:
    whole = saved.read_bytes()
    card_at = whole.index(b"extent_m") + 20
    for position in (0, 9, card_at, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(WeightsError, match=r"tiny\.safetensors"):
            load_egotr(saved)
    saved.write_bytes(whole)
    load_egotr(saved)


@pytest.mark.parametrize("keep", [0, 4, 300, -1])
def test_a_truncated_file_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    for read in (read_card, load_weights, load_egotr):
        with pytest.raises(WeightsError, match="not a whole safetensors file"):
            read(saved)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    flag = tmp_path / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (flag,)

    for name, content in {"bare.safetensors": pickle.dumps(Bomb()), "bare.pth": pickle.dumps({"model_grd": Bomb()})}.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"state_dict": Bomb()}, tmp_path / "zipped.safetensors")
    for path in (tmp_path / "bare.safetensors", tmp_path / "bare.pth", tmp_path / "zipped.safetensors"):
        with pytest.raises(WeightsError, match="not a whole safetensors file"):
            load_egotr(path)
    assert not flag.exists()
    pickle.loads(pickle.dumps(Bomb()))  # the bomb is live: unpickling is what sets it off
    assert flag.exists()


def test_missing_weights_are_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights are called 'egotr-xl'; there are: .+; or give a \.safetensors path"):
        load_egotr("egotr-xl")
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such weights file"):
        load_egotr(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="no such weights file"):
        load_egotr(tmp_path)


def test_weights_without_a_card_are_refused(tmp_path: Path, model: EgoTR) -> None:
    path = tmp_path / "bare.safetensors"
    save_file(model.state_dict(), path)
    with pytest.raises(WeightsError, match=r"bare\.safetensors: the file has no card"):
        load_egotr(path)


@pytest.mark.parametrize("card", ["{", "[1, 2]", '{"name": "tiny"}'])
def test_a_card_that_is_none_is_refused(saved: Path, card: str) -> None:
    rewrite(saved, card)
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: its card"):
        read_card(saved)


def test_weights_of_another_kind_are_refused(saved: Path) -> None:
    with pytest.raises(WeightsError, match="these are weights of 'egotr', not of 'attengeo'"):
        load_attengeo(saved)


@pytest.mark.parametrize("change", [{"unheard_of": 1}, {"width": 25}, {"ground_hw": None}])
def test_a_configuration_of_a_newer_version_is_refused(saved: Path, change: dict[str, Any]) -> None:
    card = read_card(saved)
    rewrite(saved, {**card, "config": {**card["config"], **change}})
    with pytest.raises(WeightsError, match="its card's config is none of 'egotr'"):
        load_egotr(saved)


def test_tensors_of_another_architecture_are_listed_by_name(tmp_path: Path, model: EgoTR) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(path, model.state_dict(), card_of(replace(TINY, layers=3, hidden=48, position=False)))
    with pytest.raises(WeightsError) as caught:
        load_egotr(path)
    message = str(caught.value)
    assert "missing aerial.layers.2.attention.key.bias, " in message and " more, extra aerial.position, ground.position" in message
    assert "of another shape aerial.layers.0.contract.weight, " in message


def test_a_card_must_say_what_it_is_for_before_anything_is_written(tmp_path: Path, model: EgoTR) -> None:
    card = card_of()
    del card["view"]
    with pytest.raises(ValueError, match="a card needs 'view'"):
        save_weights(tmp_path / "x.safetensors", model.state_dict(), card)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_values_that_float16_cannot_hold_are_not_written(tmp_path: Path, model: EgoTR, value: float) -> None:
    state = model.state_dict() | {"ground.class_token": torch.full((1, 1, 24), value)}
    with pytest.raises(ValueError, match=r"ground\.class_token holds values that are not finite"):
        save_weights(tmp_path / "x.safetensors", state, card_of())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_weights_before_and_says_so(
    saved: Path, model: EgoTR, room_for: Callable[[int], AbstractContextManager[None]]
) -> None:
    before = saved.read_bytes()
    with room_for(len(before) // 2), pytest.raises(LimitError, match=r"tiny\.safetensors: File too large; free some room"):
        save_weights(saved, model.state_dict(), card_of(), dtype=torch.float32)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_weights_that_may_not_be_written_are_an_input_error(saved: Path, model: EgoTR) -> None:
    with pytest.raises(InputError, match=r"under\.safetensors: Not a directory; choose another path"):
        save_weights(saved / "under.safetensors", model.state_dict(), card_of())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_who_may_read_the_weights_is_what_the_umask_says(umask: int, mode: int, tmp_path: Path, model: EgoTR) -> None:
    ours = os.umask(umask)
    try:
        save_weights(tmp_path / "new.safetensors", model.state_dict(), card_of())
    finally:
        os.umask(ours)
    assert (tmp_path / "new.safetensors").stat().st_mode & 0o777 == mode


def test_attengeo_comes_back_too(tmp_path: Path) -> None:
    config = attengeo.PRESETS["attengeo-s"]
    torch.manual_seed(12)
    module = attengeo.AttenGeo(config).eval()
    path = tmp_path / "object.safetensors"
    card = {"name": "object", "kind": "attengeo", "config": config.to_dict(), "view": config.view.to_dict()}
    save_weights(path, module.state_dict(), card, dtype=torch.float32)
    loaded = load_attengeo(path)
    assert loaded.module.config == config
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in loaded.module.state_dict().items())


@pytest.mark.parametrize("name", shipped_weights())
def test_shipped_weights_are_whole_and_say_where_they_come_from(name: str) -> None:
    card, state = load_weights(name)
    assert find_weights(name).stat().st_size < 32e6
    assert card["name"] == name and card["licence"] and card["credits"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    {"egotr": load_egotr, "egotr-street": load_street_branch, "attengeo": load_attengeo}[card["kind"]](name)


def test_shipped_street_weights_go_with_the_shipped_aerial_branch() -> None:
    assert street_partner(load_egotr().sha256) == "egotr-s-street"
    assert street_partner("0" * 64) is None


def test_a_street_branch_without_a_partner_is_refused(tmp_path: Path) -> None:
    card, state = load_weights("egotr-s-street")
    save_weights(tmp_path / "lone.safetensors", state, {key: value for key, value in card.items() if key not in ("aerial", "digest")})
    with pytest.raises(WeightsError, match="aerial branch"):
        load_street_branch(tmp_path / "lone.safetensors")
