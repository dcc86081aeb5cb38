"""Whether the Triton kernels of this package (skeleton_triton.py, doubling_triton.py) work on this machine."""

from functools import cache

import torch


@cache
def kernel_problem(device: str = "cuda") -> str | None:
    """Why they cannot be used (no Triton, no C compiler, ...), or None: all are tried once on tiny tensors."""
    try:
        from ppl_cli.model.doubling_triton import spread
        from ppl_cli.model.skeleton_triton import FusedSkeletonMap

        with torch.inference_mode(False), torch.enable_grad():
            keypoints = torch.zeros(1, 2, 2, device=device, requires_grad=True)
            drawn = FusedSkeletonMap.apply(keypoints, keypoints.new_ones(2, 2), 4, 1.0).sum()
            taps = keypoints.view(1, 1, 2, 2).expand(1, 9, 2, 2)
            (drawn + spread(taps, keypoints.new_zeros(1)).sum()).backward()
            keypoints.grad.sum().item()  # waits: a kernel that fails says so here
    except Exception as error:  # compilers fail in many ways
        return " ".join(str(error).split()) or type(error).__name__
    return None


def kernels_work() -> bool:
    return kernel_problem() is None
