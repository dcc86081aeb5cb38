"""Skeleton map, forward + backward: ours against the plain one, time and peak memory.

python -m tests.benchmarks.skeleton
"""

import resource
import subprocess
import sys
import time

import torch

from ppl_cli.model.skeleton import plain_skeleton_map, skeleton_map

BATCH, KEYPOINTS, SIZE, THICKNESS = 8, 16, 128, 5e-4


def measure(name: str) -> None:
    """In a process of its own, so that peak memory is this function's."""
    draw = {"ours": skeleton_map, "plain": plain_skeleton_map}[name]
    generator = torch.Generator().manual_seed(0)
    keypoints = (torch.rand(BATCH, KEYPOINTS, 2, generator=generator) * 2 - 1).requires_grad_()
    weights = torch.rand(KEYPOINTS, KEYPOINTS, generator=generator).requires_grad_()
    skeleton_map(keypoints, weights, 16, THICKNESS).sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        draw(keypoints, weights, SIZE, THICKNESS).sum().backward()
        times.append(time.perf_counter() - begun)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{name:6s} {sorted(times)[2] * 1000:8.1f} ms   {peak:8.1f} MiB beyond the start")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
        print(f"batch {BATCH}, {KEYPOINTS} keypoints, {SIZE} x {SIZE}, {machine}")
        for name in ("plain", "ours"):
            subprocess.run([sys.executable, "-m", "tests.benchmarks.skeleton", name], check=True)
