"""A model on disk: `model.safetensors` for everyone, `training.pt` for going on with training.

`model.safetensors` holds the weights and a JSON header with the format version, the configuration and the step.
`training.pt` repeats the weights beside the optimiser, so that a kill between two files can never mix two steps.
"""

import hashlib
import json
import math
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch.overrides import TorchFunctionMode

from ppl_cli.config.loading import parse_config
from ppl_cli.config.sections import Config
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import replacing
from ppl_cli.model.core import PosePriorLearner, Sizes
from ppl_cli.model.processes import world_size
from ppl_cli.original.checkpoint import GRID, ReferenceCheckpoint
from ppl_cli.original.names import reference_name
from ppl_cli.pickles.machine import printable
from ppl_cli.pickles.torch_zip import MAGIC, REBUILT, TorchZip

FORMAT_VERSION = 1
KNOWN_TOKENS = "known.tokens"
TENSOR_TYPES = {"F32": torch.float32, "I64": torch.int64}  # of safetensors


@dataclass
class Known:
    """What the memory knows of some training images."""

    tokens: torch.Tensor  # (K, banks) int16: the vector of each bank that a pose chooses
    recall_distance: float  # that 99 % of poses stay below: from the recalled pose, normalised, mean over keypoints


@dataclass
class Checkpoint:
    model: PosePriorLearner
    config: Config
    step: int
    path: Path
    known: Known | None = None  # None in files of other programs


def build_model(config: Config) -> PosePriorLearner:
    return PosePriorLearner(Sizes(**config.model.model_dump(), given_keypoints=config.prior.keypoints == "given"))


def save_model(path: Path, model: PosePriorLearner, config: Config, step: int, known: Known | None = None) -> None:
    header = {"format_version": FORMAT_VERSION, "config": config.model_dump(), "keypoints": model.sizes.keypoints, "step": step}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if known is not None:
        header["recall_distance"] = known.recall_distance
        tensors[KNOWN_TOKENS] = known.tokens.to(torch.int16).contiguous()
    content = serialise(tensors, metadata={"ppl": json.dumps(header)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_model(source: str | Path) -> Checkpoint:
    """MODEL argument -> the model in evaluation mode, on the CPU.

    A run folder, a `model.safetensors`, or a `.pth` of the reference implementation. UsageError names the file and what is
    wrong with it; nothing is built before the file is seen to hold every tensor in its size.
    """
    path = Path(source)
    try:
        if path.is_dir():
            path = path / "model.safetensors"
            if not path.is_file():
                raise UsageError(f"{source} holds no model.safetensors: give a run folder of `ppl train`, or the file itself")
        elif not path.is_file():
            raise UsageError(
                f"no model at {source}: give a run folder of `ppl train`, a model.safetensors or a .pth of the reference "
                "implementation"
            )
        with path.open("rb") as file:
            begin = file.read(4)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if begin == MAGIC:
        return load_reference(path)
    if path.suffix in (".pth", ".pt", ".tar") and (begin[:1] == b"\x80" or path.suffix == ".tar"):
        raise UsageError(f"{path} is in the format of torch before 1.6: load and save it once with a newer torch")
    if path.suffix in (".pth", ".pt"):
        raise UsageError(f"{path} is not a file that torch.save wrote; is it whole?")
    return load_own(path)


def load_own(path: Path) -> Checkpoint:
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["ppl"])
            version = check_version(header["format_version"])
            if version > FORMAT_VERSION:
                shown = reprlib.repr(version)
                raise UsageError(f"{path} has format version {shown}, this ppl reads up to {FORMAT_VERSION}: update ppl")
            config, step = parse_config(header["config"], str(path)), header["step"]
            if type(step) is not int or step < 0:
                raise ValueError("step")
            pieces = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: (tuple(piece.get_shape()), TENSOR_TYPES.get(piece.get_dtype())) for name, piece in pieces.items()}
            remembered = shapes.pop(KNOWN_TOKENS, None)
            check_tensors(path, config, shapes)
            known = None
            if remembered is not None:
                known = known_of(file.get_tensor(KNOWN_TOKENS), float(header["recall_distance"]), config)
            model = fill_model(path, config, file.get_tensor)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a readable safetensors file: {one_line(error)}") from error
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise UsageError(f"{path} was not written by ppl: its header is missing or damaged") from error
    return Checkpoint(model, config, step, path, known)


def load_reference(path: Path) -> Checkpoint:
    with TorchZip(path) as archive:
        reference = ReferenceCheckpoint(path, archive)
        shapes = {name: (view.shape, view.dtype) for name, view in reference.tensors.items() if name != GRID}
        check_tensors(path, reference.config, shapes, reference_name)
        model = fill_model(path, reference.config, reference.read)
    return Checkpoint(model, reference.config, 0, path)


class ShapesOnly(TorchFunctionMode):
    """Tensors are made and keep whatever values they have: on the meta device, they have none.

    Without it the result is the same, but torch then imports its compiler (seconds) to draw random numbers there.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.__name__ in ("kaiming_uniform_", "uniform_", "normal_", "add", "div"):
            return args[0] if args else kwargs["tensor"]
        return torch.empty(*args, **kwargs) if function is torch.randn else function(*args, **kwargs)


def check_version(version: object) -> int:
    if type(version) is not int or version < 1:
        raise ValueError("format_version")
    return version


def check_tensors(
    path: Path,
    config: Config,
    found: dict[str, tuple[tuple[int, ...], torch.dtype | None]],
    named: Callable[[str], str] = str,
) -> None:
    """The shapes and types in a file against those of the model that `config` describes, which takes no memory here.

    `named`: our name of a tensor -> the file's. UsageError names the first tensor that does not fit.
    """
    try:
        with torch.device("meta"), ShapesOnly():
            wanted = {named(name): tensor for name, tensor in build_model(config).state_dict().items()}
    except RuntimeError as error:  # more elements than can be counted
        raise UsageError(f"{path}: its tensors do not fit its own configuration, which asks for too large a model") from error
    for name, tensor in wanted.items():
        if name not in found:
            raise UsageError(f"{path}: its tensors do not fit its own configuration: {name} is missing")
        shape, dtype = found[name]
        if shape != tuple(tensor.shape) or dtype != tensor.dtype:
            raise UsageError(
                f"{path}: its tensors do not fit its own configuration: {name} is {described(shape, dtype)}, "
                f"expected {described(tensor.shape, tensor.dtype)}"
            )
    for name in found:
        if name not in wanted:
            raise UsageError(f"{path}: its tensors do not fit its own configuration: {printable(name)} has no place in it")


def described(shape: Iterable[int], dtype: torch.dtype | None) -> str:
    sides = "x".join(map(str, shape)) or "one number"
    return f"{sides} of {str(dtype).removeprefix('torch.') if dtype else 'another type'}"


def fill_model(path: Path, config: Config, read: Callable[[str], torch.Tensor]) -> PosePriorLearner:
    """`read` gives each tensor by its name."""
    model = build_model(config)
    tensors = {name: read(name) for name in model.state_dict()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UsageError(f"{path}: {name} holds what is no finite number; the file is damaged or its training failed")
    model.load_state_dict(tensors)
    return model.eval()


def known_of(tokens: torch.Tensor, distance: float, config: Config) -> Known:
    if tokens.ndim != 2 or tokens.shape[1] != config.model.banks or tokens.dtype != torch.int16:
        raise ValueError(f"{KNOWN_TOKENS} does not fit the memory")
    if (tokens.numel() and not 0 <= tokens.min() <= tokens.max() < config.model.vectors) or not 0 <= distance < math.inf:
        raise ValueError(f"{KNOWN_TOKENS} does not fit the memory")
    return Known(tokens, distance)


def save_training(
    path: Path,
    model: PosePriorLearner,
    optimiser: torch.optim.Optimizer,
    step: int,
    window: torch.Tensor,
    names: list[str],
    average: dict[str, torch.Tensor] | None = None,
) -> None:
    """`window`: losses of the steps since the last row of metrics.csv, so that a resumed run writes the same rows.

    `average`: state of the averaged model, where one is kept.

    `names` of the images decide the order in which they come, so a resumed run must see the same ones.
    """
    state = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "sizes": asdict(model.sizes),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "window": window,
        "images": fingerprint(names),
        "processes": world_size(),
        "average": average,
    }
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's own writer reports a full disk this way
            raise PPLError(f"cannot write {path}: {str(error).splitlines()[0]}; what was there before is intact") from error


def fingerprint(names: Iterable[str]) -> str:
    digest, count = hashlib.blake2b(digest_size=8), 0
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        count += 1
    return f"{count} images, {digest.hexdigest()}"


def load_training(
    path: Path, model: PosePriorLearner, optimiser: torch.optim.Optimizer, names: list[str]
) -> tuple[int, torch.Tensor, dict[str, torch.Tensor] | None]:
    """Fill model and optimiser in place; returns the step reached, the window and the average's state.

    UsageError if the file does not fit.
    """
    try:
        with TorchZip(path) as archive:
            archive.tree(REBUILT)  # compressed storages and nests without end are refused before torch meets them
    except UsageError as error:
        raise UsageError(f"{error}; start anew with --overwrite") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if check_version(state["format_version"]) > FORMAT_VERSION:
            raise UsageError(f"{path} has format version {reprlib.repr(state['format_version'])}: update ppl")
        sizes = asdict(model.sizes)
        if any(state["sizes"].get(name, size) != size for name, size in sizes.items()):  # it may have had more of them once
            raise UsageError(f"{path} belongs to a model of other sizes; the run's config.yaml was changed")
        if state["images"] != fingerprint(names):
            raise UsageError(
                f"{path}: the images are not those of this run (it had {state['images']}, now {fingerprint(names)})"
            )
        if state.get("processes", 1) != world_size():
            raise UsageError(
                f"{path}: the run was one of {state.get('processes', 1)} processes, now there are {world_size()}: "
                "its batches would be others; start as many (torchrun --nproc-per-node)"
            )
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        for parameter, moments in optimiser.state.items():
            if any(moments[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
                raise ValueError("moments of other sizes")
        if type(state["step"]) is not int or state["step"] < 0 or state["window"].ndim != 2:
            raise ValueError("step or window")
        return state["step"], state["window"], state.get("average")
    except (UsageError, MemoryError):
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged zip or pickle raises anything
        raise UsageError(f"{path} is damaged ({type(error).__name__}); start anew with --overwrite") from error


def one_line(error: Exception) -> str:
    return printable(" ".join(str(error).split()), 200)
