"""Doubling and convolving by kernels, as `tests/model/test_skeleton_triton.py` does it: interpreted where there is no GPU."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from ppl_cli.model import blocks
from ppl_cli.model.blocks import conv3x3, convolve_doubled, tap_kernels
from tests.model.test_skeleton_triton import HAS_GPU, python

pytest.importorskip("triton")

COMPARE = """
import json, sys, torch
import torch.nn.functional as F
from ppl_cli.model.blocks import double, tap_kernels
from ppl_cli.model.doubling_triton import spread

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cudnn.allow_tf32 = False
for inputs, outputs, height, width, kind in json.loads(sys.argv[1]):
    random, kind = torch.Generator().manual_seed(outputs), getattr(torch, kind)
    x = torch.randn(2, inputs, height, width, generator=random).to(device, kind).requires_grad_()
    weight = torch.randn(outputs, inputs, 3, 3, generator=random).to(device, kind).requires_grad_()
    bias = torch.randn(outputs, generator=random).to(device)
    expected = F.conv2d(double(x.double()), weight.double(), bias.double(), padding=1)
    found = spread(F.conv2d(x, tap_kernels(weight)), bias)
    pull = torch.randn(expected.shape, generator=random).to(device, kind)
    wanted = expected, *torch.autograd.grad(expected, (x, weight), pull.double())
    ours = found, *torch.autograd.grad(found, (x, weight), pull)
    apart = [((a.double() - b.double()).norm() / b.double().norm()).item() for a, b in zip(ours, wanted)]
    print(json.dumps([apart, found.is_contiguous(memory_format=torch.channels_last), str(found.dtype)]))
"""

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ppl_cli.model import doubling_triton as kernels

for kernel in (kernels.spread_kernel, kernels.collect_kernel):
    for kind in ("*bf16", "*fp32"):
        known = dict(zip(("columns", "some"), kernels.tile(64, 64)))
        kinds = dict.fromkeys(("height", "width", "channels"), "i32") | dict.fromkeys(known, "constexpr") | {"bias": "*fp32"}
        signature = {name: kinds.get(name, kind) for name in kernel.arg_names}
        source = ASTSource(kernel, signature=signature, constexprs=known)
        assert len(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]) > 1000
print("compiled")
"""


def plain_spread(taps: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """What `spread` computes, as it reads: each tap doubled, shifted and added."""
    height, width = taps.shape[2:]
    doubled = F.pad(F.interpolate(taps, scale_factor=2, mode="bilinear", align_corners=False), (1, 1, 1, 1))
    doubled = doubled.unflatten(1, (3, 3, -1))
    rows, columns = 2 * height, 2 * width
    shifted = [doubled[:, y, x, :, y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    return torch.stack(shifted).sum(0) + bias.view(1, -1, 1, 1)


def test_a_convolution_of_what_is_doubled_is_a_sum_over_doubled_taps():
    conv, x = conv3x3(3, 5).double(), torch.randn(2, 3, 4, 7, dtype=torch.float64)
    taps = F.conv2d(x, tap_kernels(conv.weight))
    assert (plain_spread(taps, conv.bias) - convolve_doubled(conv, x)).abs().max() < 1e-12


def test_the_kernels_do_so_with_the_same_gradients():
    cases = [
        (8, 5, 6, 10, "float32"),
        (3, 70, 1, 3, "float32"),  # more channels than a program takes, one row
        (4, 6, 5, 1, "float32"),
        (2, 64, 3, 18, "float32"),  # more columns
        (4, 6, 5, 8, "bfloat16"),
    ]
    said = python(COMPARE, json.dumps(cases), interpret=not HAS_GPU)
    for line, (*_, kind) in zip(said.splitlines(), cases, strict=True):
        apart, channels_last, found = json.loads(line)
        assert max(apart) < (1e-6 if kind == "float32" else 2e-2)
        assert channels_last
        assert found == f"torch.{kind}"


def test_the_kernels_compile_for_a_gpu():
    assert "compiled" in python(COMPILE, interpret=False)


@pytest.mark.parametrize("works", [True, False])
def test_a_gpu_uses_the_kernels_where_they_work(monkeypatch, works):
    """On tensors that only say that they are on a GPU."""
    from ppl_cli.model import doubling_triton

    calls = []
    monkeypatch.setattr(doubling_triton, "spread", lambda taps, bias: calls.append(tuple(taps.shape)))
    monkeypatch.setattr(blocks, "kernels_work", lambda: works)
    with FakeTensorMode():
        for device in ("cuda", "cpu"):
            with torch.device(device):
                convolve_doubled(conv3x3(3, 4), torch.zeros(2, 3, 5, 7))
    assert calls == ([(2, 36, 5, 7)] if works else [])
