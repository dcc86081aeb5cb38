"""Seconds that something takes, and how fast this machine can be."""

import statistics
import time
from collections.abc import Callable

import torch

from ppl_cli.device import Compute


def timed(function: Callable[[], object], compute: Compute, repeats: int, together: int = 1, first: int = 3) -> float:
    """Median seconds, after first calls that do not count: there is compiling, searching and recording on a GPU.

    `together`: calls between two waits for the GPU, as in training, which does not wait after every step. `first`: the calls
    on a GPU that do not count.
    """
    gpu = compute.device.type == "cuda"
    finish = torch.cuda.synchronize if gpu else lambda: None
    for _ in range(first if gpu else 1):
        function()
    times = []
    for _ in range(repeats):
        finish()
        begun = time.perf_counter()
        for _ in range(together):
            function()
        finish()
        times.append((time.perf_counter() - begun) / together)
    return statistics.median(times)


def peak_flops(compute: Compute) -> float:
    """Operations a second of a large matrix product, the most that this machine gives convolutions."""
    kind = torch.bfloat16 if compute.precision == "bf16" else torch.float32
    size = 8192 if compute.device.type == "cuda" else 1536
    a = torch.randn(size, size, device=compute.device, dtype=kind)
    return 2 * size**3 / timed(lambda: a @ a, compute, 7)
