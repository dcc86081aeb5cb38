"""Learn a pose prior from unlabelled images of one category, and find poses with it.

    import ppl_cli

    model = ppl_cli.load("runs/mine")
    pose = model("a.jpg")
    pose.keypoints, pose.confidence, pose.names

Names are imported when they are first asked for: importing the package takes neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl_cli.api.details import Details
    from ppl_cli.api.evaluate import evaluate
    from ppl_cli.api.export import export_prior
    from ppl_cli.api.predictor import Predictor, load
    from ppl_cli.api.train import train
    from ppl_cli.errors import DiskFullError, InterruptedRunError, PPLError, UsageError
    from ppl_cli.evaluation.annotated_data import AnnotatedData
    from ppl_cli.evaluation.judge import HiddenPatches
    from ppl_cli.evaluation.protocol_options import ProtocolOptions
    from ppl_cli.evaluation.report import Report
    from ppl_cli.evaluation.unlabelled import UnlabelledReport
    from ppl_cli.inference.occluder import Occluder
    from ppl_cli.prior.prior import Prior
    from ppl_cli.results.pose import Pose
    from ppl_cli.runtime import Output, Runtime
    from ppl_cli.training.loop import Run

__version__ = "0.2.0"
__all__ = [
    "AnnotatedData",
    "Details",
    "DiskFullError",
    "HiddenPatches",
    "InterruptedRunError",
    "Occluder",
    "Output",
    "PPLError",
    "Pose",
    "Predictor",
    "Prior",
    "ProtocolOptions",
    "Report",
    "Run",
    "Runtime",
    "UnlabelledReport",
    "UsageError",
    "evaluate",
    "export_prior",
    "load",
    "train",
]

HOMES = {
    "api.details": ("Details",),
    "api.evaluate": ("evaluate",),
    "evaluation.annotated_data": ("AnnotatedData",),
    "evaluation.judge": ("HiddenPatches",),
    "evaluation.protocol_options": ("ProtocolOptions",),
    "api.export": ("export_prior",),
    "api.predictor": ("Predictor", "load"),
    "api.train": ("train",),
    "evaluation.report": ("Report",),
    "evaluation.unlabelled": ("UnlabelledReport",),
    "training.loop": ("Run",),
    "errors": ("DiskFullError", "InterruptedRunError", "PPLError", "UsageError"),
    "inference.occluder": ("Occluder",),
    "prior.prior": ("Prior",),
    "results.pose": ("Pose",),
    "runtime": ("Output", "Runtime"),
}


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"ppl_cli.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
