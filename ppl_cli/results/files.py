"""The files that `ppl infer` and `ppl refine` write, streamed: nothing is held in memory while images come in.

Each format is a writer with `add(name, pose)`, `finish()` where all went well, and `close()` (table.py, coco.py, arrays.py,
deeplabcut.py, sleap.py). Every file grows under a temporary name and takes its own when all images are done. A name that is not
valid UTF-8 is written with its odd bytes as \\xNN.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ppl_cli.errors import UsageError
from ppl_cli.files import folder_below, replacing
from ppl_cli.prior.prior import Prior
from ppl_cli.results.arrays import IterationsNpz, KeypointsNpz
from ppl_cli.results.coco import KeypointsCoco
from ppl_cli.results.deeplabcut import FOLDER as DEEPLABCUT
from ppl_cli.results.deeplabcut import DeepLabCut
from ppl_cli.results.pose import Pose
from ppl_cli.results.sleap import SleapProject, check_sleap
from ppl_cli.results.table import KeypointsCsv, SkippedCsv
from ppl_cli.text import in_utf8

FILES = {"csv": "keypoints.csv", "coco": "keypoints.coco.json", "npz": "keypoints.npz"}
FILES |= {"dlc": DEEPLABCUT, "slp": "keypoints.slp"}  # the first is a folder
ITERATIONS_FILE, SKIPPED_FILE = "keypoints_iterations.npz", "skipped.csv"

Writer = SkippedCsv | IterationsNpz | KeypointsCsv | KeypointsCoco | KeypointsNpz | DeepLabCut | SleapProject


@dataclass
class Results:
    """Writes the chosen formats into `folder`: while it is `open` it takes one pose after another, and what cannot be written
    is a PPLError (`replacing`)."""

    folder: Path
    formats: tuple[str, ...]  # of `FILES`
    prior: Prior
    iterations: int | None = None  # of refinement; None for plain poses
    every: bool = False  # the table has rows for each of them
    paths: Sequence[Path] = ()  # of the images
    scorer: str = ""  # the model's name, as DeepLabCut's tables have one
    videos: bool = False  # some images are frames of videos: it is said which
    unseen: list[str] = field(default_factory=list)  # videos whose frames SLEAP will not show, once the files are written

    def __post_init__(self) -> None:
        if unknown := [form for form in self.formats if form not in FILES]:
            raise UsageError(f"format {unknown[0]}: expected any of {', '.join(FILES)}")
        if "slp" in self.formats:  # now: when the files are opened, earlier results are gone
            check_sleap()

    @contextmanager
    def open(self) -> Iterator[None]:
        with ExitStack() as stack:

            def place(name: str, close: Callable[[], None] | None = None) -> Path:
                folder_below(self.folder, self.folder / name)
                path = stack.enter_context(replacing(self.folder / name))
                if close:
                    stack.callback(close)
                return path

            def begin(writer: Writer) -> None:
                stack.callback(writer.close)  # before its file takes its name, or goes: Windows keeps open ones
                self.writers.append(writer)

            self.writers = []
            begin(SkippedCsv(place(SKIPPED_FILE)))
            for form in self.formats:
                begin(self.writer(form, place))
            if self.iterations is not None:
                begin(IterationsNpz(place(ITERATIONS_FILE), self.prior, self.iterations))
            yield
            for writer in self.writers:
                writer.finish()
                writer.close()

    def writer(self, form: str, place: Callable[..., Path]) -> Writer:
        match form:
            case "csv":
                return KeypointsCsv(place(FILES[form]), self.prior.names, self.iterations is not None, self.every, self.videos)
            case "coco":
                return KeypointsCoco(place(FILES[form]), self.prior, self.paths)
            case "npz":
                return KeypointsNpz(place(FILES[form]), self.prior, self.videos)
            case "dlc":
                return DeepLabCut(place, self.prior, self.scorer, self.paths)
            case "slp":
                return SleapProject(place(FILES[form]), self.prior, self.paths, self.unseen)

    def add(self, name: str, pose: Pose) -> None:
        for writer in self.writers:
            writer.add(in_utf8(name), pose)
