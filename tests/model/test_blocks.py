import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ppl_cli.model.blocks import (
    Chain,
    ResidualDown,
    UNetDown,
    UNetUp,
    UpConv,
    conv3x3,
    double,
    double_by_slices,
    fold_norms,
    halve,
    halved_kernel,
)
from tests.conftest import Operations


@pytest.mark.parametrize("size", [(5, 7), (1, 4), (2, 1), (16, 16)])
def test_doubling_by_slices_is_bilinear_with_the_same_gradient(size):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    expected, ours = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), double_by_slices(x)
    assert torch.equal(double(x), expected)
    assert (ours - expected).abs().max() < 1e-12
    pull = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    gradients = [torch.autograd.grad((doubled * pull).sum(), x)[0] for doubled in (expected, ours)]
    assert (gradients[0] - gradients[1]).abs().max() < 1e-12


def test_doubling_by_slices_scatters_nothing_and_keeps_channels_last():
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    with Operations() as seen:
        doubled = double_by_slices(x)
        doubled.sum().backward()
    assert doubled.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)
    assert not [name for name in seen.names if any(part in name for part in ("scatter", "index", "upsample"))]


def test_a_halved_kernel_is_the_convolution_and_then_the_mean():
    conv = conv3x3(3, 4).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    ours = F.conv2d(x, halved_kernel(conv.weight), conv.bias, stride=2, padding=1)
    assert torch.allclose(ours, halve(conv(x)), atol=1e-12)


def test_a_chain_is_a_sequential_with_the_same_names():
    chain = Chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain.load_state_dict(chain.state_dict())
    x = torch.randn(5, 3)
    assert torch.equal(chain(x), plain(x))


@pytest.mark.parametrize("block", [ResidualDown, UNetDown, UNetUp, UpConv])
def test_biases_before_a_batch_norm_do_nothing_and_rest(block):
    torch.manual_seed(0)
    module, x = block(4, 6).double(), torch.randn(2, 4, 8, 8, dtype=torch.float64)
    biases = [conv.bias for conv in module.modules() if isinstance(conv, nn.Conv2d)]
    assert not any(bias.requires_grad for bias in biases)
    before = module(x)
    for bias in biases:
        bias.add_(1.0)
    assert (module(x) - before).abs().max() < 1e-10


@pytest.mark.parametrize("block", [ResidualDown, UNetDown, UNetUp, UpConv])
def test_folded_norms_give_the_same_and_leave_the_trained_block_alone(block):
    torch.manual_seed(0)
    trained = nn.Sequential(block(3, 4)).double()
    trained(torch.randn(9, 3, 8, 8, dtype=torch.float64) * 3 + 1)  # norms with a mean and a variance
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
        folded, x = fold_norms(trained), torch.randn(2, 3, 8, 8, dtype=torch.float64)
        assert trained.training
        assert not [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d)]
        assert (folded(x) - trained.eval()(x)).abs().max() < 1e-12
