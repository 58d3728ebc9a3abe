"""The helpers of these tests themselves: poisoned memory, and a process that compiles while this one interprets."""

import torch


def test_unwritten_memory_holds_nan_or_the_largest_number() -> None:
    assert torch.empty(3).isnan().all() and torch.empty_like(torch.ones(2, dtype=torch.float16)).isnan().all()
    assert torch.ones(2).new_empty(5).isnan().all()
    assert (torch.empty(2, dtype=torch.int32) == 2**31 - 1).all()


def test_kernels_are_interpreted_unless_they_run_on_a_gpu(device: str) -> None:
    import triton.language as tl
    from triton import JITFunction

    assert isinstance(tl.max, JITFunction) == (device == "cuda")
