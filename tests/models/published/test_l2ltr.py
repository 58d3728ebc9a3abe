"""models/published/l2ltr.py against the names and shapes of a published checkpoint (tests/models/data/l2ltr_branch.txt)."""

import math
from pathlib import Path

import pytest
import torch

from crossgeo.errors import WeightsError
from crossgeo.models.egotr import PRESETS, EgoTR, EgoTRBranch
from crossgeo.models.published.l2ltr import branch_from_l2ltr, branch_to_l2ltr, egotr_from_l2ltr, l2ltr_name

LISTING = Path(__file__).parents[1] / "data" / "l2ltr_branch.txt"


@pytest.fixture(scope="module")
def published() -> dict[str, tuple[int, ...]]:
    rows = [line.split() for line in LISTING.read_text().splitlines() if not line.startswith("#")]
    return {name: tuple(int(n) for n in shape.split("x")) for name, shape in rows}


@pytest.fixture
def state(published: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in published.items()}


@pytest.fixture(scope="module")
def branch() -> EgoTRBranch:
    with torch.device("meta"):
        return EgoTRBranch(PRESETS["egotr-b"], (128, 512))


def test_the_listing_has_378_tensors_and_97_954_624_values(published: dict[str, tuple[int, ...]]) -> None:
    assert len(published) == 378
    assert sum(math.prod(shape) for shape in published.values()) == 97_954_624


def test_every_published_name_and_shape_is_one_of_ours(published: dict[str, tuple[int, ...]], branch: EgoTRBranch) -> None:
    assert {l2ltr_name(name): tuple(tensor.shape) for name, tensor in branch.state_dict().items()} == published


def test_a_published_branch_loads_strictly_and_comes_back_tensor_for_tensor(state: dict[str, torch.Tensor], branch: EgoTRBranch) -> None:
    ours = branch_from_l2ltr(state)
    assert branch.load_state_dict(ours, strict=True, assign=True).missing_keys == []
    back = branch_to_l2ltr(ours)
    assert back.keys() == state.keys()
    assert all(back[name] is state[name] for name in state)


def test_query_and_key_norms_go_to_their_own_places(state: dict[str, torch.Tensor]) -> None:
    ours = branch_from_l2ltr(state)
    assert ours["layers.3.norm.weight"] is state["transformer.encoder.layer.3.attention_norm_1.weight"]
    assert ours["layers.3.key_norm.weight"] is state["transformer.encoder.layer.3.attention_norm_2.weight"]
    assert ours["stem.stages.2.8.norm1.bias"] is state["transformer.embeddings.hybrid_model.body.block3.unit9.gn1.bias"]


def test_both_branches_join_to_one_model(state: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        model = EgoTR(PRESETS["polar-egotr-b"])
    joined = egotr_from_l2ltr(state, dict(state), PRESETS["polar-egotr-b"])
    assert len(joined) == 2 * 378
    model.load_state_dict(joined, strict=True, assign=True)


def test_missing_extra_and_misshapen_tensors_are_reported_by_name(state: dict[str, torch.Tensor]) -> None:
    del state["transformer.encoder.layer.11.ffn.fc2.bias"]
    state["head.weight"] = torch.empty(1, device="meta")
    state["transformer.embeddings.cls_token"] = torch.empty(1, 768, device="meta")
    with pytest.raises(WeightsError) as caught:
        branch_from_l2ltr(state)
    message = str(caught.value)
    assert "missing transformer.encoder.layer.11.ffn.fc2.bias" in message
    assert "extra head.weight" in message
    assert "transformer.embeddings.cls_token is (1, 768), not (1, 1, 768)" in message


def test_the_other_direction_reports_too(branch: EgoTRBranch) -> None:
    ours = dict(branch.state_dict())
    del ours["layers.0.key_norm.weight"]
    with pytest.raises(WeightsError, match=r"missing layers\.0\.key_norm\.weight"):
        branch_to_l2ltr(ours)


@pytest.mark.parametrize("name", ["project.weight", "stem.blocks.0.project.bias", "layers.0.attention.other.weight"])
def test_a_tensor_without_counterpart_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="no counterpart in L2LTR"):
        l2ltr_name(name)
