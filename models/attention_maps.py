"""What CVCAM and MHSAM attended to in a pass: their attention maps, for those who ask (AttenGeo, sec. 3, eq. 3 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from crossgeo.models.cvcam import CAB, CVCAM
from crossgeo.models.mhsam import MHSAM


@dataclass
class AttentionMaps:
    """The maps of one pass through a network's fusion: N = h w cells of the photo and M = H W cells of the window, row by row.

    Maps of cross attention are (B, heads, cells that look, cells looked at), each row a distribution; those of MHSAM are 0 to 1. Whatever
    a network is without stays empty.
    """

    photo_to_window: list[Tensor] = field(default_factory=list)  # of each iteration, (B, heads, N, M): what photo cells take of the window
    window_to_photo: list[Tensor] = field(default_factory=list)  # of each iteration, (B, heads, M, N), and last of the block that fuses
    spatial: list[Tensor] = field(default_factory=list)  # (B, C, H, W): by how much MHSAM weighs each channel of each cell


@contextmanager
def watched(network: nn.Module) -> Iterator[AttentionMaps]:
    """Collect the maps of every pass of `network` inside the block, detached; the network's outputs stay what they are.

    They are computed beside the pass, from the very tokens it is given, by the definition in torch: a compiled engine gives none.
    """
    maps, handles = AttentionMaps(), []
    for module in network.modules():
        if isinstance(module, CVCAM):
            handles += [_watch(block, maps.photo_to_window) for block in module.query_blocks]
            handles += [_watch(block, maps.window_to_photo) for block in (*module.reference_blocks, module.fuse)]
        elif isinstance(module, MHSAM):
            handles.append(_watch(module, maps.spatial))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _watch(module: nn.Module, into: list[Tensor]) -> RemovableHandle:
    assert isinstance(module, CAB | MHSAM)

    def after(watching: nn.Module, given: tuple[Tensor, ...], _result: Any) -> None:
        assert isinstance(watching, CAB | MHSAM)
        into.append(watching.weights(*given).detach())

    return module.register_forward_hook(after)
