"""What every command and every function of the Python API is told: on which machine to compute, and where to write."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppl_cli.device import Compute


def silent(line: str) -> None:
    """What a library says: nothing."""


@dataclass(frozen=True)
class Runtime:
    device: str = "auto"  # auto, cpu, cuda, cuda:N or mps
    precision: str | None = None  # auto, fp32 or bf16; None: auto in training, else fp32
    say: Callable[[str], None] = silent  # takes each line of progress and each note

    def compute(self) -> "Compute":
        """UsageError if the device is not there."""
        from ppl_cli.device import choose_compute

        return choose_compute(self.device, self.precision or "auto")


@dataclass(frozen=True)
class Output:
    folder: str | Path | None = None  # a Path once made; None: a name of its own, where the command has one
    formats: tuple[str, ...] = ("csv", "coco", "npz")  # of the poses of infer and refine; also dlc and slp
    overwrite: bool = False  # replace what an earlier command left in the folder
    resume: bool = False  # go on with what was stopped there

    def __post_init__(self) -> None:
        if self.folder is not None:
            object.__setattr__(self, "folder", Path(self.folder).expanduser())


def as_runtime(device: str | Runtime, precision: str = "auto") -> Runtime:
    """What a function is told as `device`: the name of one, or a Runtime; with `precision` where that says none."""
    runtime = device if isinstance(device, Runtime) else Runtime(str(device))
    return runtime if runtime.precision else replace(runtime, precision=precision)
