import copy
import subprocess
import sys

import torch

from ppl_cli.training.lean import Adam, give_freed_memory_back, keep_freed_memory

STEP = """
import sys, torch
from ppl_cli.training.lean import Adam
weight = torch.ones(3, requires_grad=True)
optimiser = Adam([weight], fused=True)
weight.sum().backward()
optimiser.step()
optimiser.zero_grad()
optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules)
"""


def test_it_steps_as_pytorchs_own_and_reads_its_state():
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(5, generator=generator), torch.randn(6, 5, generator=generator)
    weights = [start.clone().requires_grad_() for _ in range(2)]
    ours, theirs = Adam([weights[0]], 0.1, fused=True), torch.optim.Adam([weights[1]], 0.1, fused=True)
    for gradient in gradients:
        for weight, optimiser in zip(weights, (ours, theirs), strict=True):
            weight.grad = gradient.clone()
            optimiser.step()
            optimiser.zero_grad()
        assert torch.equal(*weights)
        ours.load_state_dict(copy.deepcopy(theirs.state_dict()))


def test_it_leaves_the_compiler_alone():
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_keeping_memory_and_giving_it_back_are_harmless_everywhere():
    keep_freed_memory()
    assert torch.ones(1 << 20).sum() == 1 << 20
    give_freed_memory_back()
    assert torch.ones(1 << 20).sum() == 1 << 20
