"""training/pair_judge.py: recall among held-out pairs, whatever their number and whichever picture is damaged."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from crossgeo.models.panorama import PanoramaView
from crossgeo.training.pair_input import PairInput
from crossgeo.training.pair_judge import PairJudge
from crossgeo.training.pairs import Pair

AS_INPUT = PairInput(PanoramaView(ground_hw=(16, 64), aerial_hw=(16, 16)))


class Brightness(nn.Module):
    """Describes a picture by its mean, as a direction."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([mean.cos(), mean.sin()], dim=1)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ground = self.aerial = Brightness()


def test_pairs_are_found_among_their_own_and_one_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    pairs = []
    for n in range(33):  # 32 are described at a time
        photo, aerial = tmp_path / f"photo{n}.png", tmp_path / f"aerial{n}.png"
        cv2.imwrite(str(photo), np.full((16, 64, 3), 4 * n, np.uint8))
        cv2.imwrite(str(aerial), np.full((16, 16, 3), 4 * n, np.uint8))
        pairs.append(Pair(f"p{n}", photo, aerial, "val", 0.0, 360.0))
    judge = PairJudge.of(pairs, AS_INPUT, 33, 0, "cpu")
    assert judge(Branches()) == {"recall_1": 1.0, "recall_5": 1.0}
    pairs[32].photo.write_bytes(b"no picture")
    assert judge(Branches()) == {"recall_1": 1.0, "recall_5": 1.0}
