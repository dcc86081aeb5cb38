"""What works on this GPU: the Triton kernels of skeleton_triton.py and doubling_triton.py, and an operation of cuDNN."""

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


@cache
def fuses_relu() -> bool:
    """Whether cuDNN convolves, adds a bias and applies a ReLU in one operation: tried once."""
    if not (torch.version.cuda and torch.backends.cudnn.is_available() and torch.backends.cudnn.enabled):
        return False
    try:
        for kind in (torch.float32, torch.bfloat16):
            x = torch.ones(1, 8, 4, 4, device="cuda", dtype=kind).contiguous(memory_format=torch.channels_last)
            weight = x[..., :3, :3].expand(8, 8, 3, 3).contiguous(memory_format=torch.channels_last)
            bias = x[0, :, 0, 0].clone()
            torch.full_like(x, torch.nan)  # freed at once: what lies in the memory of the result must not matter
            if not torch.cudnn_convolution_relu(x, weight, bias, (1, 1), (1, 1), (1, 1), 1).isfinite().all():
                return False
    except RuntimeError:
        return False
    return True


def kernels_work() -> bool:
    return kernel_problem() is None
