"""models/mhsam.py against eq. 6-8 with true transposed convolutions."""

import pytest
import torch
import torch.nn.functional as F

from crossgeo.models.mhsam import MHSAM, SpatialHead


@pytest.mark.parametrize(("height", "width"), [(5, 5), (24, 24), (7, 32)])
def test_the_module_is_its_equations_with_deconvolutions(height: int, width: int) -> None:
    torch.manual_seed(height)
    model = MHSAM(6, 10).double()
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    total = torch.zeros_like(x)
    for head, kernel in zip(model.heads, (1, 3, 5), strict=True):
        assert isinstance(head, SpatialHead)
        assert head.down.kernel_size == (kernel, kernel)
        hidden = F.relu(F.conv2d(x, head.down.weight, head.down.bias))  # stride 1, padding 0
        assert hidden.shape == (2, 10, height - kernel + 1, width - kernel + 1)
        deconvolution = head.up.weight.flip(2, 3).transpose(0, 1)  # (hidden, C, k, k), as ConvTranspose2d keeps it
        total = total + F.conv_transpose2d(hidden, deconvolution, head.up.bias)
    torch.testing.assert_close(model(x), torch.sigmoid(total) * x)


def test_gradients_pass_gradcheck() -> None:
    torch.manual_seed(0)
    model = MHSAM(2, 3).double()
    assert torch.autograd.gradcheck(model, torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True))


def test_attention_only_weighs_features_down() -> None:
    x = torch.randn(1, 6, 8, 8)
    assert (MHSAM(6, 10)(x).abs() < x.abs()).all()
