"""What a function of the API accepts as a model: a Predictor, or where one lies."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Union

from ppl_cli.checkpoints.model_file import Checkpoint, load_model
from ppl_cli.device import Compute
from ppl_cli.errors import UsageError
from ppl_cli.runtime import Runtime, as_runtime

if TYPE_CHECKING:
    from ppl_cli.api.predictor import Predictor

Model = Union[str, Path, "Predictor", Checkpoint]


def open_checkpoint(model: Model) -> Checkpoint:
    """UsageError if there is no model."""
    return model if isinstance(model, Checkpoint) else model.checkpoint if hasattr(model, "checkpoint") else load_model(model)


def choose_place(models: list[Model], device: str | Runtime) -> tuple[Runtime, Compute]:
    """Where to compute, in fp32 unless a Runtime says otherwise. A Predictor stays on the device where it is."""
    runtime = as_runtime(device, "fp32")
    devices = {str(model.estimator.compute.device) for model in models if hasattr(model, "estimator")}
    if len(devices) > 1:
        raise UsageError(f"the models are on different devices ({', '.join(sorted(devices))}): load them on the same one")
    if devices:
        runtime = replace(runtime, device=devices.pop())
    return runtime, runtime.compute()
