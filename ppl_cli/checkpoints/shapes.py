"""The model that a configuration describes: built, and filled with the tensors of a file that are seen to fit it.

What a file declares is compared with the configuration's model before memory is taken for either.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError
from ppl_cli.model.backbone import FROZEN, BackboneError, as_stored
from ppl_cli.model.core import PosePriorLearner, Sizes
from ppl_cli.text import printable


def build_model(config: Config) -> PosePriorLearner:
    sizes = config.model.model_dump(exclude={"backbone_weights"})
    sizes |= {"any_heading": config.train.rotate is True, "given_keypoints": config.prior.keypoints == "given"}
    try:
        return PosePriorLearner(Sizes(**sizes))
    except BackboneError as error:
        raise UsageError(f"model.backbone {error}") from error


def check_tensors(
    path: Path,
    config: Config,
    found: dict[str, tuple[tuple[int, ...], torch.dtype | None]],
    named: Callable[[str], str] = str,
) -> PosePriorLearner:
    """The shapes and types in a file against those of the model that `config` describes: that model, without memory yet.

    `named`: our name of a tensor -> the file's. UsageError names the first tensor that does not fit.
    """
    try:
        with torch.device("meta"), ShapesOnly():
            model = build_model(config)
    except RuntimeError as error:  # more elements than can be counted
        raise UsageError(f"{path}: its tensors do not fit its own configuration, which asks for too large a model") from error
    wanted = {named(name): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in wanted.items():
        expected = described(tensor.shape, as_in_file(name, tensor).dtype)
        has = described(*found[name]) if name in found else "missing"
        if has != expected:
            raise UsageError(f"{path}: its tensors do not fit its own configuration: {name} is {has}, expected {expected}")
    for name in found:
        if name not in wanted:
            raise UsageError(f"{path}: its tensors do not fit its own configuration: {printable(name)} has no place in it")
    return model


def as_in_file(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """What a model file holds of a model's tensor."""
    return as_stored(tensor) if name.startswith(FROZEN) else tensor


def described(shape: Iterable[int], dtype: torch.dtype | None) -> str:
    sides = "x".join(map(str, shape)) or "one number"
    return f"{sides} of {str(dtype).removeprefix('torch.') if dtype else 'another type'}"


def all_finite(tensor: torch.Tensor) -> bool:
    """In one pass: `isfinite().all()` takes seven times as long for a model, and 300 times beside another job, where its
    threads wait for each other."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    lowest, highest = tensor.aminmax()
    return math.isfinite(lowest) and math.isfinite(highest)


def fill_model(path: Path, model: PosePriorLearner, read: Callable[[str], torch.Tensor]) -> None:
    """Fills a model from `check_tensors` and puts it in evaluation mode; `read` gives each tensor by its name."""
    # Copies: what the file itself backs keeps Windows from replacing it.
    tensors = {
        name: read(name).to(wanted.dtype, copy=True, memory_format=torch.contiguous_format)
        for name, wanted in model.state_dict().items()
    }
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise UsageError(f"{path}: {name} holds numbers that are not finite; the file is damaged or its training failed")
    model.load_state_dict(tensors, assign=True)
    model.eval()


class ShapesOnly(TorchFunctionMode):
    """Tensors on the meta device, which have no values: without this torch would import its compiler (seconds) to draw them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.__name__ in ("kaiming_uniform_", "uniform_", "normal_", "add", "div"):
            return args[0] if args else kwargs["tensor"]
        return torch.empty(*args, **kwargs) if function is torch.randn else function(*args, **kwargs)
