"""training/ema.py: the average moves with the weights and with what batch norms count."""

import torch
from torch import nn

from crossgeo.training.ema import Average


def test_parameters_and_running_statistics_follow_and_frozen_parameters_stay() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    module[2].requires_grad_(False)
    average = Average(module, decay=0.25)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    module(torch.randn(8, 3) * 5.0 + 2.0)  # which the norm counts
    average.update(module, step=1000)
    after, mean = module.state_dict(), average.module.state_dict()
    assert not torch.equal(after["1.running_var"], before["1.running_var"])
    for name in ("0.weight", "1.bias", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(mean[name], 0.25 * before[name] + 0.75 * after[name])
    assert mean["1.num_batches_tracked"] == after["1.num_batches_tracked"] == 1
    assert torch.equal(mean["2.weight"], before["2.weight"])
    assert not average.module.training
