"""What every command and every function of the Python API is told: on which machine to compute, and where to write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_cli.files import at_home

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
    formats: Sequence[str] = ("csv", "coco", "npz")  # of the poses of infer and refine; also dlc and slp; or one of them
    overwrite: bool = False  # replace what an earlier command left in the folder
    resume: bool = False  # go on with what was stopped there

    def __post_init__(self) -> None:
        if self.folder is not None:
            object.__setattr__(self, "folder", at_home(self.folder))
        object.__setattr__(self, "formats", (self.formats,) if isinstance(self.formats, str) else tuple(self.formats))


def as_runtime(device: str | Runtime, precision: str = "auto") -> Runtime:
    """What a function is told as `device`: the name of one, or a Runtime; with `precision` where that says none."""
    runtime = device if isinstance(device, Runtime) else Runtime(str(device))
    return runtime if runtime.precision else replace(runtime, precision=precision)
