"""kernels/choose.py: "auto" picks what can run, a name runs or raises and says why."""

import pytest
import torch

from crossgeo.errors import UsageError
from crossgeo.kernels.choose import choose


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
