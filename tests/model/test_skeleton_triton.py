"""The GPU kernels: run by Triton's interpreter where there is no GPU, and compiled for one all the same.

Triton decides at its import whether to interpret, so each of these runs in a process of its own.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ppl_cli.model.kernels import kernel_problem
from ppl_cli.model.skeleton import skeleton_map

pytest.importorskip("triton")
HAS_GPU = torch.cuda.is_available()

COMPARE = """
import json, sys, torch
from ppl_cli.model.kernels import kernel_problem
from ppl_cli.model.skeleton import plain_skeleton_map
from ppl_cli.model.skeleton_triton import FusedSkeletonMap

device = "cuda" if torch.cuda.is_available() else "cpu"
assert kernel_problem(device) is None
for case in json.loads(sys.argv[1]):
    size, thickness = case["size"], case["thickness"]
    keypoints = torch.tensor(case["keypoints"], device=device, requires_grad=True)
    weights = torch.tensor(case["weights"], device=device, requires_grad=True)
    pull = torch.randn(len(keypoints), 1, size, size, generator=torch.Generator().manual_seed(1)).to(device)
    plain = plain_skeleton_map(keypoints, weights, size, thickness)
    fused = FusedSkeletonMap.apply(keypoints, weights, size, thickness)
    gradients = [torch.autograd.grad((drawn * pull).sum(), (keypoints, weights)) for drawn in (plain, fused)]
    # Where a link of weight 0 ties with nothing at all, the plain map teaches it; ours does not.
    drawn_links = (weights > 0).float()
    gradients = [(a, b * drawn_links) for a, b in gradients]
    print(json.dumps({
        "largest": plain.max().item(),
        "empty": (fused == 0).float().mean().item(),
        "values": (plain - fused).abs().max().item(),
        "lost": [drawn.isnan().flatten(1).float().mean(1).tolist() for drawn in (plain, fused)],
        "gradients": [((a - b).abs().max() / a.abs().max()).item() for a, b in zip(*gradients)],
    }))
"""

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ppl_cli.model import skeleton_triton as kernels

tiled = {"tiles": 8, "tile_size": kernels.TILE}
constants = {
    kernels.draw_kernel: {"links": 120} | tiled,
    kernels.pull_kernel: tiled,
    kernels.gather_kernel: {"batch": 64, "others": 16, "images": 64},
}
for kernel, known in constants.items():
    kinds = dict.fromkeys(("links", "count", "size"), "i32") | dict.fromkeys(("thickness", "reach", "tiny"), "fp32")
    kinds |= {"winners": "*i16", "pairs": "*i32"} | dict.fromkeys(known, "constexpr")
    signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature=signature, constexprs=known)
    assert len(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]) > 1000
print("compiled")
"""


def python(script: str, *arguments: str, interpret: bool) -> str:
    environment = {**os.environ, "TRITON_INTERPRET": "1" if interpret else "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def random_case(size: int, count: int, thickness: float) -> dict:
    generator = torch.Generator().manual_seed(size)
    keypoints = torch.rand(2, count, 2, generator=generator) * 2.4 - 1.2  # some outside the image
    weights = torch.rand(count, count, generator=generator) + 0.01
    return {"size": size, "thickness": thickness, "keypoints": keypoints.tolist(), "weights": weights.tolist()}


def odd_links() -> dict:
    weights = [[0.0, 0.5, 0.0, 0.0], [0.0] * 4, [0.0, 0.0, 0.0, 0.7], [0.0] * 4]
    keypoints = [[[0.1, 0.2], [0.1, 0.2], [3.0, 3.0], [3.0, 2.0]]]
    return {"size": 32, "thickness": 5e-4, "keypoints": keypoints, "weights": weights}


def no_numbers() -> list[dict]:
    cases = [random_case(17, 3, 6e-3) for _ in range(3)]
    cases[0]["keypoints"][1][2][0] = torch.nan
    cases[1]["keypoints"][1][0][1] = torch.inf
    cases[2]["weights"][0][2] = torch.nan
    return cases


@pytest.fixture(scope="module")
def compared() -> dict[str, list[dict]]:
    """What COMPARE finds, in one process for all cases."""
    cases = {
        "random": [random_case(33, 4, 5e-4), random_case(24, 5, 6e-3), random_case(17, 4, 5e-4)],
        "odd links": [odd_links()],
        "no numbers": no_numbers(),
    }
    said = python(COMPARE, json.dumps([case for kind in cases.values() for case in kind]), interpret=not HAS_GPU)
    found = iter([json.loads(line) for line in said.splitlines()])
    return {name: [next(found) for _ in kind] for name, kind in cases.items()}


def test_equal_the_plain_map_in_values_and_gradients(compared):
    for case in compared["random"]:
        assert case["largest"] > 0.5
        assert case["values"] < 1e-5
        assert max(case["gradients"]) < 1e-4


def test_links_of_no_length_or_no_weight_and_far_links(compared):
    """Two keypoints in one place draw a dot, a link of weight 0 nothing, and a link outside reaches no tile."""
    (found,) = compared["odd links"]
    assert 0.1 < found["largest"] <= 0.5
    assert found["empty"] > 0.5
    assert found["values"] < 1e-5
    assert max(found["gradients"]) < 1e-4  # a NaN is not smaller


def test_what_is_not_a_number_is_not_drawn_as_nothing(compared):
    """Losses then show it: a keypoint costs its own image, a weight every image."""
    found = [case["lost"] for case in compared["no numbers"]]
    assert found == [[[0.0, 1.0]] * 2, [[0.0, 1.0]] * 2, [[1.0, 1.0]] * 2]


def test_why_the_kernels_cannot_be_used_is_known_after_one_try(monkeypatch):
    import triton

    def compiler_is_missing(*arguments, **settings):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", compiler_is_missing)
    kernel_problem.cache_clear()
    assert kernel_problem("cpu") == "Failed to find C compiler. Please specify via CC environment variable."
    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", None)
    assert kernel_problem("cpu").startswith("Failed to find"), "tried again"
    kernel_problem.cache_clear()


@pytest.mark.parametrize("works", [True, False])
def test_a_gpu_draws_with_the_kernels_where_they_work(monkeypatch, works):
    """On tensors that only say that they are on a GPU."""
    from ppl_cli.model import skeleton, skeleton_triton

    calls = []
    monkeypatch.setattr(skeleton, "kernels_work", lambda: works)
    for module, name in ((skeleton, "SkeletonMap"), (skeleton_triton, "FusedSkeletonMap")):
        monkeypatch.setattr(getattr(module, name), "apply", lambda *arguments, name=name: calls.append(name))
    with FakeTensorMode():
        skeleton_map(torch.zeros(2, 4, 2, device="cuda"), torch.zeros(4, 4, device="cuda"), 16, 5e-4)
        skeleton_map(torch.zeros(2, 4, 2), torch.zeros(4, 4), 16, 5e-4)
    assert calls == ["FusedSkeletonMap" if works else "SkeletonMap", "SkeletonMap"]


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its assembler on Linux only")
def test_the_kernels_compile_for_a_gpu():
    assert "compiled" in python(COMPILE, interpret=False)


@pytest.mark.skipif(not HAS_GPU, reason="no GPU")
def test_a_gpu_draws_with_the_kernels_and_repeats_bit_for_bit():
    keypoints = (torch.rand(8, 16, 2, device="cuda") * 2 - 1).requires_grad_()
    weights = torch.rand(16, 16, device="cuda", requires_grad=True)
    results = []
    for _ in range(2):
        drawn = skeleton_map(keypoints, weights, 128, 5e-4)
        assert "Fused" in drawn.grad_fn.name()
        results.append((drawn, *torch.autograd.grad(drawn.square().sum(), (keypoints, weights))))
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
