"""A model on disk: `model.safetensors` for everyone, `training.pt` for going on with training.

`model.safetensors` holds the weights and a JSON header with the format version, the configuration and the step.
`training.pt` repeats the weights beside the optimiser, so that a kill between two files can never mix two steps.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from ppl_cli.config import Config, parse_config
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import replacing
from ppl_cli.model.core import PosePriorLearner, Sizes

FORMAT_VERSION = 1
KNOWN_TOKENS = "known.tokens"


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
    given, by_usage = config.prior.keypoints == "given", config.memory.distil == "usage"
    return PosePriorLearner(Sizes(**config.model.model_dump(), distil_by_usage=by_usage, given_keypoints=given))


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
    """MODEL argument (a run folder or a `model.safetensors`) -> the model in evaluation mode, on the CPU.

    UsageError names the file and what is wrong with it.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "model.safetensors"
        if not path.is_file():
            raise UsageError(f"{source} holds no model.safetensors: give a run folder of `ppl train`, or the file itself")
    elif not path.is_file():
        raise UsageError(f"no model at {source}: give a run folder of `ppl train` or a model.safetensors")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["ppl"])
            version = header["format_version"]
            if version > FORMAT_VERSION:
                raise UsageError(f"{path} has format version {version}, this ppl reads up to {FORMAT_VERSION}: update ppl")
            config = parse_config(header["config"], str(path))
            model = build_model(config)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tokens = tensors.pop(KNOWN_TOKENS, None)
            model.load_state_dict(tensors)
            known = None if tokens is None else Known(check_tokens(tokens, model), float(header["recall_distance"]))
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a readable safetensors file: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} was not written by ppl: its header is missing or damaged") from error
    except RuntimeError as error:
        raise UsageError(f"{path}: its tensors do not fit its own configuration; the file is damaged") from error
    return Checkpoint(model.eval(), config, int(header["step"]), path, known)


def check_tokens(tokens: torch.Tensor, model: PosePriorLearner) -> torch.Tensor:
    banks, vectors = model.memory.counts.shape
    if tokens.ndim != 2 or tokens.shape[1] != banks or (tokens.numel() and not 0 <= tokens.min() <= tokens.max() < vectors):
        raise ValueError(f"{KNOWN_TOKENS} does not fit the memory")
    return tokens


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
        "average": average,
    }
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's own writer reports a full disk this way
            raise PPLError(f"cannot write {path}: {str(error).splitlines()[0]}; what was there before is intact") from error


def fingerprint(names: list[str]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return f"{len(names)} images, {digest.hexdigest()}"


def load_training(
    path: Path, model: PosePriorLearner, optimiser: torch.optim.Optimizer, names: list[str]
) -> tuple[int, torch.Tensor, dict[str, torch.Tensor] | None]:
    """Fill model and optimiser in place; returns the step reached, the window and the average's state.

    UsageError if the file does not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format_version"] > FORMAT_VERSION:
            raise UsageError(f"{path} has format version {state['format_version']}: update ppl")
        if asdict(Sizes(**state["sizes"])) != asdict(model.sizes):
            raise UsageError(f"{path} belongs to a model of other sizes; the run's config.yaml was changed")
        if state["images"] != fingerprint(names):
            raise UsageError(
                f"{path}: the images are not those of this run (it had {state['images']}, now {fingerprint(names)})"
            )
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"]), state["window"], state.get("average")
    except (UsageError, MemoryError):
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged zip or pickle raises anything
        raise UsageError(f"{path} is damaged ({type(error).__name__}); start anew with --overwrite") from error
