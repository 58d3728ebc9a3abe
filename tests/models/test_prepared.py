"""models/prepared.py: what is made of weights once, and when it is made again."""

import copy
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from crossgeo.models.prepared import Prepared


class _Doubling(nn.Module):
    """Keeps twice its weight, and counts how often it doubled it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(4.0))
        self.prepared = Prepared()
        self.made = 0

    def doubled(self) -> Tensor:
        def make() -> Tensor:
            self.made += 1
            return 2 * self.weight

        return self.prepared.of("doubled", (self.weight,), make)


def _moved(module: _Doubling) -> None:
    module.to(torch.bfloat16).to(torch.float32)


def _loaded(module: _Doubling) -> None:
    module.load_state_dict({"weight": torch.ones(4)})


def _stepped(module: _Doubling) -> None:
    module.weight.grad = torch.ones(4)
    torch.optim.AdamW(module.parameters(), lr=0.1).step()


def _replaced(module: _Doubling) -> None:
    module.weight = nn.Parameter(torch.full((4,), 7.0))


@pytest.mark.parametrize("change", [_moved, _loaded, _stepped, _replaced])
def test_it_is_made_once_and_again_after_the_weights_changed(change: Callable[[_Doubling], None]) -> None:
    module = _Doubling()
    with torch.inference_mode():
        first = module.doubled()
        assert module.doubled() is first and module.made == 1
    change(module)
    with torch.no_grad():
        torch.testing.assert_close(module.doubled(), 2 * module.weight)
        module.doubled()
    assert module.made == 2


def test_what_is_made_in_inference_mode_serves_those_who_learn_later() -> None:
    module = _Doubling().requires_grad_(False)
    with torch.inference_mode():
        module.doubled()
    x = torch.ones(4, requires_grad=True)
    (x * module.doubled()).sum().backward()
    assert module.made == 1 and x.grad is not None and x.grad.tolist() == [0.0, 2.0, 4.0, 6.0]


def test_where_a_gradient_is_wanted_nothing_is_kept() -> None:
    module = _Doubling()
    with torch.no_grad():
        module.doubled()
    module.doubled().sum().backward()
    assert module.weight.grad is not None and module.weight.grad.tolist() == [2.0] * 4
    assert module.made == 2


def test_copies_begin_with_nothing_and_what_is_kept_is_bounded() -> None:
    module = _Doubling()
    with torch.no_grad():
        module.doubled()
        assert len(module.prepared) == 1
        assert len(copy.deepcopy(module).prepared) == len(pickle.loads(pickle.dumps(module)).prepared) == 0
        for size in range(100):
            module.prepared.of(size, (), partial(torch.zeros, size))
    assert 0 < len(module.prepared) <= 16


class _Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4), requires_grad=False)
        self.prepared = Prepared()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.prepared.of("doubled", (self.weight,), lambda: 2 * self.weight)


def test_a_graph_that_is_exported_holds_no_weights_of_before() -> None:
    module, x = _Doubled(), torch.ones(4)
    assert module(x).tolist() == [2.0] * 4
    graph = torch.export.export(module, (x,)).module()
    for weight in graph.parameters():
        weight.fill_(3.0)
    assert graph(x).tolist() == [6.0] * 4
