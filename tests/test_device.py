"""Which device and precision are chosen and said, with a GPU that is only made up; and which errors are about memory."""

import pytest
import torch

import ppl_cli
from ppl_cli import device, distributed
from ppl_cli.cli.app import report
from ppl_cli.device import Compute, batch_that_fits, choose_compute, is_out_of_memory
from ppl_cli.distributed import processes
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.heap import give_freed_memory_back, keep_freed_memory
from ppl_cli.runtime import Runtime, as_runtime


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs; what is set on them. Change `modern` for GPUs before Ampere and `problem` where Triton fails."""
    gpus = {"modern": True, "problem": None, "current": []}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: gpus["current"].append(str(device)))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or gpus["modern"])
    monkeypatch.setattr(device, "kernel_problem", lambda: gpus["problem"])
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return gpus


def test_the_gpu_that_is_asked_for_becomes_the_current_one(gpus, monkeypatch):
    """Triton and the libraries of CUDA work on the current device."""
    assert choose_compute("cuda:1").device == torch.device("cuda:1")
    assert gpus["current"] == ["cuda:1"]
    monkeypatch.setenv("LOCAL_RANK", "0")
    choose_compute("cuda")
    assert gpus["current"] == ["cuda:1", "cuda:0"]
    with pytest.raises(UsageError, match=r"this machine has 2 GPUs, numbered from 0"):
        choose_compute("cuda:2")


def test_another_default_dtype_is_named_before_a_model_is_built(model_file):
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(UsageError, match=r"default dtype is torch\.float64: expected torch\.float32; set it with"):
            ppl_cli.load(model_file, device="cpu")
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("gpus")
def test_processes_share_gpus_but_in_training(monkeypatch):
    found = []
    for rank in range(3):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        found.append(str(choose_compute("cuda").device))
    assert found == ["cuda:0", "cuda:1", "cuda:0"]
    for name, number in {"RANK": 2, "WORLD_SIZE": 3, "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, str(number))
    compute = Compute(torch.device("cuda:0"), "bf16", "")
    with (
        pytest.raises(UsageError, match=r"LOCAL_RANK is 2, and this process sees 2 GPUs.*--nproc-per-node 2"),
        processes(compute, True),
    ):
        pass


@pytest.mark.parametrize(("training", "backend"), [(True, "nccl"), (False, "gloo")])
def test_only_in_training_do_tensors_on_gpus_meet(gpus, monkeypatch, training, backend):
    seen = []
    monkeypatch.setattr(distributed, "join_store", lambda: None)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend, **settings: seen.append(backend))
    for name, number in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, str(number))
    with processes(Compute(torch.device("cuda:1"), "bf16", ""), training) as world:
        assert (world.rank, world.size) == (1, 2)
    assert seen == [backend]


@pytest.mark.parametrize(
    ("modern", "wish", "precision", "words"),
    [
        (True, "auto", "bf16", "precision bf16"),
        (True, "fp32", "fp32", "precision fp32 (convolutions in TF32)"),
        (False, "auto", "fp32", "precision fp32 (this GPU has no bfloat16 of its own)"),
        (False, "bf16", "bf16", "precision bf16 (this GPU has no bfloat16 of its own)"),
    ],
)
def test_the_precision_of_a_gpu_is_said_with_its_reason(gpus, modern, wish, precision, words):
    gpus["modern"] = modern
    compute = choose_compute("cuda", wish)
    assert compute.precision == precision
    assert compute.reason == f"device cuda (as asked), {words}"
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_runtime_without_a_precision_has_that_of_what_is_called():
    assert as_runtime("cpu", "fp32") == as_runtime(Runtime("cpu"), "fp32") == Runtime("cpu", "fp32")
    assert as_runtime(Runtime("cpu", "bf16"), "fp32").precision == "bf16"


def test_that_triton_does_not_work_is_said(gpus):
    gpus["problem"] = "no C compiler"
    assert choose_compute().reason.endswith("precision bf16, links and doubling without Triton, slower (no C compiler)")


def test_keeping_memory_is_harmless_everywhere():
    keep_freed_memory()
    assert torch.ones(1 << 20).sum() == 1 << 20
    give_freed_memory_back()
    assert torch.ones(1 << 20).sum() == 1 << 20


@pytest.mark.parametrize(
    ("amx", "wish", "words"),
    [
        (True, "auto", "precision bf16 (this processor has AMX)"),
        (True, "fp32", "precision fp32"),
        (False, "auto", "precision fp32"),
        (False, "bf16", "precision bf16"),
    ],
)
def test_a_cpu_trains_in_bfloat16_where_it_has_units_for_it(monkeypatch, amx, wish, words):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert choose_compute("cpu", wish).reason == f"device cpu (as asked), {words}"


def test_a_pytorch_that_does_not_know_of_amx_takes_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert choose_compute("cpu").precision == "fp32"


def test_a_cpu_says_nothing_of_gpus(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert choose_compute("cpu").reason == "device cpu (as asked), precision fp32"
    with pytest.raises(UsageError, match="write auto, fp32 or bf16"):
        choose_compute("cpu", "fp16")


def test_several_processes_need_a_device_that_can_talk(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="not on mps"), processes(Compute(torch.device("mps"), "fp32", "")):
        pass


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 68719476736 bytes."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("NCCL WARN Cuda failure 'out of memory'"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 1.2 GB, max allowed: 9.07 GB)."),
    ],
)
def test_errors_about_memory_become_advice(error, capsys):
    with pytest.raises(PPLError, match=r"out of memory with 8 images at once.*--batch 4"), batch_that_fits(8):
        raise error
    assert report(error) == 1
    assert capsys.readouterr().err.startswith("ppl: out of memory; use a smaller batch")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        # The kernel is too large for the chip: fewer images would not help.
        RuntimeError("out of resource: shared memory, Required: 262144, Hardware limit: 232448."),
        ValueError("expected 3 channels, got 4"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    assert not is_out_of_memory(error)
