"""A convolution and its ReLU in one operation of cuDNN, which the CPU stands in for here."""

import pytest
import torch
import torch.nn.functional as F

from ppl_cli.model import frozen
from ppl_cli.model.frozen import FrozenConvReLU, convolve_relu
from ppl_cli.model.kernels import fuses_relu


@pytest.fixture
def as_cudnn_does(monkeypatch):
    seen = []

    def convolve(x, weight, bias, stride, padding, dilation, groups):
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return F.relu(F.conv2d(x, weight, bias, stride, padding, dilation, groups))

    monkeypatch.setattr(torch, "cudnn_convolution_relu", convolve)
    return seen


def test_values_and_gradient_are_those_of_a_convolution_and_a_relu(as_cudnn_does):
    conv = FrozenConvReLU(3, 5).double()
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    expected, found = conv(x), convolve_relu(x, conv.weight, conv.bias)
    assert torch.equal(found, expected)
    pull = torch.randn_like(expected)
    wanted, ours = (torch.autograd.grad((y * pull).sum(), x)[0] for y in (expected, found))
    assert (ours - wanted).abs().max() < 1e-12
    assert not any(parameter.requires_grad for parameter in conv.parameters())


def test_on_a_gpu_channels_lie_last_whatever_comes_in(as_cudnn_does, monkeypatch):
    class OnGPU(torch.Tensor):
        is_cuda = property(lambda self: True)

    monkeypatch.setattr(frozen, "fuses_relu", lambda: True)
    conv = FrozenConvReLU(3, 5).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 6, 7)
    found = conv(x.as_subclass(OnGPU))
    assert as_cudnn_does == [True]
    monkeypatch.setattr(frozen, "fuses_relu", lambda: False)  # AMD's, which PyTorch calls cuda as well
    assert torch.equal(found, conv(x.as_subclass(OnGPU)))
    assert len(as_cudnn_does) == 1


@pytest.mark.parametrize("result", [1.0, torch.nan, RuntimeError("no engine found")])
def test_whether_cudnn_does_it_is_tried_once(monkeypatch, result):
    """Some versions may read the memory that the result is about to take."""

    def convolve(x, *arguments):
        if isinstance(result, Exception):
            raise result
        return torch.full_like(x, result)

    monkeypatch.setattr(torch, "cudnn_convolution_relu", convolve)
    monkeypatch.setattr(torch, "ones", lambda *sides, device, dtype: torch.zeros(sides, dtype=dtype) + 1)
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    fuses_relu.cache_clear()
    assert fuses_relu() == (result == 1.0)
    fuses_relu.cache_clear()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert not fuses_relu()
    fuses_relu.cache_clear()
