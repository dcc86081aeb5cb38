"""Several trainings of one configuration that differ in one field, as a folder:
OUT/trials.json, and for each OUT/seed-0.yaml and the run folder OUT/seed-0."""

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ppl_cli.errors import UsageError
from ppl_cli.files import replace_text

FILE = "trials.json"


@dataclass(frozen=True)
class Trials:
    """What is tried. UsageError where a value cannot name a folder or stands there twice."""

    key: str  # dotted name of the field: seed, model.keypoints
    values: tuple[object, ...]
    keep_best: bool = False  # the one that scores best becomes the run itself
    kept: str | None = None  # the folder whose run moves, or has moved, to OUT
    images: str | None = None  # fingerprint of those that the first learns from; None: of an earlier version

    def __post_init__(self) -> None:
        for value in self.values:
            if not re.fullmatch(r"[\w.]+=[\w.+-]+", f"{self.key}={value}"):
                raise UsageError(f"{self.key}={value}: only numbers and words can be tried")
        if len(set(self.values)) < max(2, len(self.values)):
            raise UsageError(f"{self.key}: expected two values or more to try, all different")

    @property
    def folders(self) -> dict[str, object]:
        """Names of their run folders, seed-0, seed-1, ..., and their values."""
        return {f"{self.key.rpartition('.')[2]}-{value}": value for value in self.values}

    def place(self, out: Path, name: str) -> Path:
        """Where the run of a trial lies, once the one that is kept has moved."""
        return out if name == self.kept else out / name

    def write(self, out: Path) -> None:
        replace_text(out / FILE, json.dumps(asdict(self), indent=1))


def unfinished(out: Path) -> Trials | None:
    """What is tried in `out`; None where nothing is, or it has become the run of the best one."""
    trials = read_trials(out)
    return trials if trials and (trials.kept is None or (out / trials.kept).is_dir()) else None


def read_trials(out: Path) -> Trials | None:
    """What is tried in `out`; None where nothing is."""
    with suppress(OSError, ValueError, TypeError, KeyError):  # missing, or somebody else's
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
        trials = Trials(**found | {"values": tuple(found["values"])})
        return trials if trials.kept is None or trials.kept in trials.folders else None
    return None
