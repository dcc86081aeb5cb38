"""A GPU to pretend with: tensors that say cuda:0 and compute on the CPU.

Within `pretend_cuda()` what a CUDA device would refuse raises `DeviceMixError`: tensors of both devices in one operation. What
would make the program wait for the device is collected. Values are the CPU's and can be looked at; a stand-in for the Triton
kernels looks at its arguments and draws nothing.

Operations are intercepted below autograd, by modes of this thread: other threads see no GPU. (PyTorch's own FakeTensorMode
cannot go backwards on a device that is not there, and has no values to look at.) To autograd the tensors lie on the CPU; only
Python is told otherwise, so whatever asks autograd's side for a device is intercepted above it.
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
aten = torch.ops.aten
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index, aten._unsafe_index_put}
WAITING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.is_nonzero}
COPYING = {aten._to_copy, aten.copy_}


class DeviceMixError(RuntimeError):
    """What a GPU would refuse."""


class Pretended(torch.Tensor):
    """Says it lies on cuda:0; `inner` lies on the CPU."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        ours = torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device=CPU, **layout)
        ours.inner = inner
        return ours

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return Intercept.active.run(function, args, kwargs or {})

    def __deepcopy__(self, memo):
        ours = memo[id(self)] = self.detach().clone().requires_grad_(self.requires_grad)
        ours._is_param = isinstance(self, torch.nn.Parameter)
        return ours

    def __repr__(self, **_):
        return f"Pretended({self.inner!r})"


class Intercept(TorchDispatchMode):
    active: "Intercept"

    def __init__(self):
        super().__init__()
        self.waits: list[str] = []
        self.implied = CPU  # where a tensor is made that autograd, or an operation made of others, asks for
        Intercept.active = self

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return self.run(function, args, kwargs or {})

    def run(self, function, args, kwargs):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
        self.check(function, args, kwargs, tensors, ours)
        asked = kwargs.get("device")
        to_gpu = bool(ours) if asked is None else torch.device(asked).type == "cuda"
        to_gpu |= self.implied == CUDA
        if asked is not None:
            kwargs = {**kwargs, "device": CPU}
        if function.overloadpacket is aten.copy_:
            to_gpu = isinstance(args[0], Pretended)
        result = function(*tree_map(inner_tensor, args), **tree_map(inner_tensor, kwargs))
        known = {id(tensor.inner): tensor for tensor in ours}  # what an operation in place returns is what it was given
        result = tree_map(lambda leaf: wrap(leaf, known, to_gpu), result)
        if asked is None and to_gpu and ours:
            return return_and_correct_aliasing(function, args, kwargs, result)
        return result

    def wait(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if f"{os.sep}ppl_cli{os.sep}" in frame.filename]
        where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}, {frames[-1].line}" if frames else ""
        self.waits.append(what + where)

    def check(self, function, args, kwargs, tensors, ours) -> None:
        kind = function.overloadpacket
        if ours and kind in WAITING:
            self.wait(str(function))
        if kind in INDEXING and isinstance(args[0], Pretended):
            # An index may lie on the CPU, which costs a wait, as does a mask, whose true values must be counted.
            for index in args[1]:
                if index is not None and (not isinstance(index, Pretended) or index.dtype in (torch.bool, torch.uint8)):
                    self.wait(f"{function} with {'a mask' if isinstance(index, Pretended) else 'an index of the CPU'}")
            tensors = [args[0], *args[2:3]]
        elif kind in COPYING:
            blocking = not (kwargs.get("non_blocking") or (kind is aten.copy_ and args[2:3] == (True,)))
            asked = kwargs.get("device")
            places = [isinstance(tensor, Pretended) for tensor in tensors]
            if asked is not None and self.implied == CPU:
                places.append(torch.device(asked).type == "cuda")
            if blocking and len(set(places)) > 1:
                self.wait(f"{function} between devices")
            return
        on_cpu = [tensor for tensor in tensors if not isinstance(tensor, Pretended)]
        # Numbers of the CPU may take part in what a GPU computes, tensors may not.
        if ours and any(tensor.dim() > 0 for tensor in on_cpu):
            raise DeviceMixError(f"{function} of {', '.join(f'{tensor.device} {tuple(tensor.shape)}' for tensor in tensors)}")


def inner_tensor(leaf):
    return leaf.inner if isinstance(leaf, Pretended) else leaf


def wrap(leaf, known: dict[int, Pretended], to_gpu: bool):
    if not isinstance(leaf, torch.Tensor) or not to_gpu:
        return leaf
    return known[id(leaf)] if id(leaf) in known else Pretended(leaf)


class PretendedGenerator(torch.Generator):
    def __new__(cls, device="cpu"):
        return super().__new__(cls)

    def __init__(self, device="cpu"):
        self.place = torch.device(device)

    @property
    def device(self) -> torch.device:
        return self.place

    def manual_seed(self, seed: int) -> "PretendedGenerator":
        super().manual_seed(seed)
        return self


class Above(TorchFunctionMode):
    """What is decided above autograd: moves between devices, generators."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in ("to", "cpu", "cuda") and isinstance(args[0], torch.Tensor):
            return move(name, *args, **kwargs)
        if name in ("numpy", "__array__") and isinstance(args[0], Pretended):
            raise DeviceMixError("NumPy of a tensor on cuda:0")
        generator = kwargs.get("generator")
        if generator is not None:
            place = kwargs.get("device") or (args[0].device if isinstance(args[0], torch.Tensor) else CPU)
            if torch.device(place).type != generator.device.type:
                raise DeviceMixError(f"{name} on {place} with a generator of {generator.device}")
        ours = any(isinstance(leaf, Pretended) for leaf in tree_leaves((args, kwargs)))
        with patch.object(Intercept.active, "implied", CUDA if ours and "device" not in kwargs else CPU):
            return function(*args, **kwargs)


def move(name: str, tensor: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    """`tensor.to(...)`, `tensor.cpu()` and `tensor.cuda()`."""
    if args and isinstance(args[0], torch.Tensor):  # another tensor says where to, and as what
        args = (args[0].device, args[0].dtype, *args[1:])
    copy = kwargs.pop("copy", False)
    device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
    device = {"cpu": CPU, "cuda": CUDA}.get(name, device)
    dtype = dtype or tensor.dtype
    if device is None or device.type == tensor.device.type:
        return torch.Tensor.to(tensor, dtype, copy=copy, memory_format=layout or torch.preserve_format)
    with patch.object(Intercept.active, "implied", CPU):
        return aten._to_copy(tensor, dtype=dtype, device=device, non_blocking=non_blocking, memory_format=layout)


class PretendedKernel:
    """Instead of a Triton kernel: every tensor must lie on the GPU, one number after the other; all outputs are 0."""

    def __init__(self, kernel, *outputs: str):
        self.outputs = [kernel.arg_names.index(name) for name in outputs]
        self.launches = 0

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, **constants) -> None:
        self.launches += 1
        for tensor in (argument for argument in arguments if isinstance(argument, torch.Tensor)):
            if not isinstance(tensor, Pretended) or not tensor.is_contiguous():
                raise DeviceMixError(f"a kernel is given a tensor on {tensor.device} with strides {tensor.stride()}")
        for place in self.outputs:
            arguments[place].zero_()


def without_gradients(self: torch.inference_mode) -> None:
    """Instead of inference mode, whose tensors no subclass can wrap."""
    self._inference_mode_context = torch.no_grad()
    self._inference_mode_context.__enter__()


@contextmanager
def pretend_cuda() -> Iterator[list[str]]:
    """Yields the list of what waited for the device; clear it at will."""
    mode = Intercept()
    fakes = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "mem_get_info": lambda *_: (60 << 30, 80 << 30),
        "max_memory_allocated": lambda *_: 0,
        "is_current_stream_capturing": lambda: False,
        "synchronize": lambda *_: None,
        "get_device_capability": lambda *_: (9, 0),
        "_lazy_init": lambda: None,
    }
    autocast, run_backward = torch.autocast, torch.autograd._engine_run_backward

    def backward(*args, **kwargs):
        """Autograd's own tensors lie on the GPU; what functions of this program do in it is looked at as elsewhere."""
        with Above(), patch.object(mode, "implied", CUDA):
            return run_backward(*args, **kwargs)

    with ExitStack() as stack:
        for name, fake in fakes.items():
            stack.enter_context(patch.object(torch.cuda, name, fake))
        stack.enter_context(patch.object(torch.accelerator, "current_accelerator", lambda *_, **__: None))
        stack.enter_context(patch.object(torch.inference_mode, "__enter__", without_gradients))
        stack.enter_context(patch.object(torch, "Generator", PretendedGenerator))
        stack.enter_context(patch.object(torch.Tensor, "pin_memory", lambda tensor, *_: tensor))
        # `parameter.data = tensor`, which modules move with, keeps the Python class of the parameter.
        stack.enter_context(patch.object(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # operations by its name know no CPU
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))  # a mode is of one thread
        stack.enter_context(patch.object(torch, "autocast", lambda kind, *args, **kwargs: autocast("cpu", *args, **kwargs)))
        stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", backward))
        stack.enter_context(Above())
        stack.enter_context(mode)
        yield mode.waits
