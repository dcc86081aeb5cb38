"""Which device and precision to compute with, and why."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch

from ppl_cli.errors import PPLError, UsageError
from ppl_cli.model.kernels import kernel_problem
from ppl_cli.text import counted

# What is in the message of an error about memory: of PyTorch about a machine's own ("not enough memory: you tried to
# allocate", "can't allocate memory: you tried ..."); of CUDA, Triton, MPS and NCCL; of cuBLAS and cuDNN 8; of cuDNN 9.
OUT_OF_MEMORY = ("memory: you tried", "out of memory", "STATUS_ALLOC_FAILED", "ALLOCATION_FAILED")


@dataclass(frozen=True)
class Compute:
    device: torch.device
    precision: str  # fp32 or bf16
    reason: str  # one line for the user

    def autocast(self) -> AbstractContextManager:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def in_float32(self) -> "Compute":
        """The same, but in float32, which poses are found and measured in unless asked otherwise."""
        return replace(self, precision="fp32")

    def place(self, module: torch.nn.Module) -> torch.nn.Module:
        """To the device, with channels last: what convolutions are fastest with on GPUs and on CPUs."""
        return module.to(self.device, memory_format=torch.channels_last)


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """`device`: auto, cpu, cuda, cuda:N, mps; `precision`: auto, fp32, bf16. UsageError if it is not there, or where
    PyTorch makes numbers of another type than float32 by default: models would be built of them.

    Of several processes on one machine (torchrun's LOCAL_RANK) each takes the GPU of its number, in turns where there are
    fewer.
    """
    if (default := torch.get_default_dtype()) != torch.float32:
        raise UsageError(f"PyTorch's default dtype is {default}: expected torch.float32; set it with torch.set_default_dtype")
    if device == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        reason = {"cuda": "a CUDA GPU is there", "mps": "an Apple GPU is there", "cpu": "no GPU was found"}[chosen]
    else:
        chosen, reason = device, "as asked"
        check_device(device)
    local = os.environ.get("LOCAL_RANK", "")
    if chosen == "cuda" and local.isdecimal():
        chosen = f"cuda:{int(local) % torch.cuda.device_count()}"
    where = torch.device(chosen)
    if where.type == "cuda":
        prepare_cuda(where)
    precision, note = choose_precision(where, precision)
    return Compute(where, precision, f"device {chosen} ({reason}), precision {precision}{note}")


def prepare_cuda(device: torch.device) -> None:
    """Make a GPU the current one, where libraries allocate unless told otherwise, and choose how float32 is computed."""
    if device.index is not None:
        torch.cuda.set_device(device)
    # Convolutions may round their inputs to the 10 bits of TF32: several times as fast, and keypoints move by at most
    # 0.008 pixels. Products of matrices, which make positions, stay exact (PyTorch's default).
    torch.backends.cudnn.allow_tf32 = True


def choose_precision(device: torch.device, wish: str) -> tuple[str, str]:
    """fp32 or bf16, and what the user should know about it."""
    if wish not in ("auto", "fp32", "bf16"):
        raise UsageError(f"--precision {wish}: write auto, fp32 or bf16")
    if device.type == "cpu" and wish == "auto" and multiplies_bfloat16():
        return "bf16", " (this processor has AMX)"
    if device.type != "cuda":
        return "fp32" if wish == "auto" else wish, ""
    # GPUs before Ampere emulate bfloat16, slower than float32, and have no TF32.
    modern = torch.cuda.is_bf16_supported(including_emulation=False)
    precision = ("bf16" if modern else "fp32") if wish == "auto" else wish
    notes = [] if modern else [" (this GPU has no bfloat16 of its own)"]
    if modern and precision == "fp32":
        notes.append(" (convolutions in TF32)")
    if problem := kernel_problem():
        notes.append(f", links and doubling without Triton, slower ({problem})")
    return precision, "".join(notes)


def multiplies_bfloat16() -> bool:
    """Whether this processor has units for products of bfloat16 matrices: Intel's AMX, a training step in 0.62 of the time.

    Others with instructions for bfloat16 take longer in it than in float32 (docs/performance.md).
    """
    return getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()  # PyTorch has no public name for it


@contextmanager
def batch_that_fits(batch: int) -> Iterator[None]:
    """PPLError with what to set if a batch of that many images does not fit into memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        advice = f"try --batch {batch // 2}" if batch > 1 else "the model or an image is too large for this machine"
        raise PPLError(f"out of memory with {counted(batch, 'image')} at once (--batch): {advice}") from error


def check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    numbered = device != kind
    if kind not in ("cpu", "cuda", "mps") or (numbered and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"--device {device}: write auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"--device {device}: PyTorch sees no CUDA GPU on this machine; use --device cpu")
        if number and int(number) >= torch.cuda.device_count():
            gpus = counted(torch.cuda.device_count(), "GPU")
            raise UsageError(f"--device {device}: this machine has {gpus}, numbered from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: PyTorch sees no Apple GPU on this machine; use --device cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch, on any device, or Python could not get the memory it asked for."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY)
