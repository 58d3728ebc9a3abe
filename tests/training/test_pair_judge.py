"""training/pair_judge.py: recall among held-out pairs, whatever their number and whichever picture is damaged."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from crossgeo.models.panorama import PanoramaView
from crossgeo.training.pair_input import PairInput
from crossgeo.training.pair_judge import PairJudge, held_out
from crossgeo.training.pairs import Pair, PairSet

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


def drawn(folder: Path, n: int, split: str = "val", aerial: int | None = None) -> Pair:
    """A photo and its aerial of one brightness."""
    photo, picture = folder / f"photo{n}-{split}.png", folder / f"aerial{n if aerial is None else aerial}.png"
    cv2.imwrite(str(photo), np.full((16, 64, 3), 4 * n, np.uint8))
    if not picture.exists():
        cv2.imwrite(str(picture), np.full((16, 16, 3), 4 * n, np.uint8))
    return Pair(f"p{n}-{split}", photo, picture, split, 0.0, 360.0)


def test_pairs_are_found_among_their_own_and_one_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    pairs = PairSet("set", "cvusa", tmp_path, tuple(drawn(tmp_path, n) for n in range(33)))  # 32 are described at a time
    judge = PairJudge.of(pairs, AS_INPUT, 33, 0, "cpu")
    assert judge(Branches()) == {"recall_1": 1.0, "recall_5": 1.0}
    pairs.pairs[32].photo.write_bytes(b"no picture")
    assert judge(Branches()) == {"recall_1": 1.0, "recall_5": 1.0}


def test_an_aerial_that_several_photos_share_ties_with_nothing(tmp_path: Path) -> None:
    pairs = PairSet("set", "vigor", tmp_path, tuple(drawn(tmp_path, n, aerial=n // 2) for n in range(0, 20, 2)))
    pairs = PairSet("set", "vigor", tmp_path, (*pairs.pairs, *(Pair(f"again{p.id}", p.photo, p.aerial, "val", 0.0, 360.0) for p in pairs)))
    assert PairJudge.of(pairs, AS_INPUT, 64, 0, "cpu")(Branches())["recall_1"] == 1.0


def test_a_run_is_judged_on_val_before_test_and_never_on_what_it_sees(tmp_path: Path) -> None:
    train = [drawn(tmp_path, n, "train") for n in range(4)]
    val = [drawn(tmp_path, n, "val") for n in (3, 4)]  # the first shows an aerial of the training
    test = [drawn(tmp_path, n, "test") for n in (5, 6)]
    data = PairSet("set", "cvact", tmp_path, tuple(train + test + val))
    judged = held_out(data, "train")
    assert judged is not None
    assert [pair.id for pair in judged] == ["p4-val"]
    assert held_out(PairSet("set", "cvact", tmp_path, tuple(train)), "train") is None
