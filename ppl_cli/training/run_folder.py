"""Where a training run writes, when it may, and with which configuration it goes on."""

import csv
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ppl_cli.checkpoints.model_file import trained_config
from ppl_cli.config.loading import PLACES, in_full, load_config
from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.report import FILES as EVALUATION
from ppl_cli.evaluation.unlabelled import FILES as UNLABELLED
from ppl_cli.files import is_leftover, latest_folder, make_folder, next_free_folder, remove_leftovers, replacing
from ppl_cli.lock import FILE as LOCK
from ppl_cli.lock import locked
from ppl_cli.text import as_set, in_csv
from ppl_cli.training.examples import FOLDER as EXAMPLES
from ppl_cli.training.examples import remove_examples
from ppl_cli.training.trials import FILE as TRIALS
from ppl_cli.training.trials import read_trials

RUNS = Path("runs")
Settings = Mapping[str, object]  # dotted keys and their values
FILES = ("config.yaml", "model.safetensors", "training.pt", "metrics.csv", "prior.json", "curves.png", "skipped.csv")
FILES += (TRIALS, *UNLABELLED)

BEGINNING = {"config.yaml", "metrics.csv", "samples", "tensorboard"}  # what is there before the first checkpoint

# What may differ when a run goes on; everything else would make it another run.
FREE_TO_CHANGE = ("train.steps", "train.log_every", "train.save_every", "train.sample_every", "train.tensorboard")
FREE_TO_CHANGE += ("data.path", "data.also", "data.cache_gib", "loss.weights", "model.backbone_weights", "name")
FREE_TO_CHANGE += ("train.compile", "train.accumulate", "train.uncover")
# Of these a run has its own by now, in place of auto.
SETTLED = ("train.batch", "train.ghosts_mirrored", "train.rotate", "loss.relevance")
SETTLED += ("reference.kind", "reference.near", "model.thickness")


class RunFolder:
    """A folder that one training writes, and the life of it.

    `create`, `replace` or `resume` chooses it. While the training is `writing`, nobody else can; `begin` makes the folder its
    own; a run that fails before its first checkpoint is abandoned and leaves nothing behind.
    """

    def __init__(self, path: Path, resuming: bool = False, made: bool = False):
        self.path = path
        self.made = made  # by this call: one that was there stays, even where it is empty
        self.resuming = resuming  # from a checkpoint
        self.begun = False  # what lies in it was written by this run alone

    @classmethod
    def create(cls, name: str, out: Path | None = None) -> "RunFolder":
        """`out`, or the next free one of runs/NAME-1, -2, ...: it is made at once, so that no other run can take it."""
        if out is None:
            return cls(next_free_folder(RUNS, name), made=True)
        if out.is_dir() and entries(out):
            raise UsageError(f"{out} is not empty: add --resume to go on with that run or --overwrite to replace it")
        made = not out.exists()
        make_folder(out)
        return cls(out, made=made)

    @classmethod
    def replace(cls, name: str, out: Path | None = None) -> "RunFolder":
        """`out`, or the latest of runs/NAME-1, -2, ...: it may hold a run, which `begin` removes."""
        out = out or latest_folder(RUNS, name)
        if out is None:
            return cls.create(name)
        if out.is_dir() and entries(out) and not is_run(out):
            raise UsageError(f"{out} is not a run of ppl train and is not replaced: choose another --out")
        made = not out.exists()
        make_folder(out)
        return cls(out, made=made)

    @classmethod
    def resume(cls, name: str | None, out: Path | None = None) -> "RunFolder":
        """`out`, or the latest of runs/NAME-1, -2, ...: it must hold a run. One that was stopped early begins anew."""
        out = out or latest_folder(RUNS, name)
        if out is None:
            raise UsageError(f"nothing to resume: there is no runs/{name}-1; name the run folder with --out")
        begins = never_began(out)
        if not begins and not (out / "training.pt").is_file():
            raise UsageError(f"nothing to resume: there is no training.pt in {out}")
        make_folder(out)
        return cls(out, not begins)

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    def config(self, settings: Settings, name: str | None = None) -> Config:
        """The run's own configuration with `settings` on top; `name` is that of the configuration given, if one was.

        UsageError if that is another one, or a field changes that must not change in a run.
        """
        if not self.config_file.is_file():
            if self.resuming:
                raise UsageError(f"{self.path} has no config.yaml any more, and cannot go on without: put it back")
            raise UsageError(f"{self.path} was stopped before it had a config.yaml: name the CONFIG to start with")
        if not self.resuming:
            return load_config(self.config_file, settings)
        settings = {key: value for key, value in settings.items() if not (key in SETTLED and value == "auto")}
        before, after = load_config(self.config_file), load_config(self.config_file, settings)
        if trained := trained_config(self.path / "model.safetensors"):  # config.yaml may have been edited
            before = trained.with_fields("prior", names=before.prior.names)
        if name not in (None, before.name, after.name):
            raise UsageError(f"--resume: {self.path} is a run of {before.name}, not of {name}")
        old, new = flatten(before.model_dump()), flatten(after.model_dump())
        for key in new:
            same = in_full(new[key]) == in_full(old[key]) if key in PLACES else new[key] == old[key]
            if not same and key not in FREE_TO_CHANGE:
                was, now = as_set(old[key]), as_set(new[key])
                raise UsageError(f"--resume: {key} was {was} in this run and cannot become {now}; start another run")
        return after

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the folder's lock; TakenError if another training has it."""
        try:
            with locked(self.path):
                try:
                    yield
                finally:
                    if self.begun and not (self.path / "training.pt").is_file():
                        self.abandon()
        except BaseException:
            if self.made:
                with suppress(OSError):  # where it is empty
                    self.path.rmdir()
                    if self.path.parent == RUNS:
                        self.path.parent.rmdir()
            raise

    def begin(self) -> None:
        """Remove what an earlier run wrote, or of a run that goes on what kills left: not before all that can fail."""
        make_folder(self.path / "samples")
        if self.resuming:
            remove_unfinished(self.path)
        else:
            clear_run(self.path)
            self.begun = True

    def abandon(self) -> None:
        """Nothing shall stand in the way of the next try."""
        with suppress(OSError):
            clear_run(self.path)
            (self.path / "samples").rmdir()


def entries(folder: Path) -> set[str]:
    """Names in a folder, without what a kill may leave at any moment."""
    return {entry.name for entry in folder.iterdir() if entry.name != LOCK and not is_leftover(entry.name)}


def never_began(folder: Path) -> bool:
    """Whether this is the folder of a run that was stopped before its first checkpoint, which can only begin anew."""
    names = entries(folder) if folder.is_dir() else {None}
    if "config.yaml" in names:
        return names <= BEGINNING and was_written(folder / "config.yaml")
    return not names or (names == {"samples"} and not entries(folder / "samples"))


def is_run(folder: Path) -> bool:
    return was_written(folder / "config.yaml") or never_began(folder) or read_trials(folder) is not None


def was_written(config: Path) -> bool:
    """Whether it is the config.yaml of a run, not one that a user wrote."""
    return config.is_file() and "\nwritten_by:" in config.read_text(encoding="utf-8", errors="replace")


def flatten(values: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def clear_run(folder: Path) -> None:
    """Remove what an earlier run or earlier trials wrote, and nothing else."""
    trials = read_trials(folder)
    for trial in [RunFolder(folder / name) for name in trials.folders] if trials else ():
        trial.abandon()
        trial.path.with_name(f"{trial.path.name}.yaml").unlink(missing_ok=True)
        with suppress(OSError):  # it was kept, or there is something else in it
            trial.path.rmdir()
    samples = [*(folder / "samples").glob("step-*.png"), *(folder / "samples").glob("prior-*.json")]
    for file in [*(folder / name for name in FILES), *samples]:
        file.unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    remove_examples(folder)
    for report in [path for path in folder.glob("eval-*") if re.fullmatch(r"eval-\d+", path.name) and path.is_dir()]:
        for name in (*EVALUATION, *UNLABELLED):  # what ppl eval writes into eval-1, ...
            (report / name).unlink(missing_ok=True)
        with suppress(OSError):  # there is something else in it
            report.rmdir()
    remove_unfinished(folder)


def remove_unfinished(folder: Path) -> None:
    """Files that kills have left half written."""
    for place in (folder, folder / "samples", folder / EXAMPLES):
        remove_leftovers(place)


def write_skipped(folder: Path, skipped: list[tuple[str, str]]) -> None:
    """Add what is not in skipped.csv yet: a resumed run does not see the images again that were skipped before."""
    place, rows = folder / "skipped.csv", [("image", "reason")]
    if skipped and place.is_file():
        with place.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    known = set(rows)
    new = [row for row in ((in_csv(name), reason) for name, reason in skipped) if row not in known]
    if new:
        with replacing(place) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([*rows, *new])
