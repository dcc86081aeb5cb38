"""`model.safetensors`: the weights, and a JSON header with the format version, the configuration and the step.

`load_model` also reads a checkpoint of the original implementation, with the help of `original/`.
"""

import json
import reprlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from ppl_cli.checkpoints.shapes import ShapesOnly, all_finite, as_in_file, check_tensors, fill_model
from ppl_cli.config.loading import parse_config
from ppl_cli.config.sections import Config
from ppl_cli.data.formats import READ
from ppl_cli.errors import UsageError
from ppl_cli.files import at_home, replacing
from ppl_cli.model.calibration import STEPS, Calibration
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.finder import OcclusionFinder
from ppl_cli.original.checkpoint import GRID, OriginalCheckpoint
from ppl_cli.original.names import original_name
from ppl_cli.pickles.torch_zip import MAGIC, TorchZip
from ppl_cli.prior.names import with_names_of_run
from ppl_cli.text import in_one_line

FORMAT_VERSION = 3  # 1 had no calibration, 2 no finder
KNOWN_TOKENS, CALIBRATION, FINDER = "known.tokens", "calibration.", "finder."
TENSOR_TYPES = {"F32": torch.float32, "F16": torch.float16, "I64": torch.int64, "I16": torch.int16}  # of safetensors


@dataclass
class Known:
    """What a model knows of some training images."""

    tokens: torch.Tensor  # (K, banks) int16: the vector of each bank that a pose chooses
    calibration: Calibration | None = None  # None in files of earlier versions


@dataclass
class Checkpoint:
    model: PosePriorLearner
    config: Config
    step: int
    path: Path
    known: Known | None = None  # None in files of other programs
    occlusions: OcclusionFinder | None = None  # finds what hides the object, where the model has learned that

    @property
    def calibration(self) -> Calibration | None:
        return self.known and self.known.calibration

    @property
    def run(self) -> str | None:
        """The name of the run folder that it lies in, of one of several trainings after theirs; None of a file elsewhere."""
        folder = find_run(self.path)
        if folder is None:
            return None
        folder = folder.resolve()
        one_of_several = folder.with_name(f"{folder.name}.yaml").is_file()  # seed-0.yaml beside seed-0
        return f"{folder.parent.name}-{folder.name}" if one_of_several else folder.name


def find_run(path: Path) -> Path | None:
    """The run folder of a model file, or of what it links to. None: what lies beside it may belong to another model."""
    for file in (path, path.resolve()):
        if file.name == "model.safetensors" and (file.parent / "config.yaml").is_file():
            return file.parent
    return None


def save_model(
    path: Path,
    model: PosePriorLearner,
    config: Config,
    step: int,
    known: Known | None = None,
    finder: dict[str, torch.Tensor] | None = None,
) -> None:
    """`finder` as `read_finder_tensors` gives it."""
    header = {"format_version": FORMAT_VERSION, "config": config.model_dump(), "keypoints": model.sizes.keypoints, "step": step}
    state = model.state_dict().items()
    tensors = {name: as_in_file(name, tensor).detach().cpu().contiguous() for name, tensor in state}
    if known is not None:
        tensors[KNOWN_TOKENS] = known.tokens.to(torch.int16).contiguous()
        if known.calibration is not None:
            parts = known.calibration._asdict().items()
            tensors |= {CALIBRATION + name: tensor.detach().cpu().contiguous() for name, tensor in parts}
    write_file(path, tensors | (finder or {}), header)


def prepare_names(path: Path, names: list[str]) -> Callable[[], None]:
    """Writes the model file with these names of the keypoints, and all else as it was. UsageError if it is one of another
    program."""
    try:
        tensors, header = read_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path} cannot hold names of keypoints: only a run folder or a model.safetensors can") from error
    header["config"].setdefault("prior", {})["names"] = names
    return partial(write_file, path, tensors, header)


def save_finder(path: Path, finder: OcclusionFinder | None) -> None:
    """Stores the finder in a model file (None removes it); everything else stays."""
    tensors, header = read_file(path)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(FINDER)}
    if finder is not None:
        tensors |= {FINDER + name: tensor.detach().cpu().contiguous() for name, tensor in finder.state_dict().items()}
    write_file(path, tensors, header)


def read_finder_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The finder's tensors in a model file, for `save_model` to write once more; {} where there are none."""
    with suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys() if name.startswith(FINDER)}  # noqa: SIM118
    return {}


def read_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Tensors and header. Copies: what the file itself backs keeps Windows from replacing it."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}, json.loads(file.metadata()["ppl"])  # noqa: SIM118


def trained_config(path: Path) -> Config | None:
    """The configuration in the header of a model file; None where it cannot be read."""
    with suppress(OSError, SafetensorError, KeyError, TypeError, ValueError, UsageError), safe_open(path, "pt") as file:
        return parse_config(json.loads(file.metadata()["ppl"])["config"], str(path))
    return None


def write_file(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, object]) -> None:
    content = serialise(tensors, metadata={"ppl": json.dumps(header)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_model(source: str | Path) -> Checkpoint:
    """What MODEL stands for -> the model in evaluation mode, on the CPU.

    A run folder, a `model.safetensors`, or a `.pth` of the original implementation. UsageError names the file and what is
    wrong with it; nothing is built before the file is seen to hold every tensor in its size.
    """
    path = at_home(source)
    try:
        if path.is_dir():
            runs = [str(run.parent) for run in sorted(path.glob("*/model.safetensors"))[:3]]
            path = path / "model.safetensors"
            if not path.is_file():
                which = " or ".join(runs) or "a run folder of `ppl train`, or the file itself"
                raise UsageError(f"{source} holds no model.safetensors: give {which}")
        elif not path.is_file():
            raise UsageError(
                f"no model at {source}: give a run folder of `ppl train`, a model.safetensors or a .pth of the original "
                "implementation"
            )
        with path.open("rb") as file:
            begin = file.read(4)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if begin == MAGIC:
        return load_original(path)
    if path.suffix != ".safetensors" and path.with_name("model.safetensors").is_file():
        raise UsageError(f"{path} is no model: give its folder, {path.parent}")
    if path.suffix in (".pth", ".pt", ".tar") and (begin[:1] == b"\x80" or path.suffix == ".tar"):
        raise UsageError(f"{path} is in the format of torch before 1.6: load and save it once with a newer torch")
    if path.name.lower().endswith(READ):
        raise UsageError(f"{path} is no model: give the model first, then images")
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
            extra = {name for name in shapes if name == KNOWN_TOKENS or name.startswith(CALIBRATION)}
            finds = {name for name in shapes if name.startswith(FINDER)}
            model = check_tensors(path, config, {name: shape for name, shape in shapes.items() if name not in extra | finds})
            known = read_known(config, extra, shapes, file.get_tensor) if extra else None
            finder = read_finder(finds, shapes, file.get_tensor) if finds else None
            fill_model(path, model, file.get_tensor)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a readable safetensors file: {in_one_line(error)}") from error
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise UsageError(f"{path} was not written by ppl: its header is missing or damaged") from error
    if run := find_run(path):
        config = with_names_of_run(config, run)
    return Checkpoint(model, config, step, path, known, finder)


def load_original(path: Path) -> Checkpoint:
    with TorchZip(path) as archive:
        original = OriginalCheckpoint(path, archive)
        shapes = {name: (view.shape, view.dtype) for name, view in original.tensors.items() if name != GRID}
        model = check_tensors(path, original.config, shapes, original_name)
        fill_model(path, model, original.read)
    return Checkpoint(model, original.config, 0, path)


def check_version(version: object) -> int:
    if type(version) is not int or version < 1:
        raise ValueError("format_version")
    return version


def read_known(
    config: Config,
    names: set[str],
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype | None]],
    read: Callable[[str], torch.Tensor],
) -> Known:
    """`names` of the tensors that are not weights. ValueError if they do not fit the model."""
    n, c = config.model.keypoints, 2 * config.model.width
    wanted = Calibration((n, c), (n, c, c), (2, n, 3), (STEPS + 1,), ())._asdict()
    wanted = {CALIBRATION + name: (shape, torch.float32) for name, shape in wanted.items()}
    if names not in ({KNOWN_TOKENS}, {KNOWN_TOKENS, *wanted}):
        raise ValueError("a part of what the model knows is missing")
    if any(shapes[name] != wanted[name] for name in names - {KNOWN_TOKENS}):
        raise ValueError("the calibration does not fit the model")
    shape, kind = shapes[KNOWN_TOKENS]
    if kind != torch.int16 or len(shape) != 2 or shape[1] != config.model.banks:
        raise ValueError(f"{KNOWN_TOKENS} does not fit the memory")
    tokens = read(KNOWN_TOKENS).clone()  # as in `read_file`
    if tokens.numel() and not 0 <= tokens.min() <= tokens.max() < config.model.vectors:
        raise ValueError(f"{KNOWN_TOKENS} does not fit the memory")
    if len(names) == 1:
        return Known(tokens)
    calibration = Calibration(*(read(CALIBRATION + name).clone() for name in Calibration._fields))
    if not all(map(all_finite, calibration)):
        raise ValueError("the calibration is not finite")
    return Known(tokens, calibration)


def read_finder(
    names: set[str], shapes: dict[str, tuple[tuple[int, ...], torch.dtype | None]], read: Callable[[str], torch.Tensor]
) -> OcclusionFinder:
    """ValueError if the tensors `names` are not those of one."""
    with torch.device("meta"), ShapesOnly():  # drawing weights would change the caller's random numbers
        finder = OcclusionFinder()
    wanted = {FINDER + name: (tuple(tensor.shape), tensor.dtype) for name, tensor in finder.state_dict().items()}
    if wanted != {name: shapes[name] for name in names}:
        raise ValueError("what finds occlusions does not fit")
    tensors = {name.removeprefix(FINDER): read(name).clone() for name in names}  # as in `read_file`
    if not all(map(all_finite, tensors.values())):
        raise ValueError("what finds occlusions is not finite")
    finder.load_state_dict(tensors, assign=True)
    return finder.eval()
