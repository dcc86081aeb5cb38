"""`training.pt`: what going on with a training needs.

It repeats the weights beside the optimiser, so that a kill between two files can never mix two steps.
"""

import reprlib
from dataclasses import asdict
from pathlib import Path

import torch

from ppl_cli.checkpoints.model_file import FORMAT_VERSION, check_version
from ppl_cli.data.listing import fingerprint_names
from ppl_cli.errors import UsageError
from ppl_cli.files import replacing
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.processes import world_size
from ppl_cli.pickles.torch_zip import REBUILT, TorchZip


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
        "images": fingerprint_names(names),
        "processes": world_size(),
        "average": average,
    }
    with replacing(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch's writer says less than the system, whose error it hides: a full disk, say
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


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
        if state["images"] != fingerprint_names(names):
            raise UsageError(
                f"{path}: the images are not those of this run, by name or number (it had {state['images']}, now "
                f"{fingerprint_names(names)}); unreadable ones count only where data.cache_gib is too small for all of them"
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
