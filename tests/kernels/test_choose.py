"""kernels/choose.py: "auto" picks what can run, a name runs or raises and says why."""

from collections import namedtuple

import pytest
import torch
from torch._subclasses import FakeTensorMode

from crossgeo.errors import UsageError
from crossgeo.kernels import choose as module
from crossgeo.kernels.choose import choose, lacking
from crossgeo.kernels.cross_attention import choose_attention


def test_torch_runs_everywhere_and_auto_takes_it_on_the_cpu() -> None:
    x = torch.ones(2)
    assert choose("torch", x) == choose("auto", x) == "torch"
    assert choose("auto", x.to("meta"), unsupported="this shape") == "torch"
    assert choose("auto", x, worth=False) == "torch"


def test_an_unknown_backend_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"'cuda' is no backend; there are auto, torch, triton"):
        choose("cuda", torch.ones(2))


@pytest.mark.parametrize(
    ("tensors", "unsupported", "reason"),
    [
        ((torch.ones(2),), "heads of 512 channels", "heads of 512 channels"),
        ((torch.ones(2, requires_grad=True),), None, "a gradient is wanted"),
        ((torch.ones(2, device="meta"),), None, "tensors lie on meta"),
        ((torch.ones(2), torch.ones(2, device="meta")), None, r"tensors lie on several devices \(cpu, meta\)"),
    ],
)
def test_triton_by_name_raises_where_it_cannot_run(tensors: tuple[torch.Tensor, ...], unsupported: str | None, reason: str) -> None:
    with pytest.raises(UsageError, match=f"cannot run here: {reason}; ask for 'torch' or 'auto'"):
        choose("triton", *tensors, unsupported=unsupported)


def test_a_machine_without_a_c_compiler_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert lacking() == "Triton needs a C compiler (gcc or clang)"


Card = namedtuple("Card", ["major", "minor"])


def _on_a_card(monkeypatch: pytest.MonkeyPatch, card: Card, lacks: str | None = None) -> None:
    """Have torch tell of a card that is not here; tensors on it are fake ones, which hold nothing."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(module, "_LACKING", lacks)


@pytest.mark.parametrize(("card", "expected"), [(Card(7, 5), "torch"), (Card(8, 0), "triton"), (Card(12, 0), "triton")])
def test_auto_takes_triton_on_cards_from_the_a100_on(card: Card, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_card(monkeypatch, card)
    with FakeTensorMode():
        assert choose("auto", torch.empty(2, device="cuda")) == expected


def test_auto_leaves_gradients_and_what_is_lacking_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_card(monkeypatch, Card(9, 0))
    with FakeTensorMode():
        learns = torch.empty(2, device="cuda", requires_grad=True)
        assert choose("auto", learns) == "torch"
        with torch.no_grad():
            assert choose("auto", learns) == "triton"
            _on_a_card(monkeypatch, Card(9, 0), lacks="Triton needs a C compiler")
            assert choose("auto", learns) == "torch"
            with pytest.raises(UsageError, match="cannot run here: Triton needs a C compiler"):
                choose("triton", learns)


def test_auto_takes_the_attention_kernel_for_16_bits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_card(monkeypatch, Card(9, 0))
    with FakeTensorMode():
        tokens = torch.empty(1, 3, 64, device="cuda")
        for dtype, expected in ((torch.float16, "triton"), (torch.bfloat16, "triton"), (torch.float32, "torch"), (torch.float64, "torch")):
            assert choose_attention("auto", 2, tokens.to(dtype)) == choose_attention("auto", 2, tokens, dtype=dtype) == expected
        assert (
            choose_attention("auto", 1, tokens.half()) == "triton" and choose_attention("auto", 1, tokens.half().repeat(1, 1, 2)) == "torch"
        )
        assert choose_attention("triton", 2, tokens) == "triton"
