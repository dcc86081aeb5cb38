"""Several trainings, one after the other, compared without labels; the best of them can be kept as the run itself."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ppl_cli.api.train import train
from ppl_cli.api.unlabelled import rename_model
from ppl_cli.config.loading import load_config
from ppl_cli.data.datasets import training_images
from ppl_cli.data.listing import fingerprint_names
from ppl_cli.device import Compute
from ppl_cli.distributed import launched, processes
from ppl_cli.errors import DiskFullError, InterruptedRunError, PPLError, UsageError
from ppl_cli.files import at_home
from ppl_cli.lock import FILE as LOCK
from ppl_cli.runtime import Runtime, as_runtime
from ppl_cli.training.loop import advise_resuming
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.resumed_trials import MOVABLE, take_up
from ppl_cli.training.run_folder import RunFolder, Settings, flatten
from ppl_cli.training.save import write_config
from ppl_cli.training.start import read_start
from ppl_cli.training.trials import Trials, read_trials

REPORT = "report.json"
FATAL = (UsageError, InterruptedRunError, DiskFullError)  # the next training would meet them too


@dataclass(frozen=True)
class Comparison:
    """Trials that came to their end."""

    folder: Path
    trials: Trials
    reports: dict[str, dict]  # of each trial's folder what its report.json says; a training that failed has none

    @property
    def best(self) -> str:
        """The folder of the trial with the highest score."""
        return max(self.reports, key=lambda name: self.reports[name]["score"] or 0)  # None: of a single image


def compare(
    trials: Trials | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    device: str | Runtime = "auto",
    **settings: object,
) -> Comparison:
    """Train once for each value of `trials`, into OUT/seed-0, OUT/seed-1, ..., and compare what was learned, without labels.

    Where `trials.keep_best` asks for it, the run that scores best then moves to `out` and is what a single training would have
    left there. The other arguments are those of `ppl_cli.train`; the images are the setting "data.path". With `resume` trials
    that were stopped go on as they began: settings may be repeated, and only those changed that a run may change when it goes
    on. A training that fails is named, and the next one begins.
    """
    runtime, out = as_runtime(device), None if out is None else at_home(out)
    compute = runtime.compute()
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    if not resume and (config is None or trials is None):
        raise UsageError("expected CONFIG, a YAML file or a shipped name such as quickstart, and what to try")
    with ExitStack() as lock:
        with processes(compute, training=True) as world:  # refuses what training would refuse, before anything is removed
            folder, left = None, None
            if world.leader:  # it alone looks at files that it may move; the others hear what is left to do
                if resume:
                    opened = take_up(trials, config, out, settings, compute)
                else:
                    opened = begin(trials, config, out, settings, compute, overwrite)
                folder = lock.enter_context(opened)
                move_kept(folder)  # where that was interrupted
                left = list_unreported(folder)
            left = world.from_leader(left)
        failed = [error for place in left for error in train_one(place, runtime, strict)]
        with processes(compute) as world:
            return world.from_leader(compare_reports(folder, failed) if world.leader else None)


@contextmanager
def begin(
    trials: Trials, config: str | Path, out: Path | None, settings: Settings, compute: Compute, overwrite: bool
) -> Iterator[Path]:
    """The folder of new trials, locked, with what is tried and the configuration of each."""
    configs = {name: load_config(config, {**settings, trials.key: value}) for name, value in trials.folders.items()}
    first = next(iter(configs.values()))
    trials = replace(trials, images=fingerprint_names(training_images(first).names))
    for one in configs.values():  # this too can fail: before an old run is removed, and before hours of training
        read_start(one), reconstruction_loss(one.loss)
    run = (RunFolder.replace if overwrite else RunFolder.create)(first.name, out)
    with run.writing():
        run.abandon()
        trials.write(run.path)  # first: it makes the folder one that --overwrite may replace
        for name, one in configs.items():
            write_config(run.path / f"{name}.yaml", one, compute)
        yield run.path


def list_unreported(folder: Path) -> list[Path]:
    """The run folders of trials that have not come to their end."""
    trials = read_trials(folder)
    left = [name for name in trials.folders if not (trials.place(folder, name) / REPORT).is_file()]
    return [folder / name for name in left if name != trials.kept or (folder / name).is_dir()]


def train_one(place: Path, runtime: Runtime, strict: bool) -> list[PPLError]:
    """Begin the trial in `place` or go on with it; why it failed, if it did."""
    file = place.with_name(f"{place.name}.yaml")
    try:
        how: dict[str, object] = {"overwrite": True}
        if (place / "training.pt").is_file():
            written = flatten(load_config(file).model_dump())
            how = {"resume": True} | {key: written[key] for key in MOVABLE}
        train(file, out=place, strict=strict, device=runtime, **how)
    except InterruptedRunError:
        again = advise_resuming(place.parent, launched()[1])
        raise InterruptedRunError(f"{place.name} was stopped, everything is saved; {again}") from None
    except FATAL:
        raise
    except PPLError as error:
        runtime.say(f"{place.name} failed and is left out: {error}")
        return [error]
    return []


def compare_reports(folder: Path, failed: list[PPLError]) -> Comparison:
    """What the reports say, once the best run has moved to `folder` if it is to be kept."""
    trials = read_trials(folder)
    files = {name: trials.place(folder, name) / REPORT for name in trials.folders}
    reports = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
    if not reports:
        raise failed[0] if failed else PPLError(f"no training in {folder} has a {REPORT}, it says above why")
    compared = Comparison(folder, trials, reports)
    if trials.keep_best and not trials.kept:
        compared = replace(compared, trials=replace(trials, kept=compared.best))
        compared.trials.write(folder)
        move_kept(folder)
    return compared


def move_kept(folder: Path) -> None:
    """Let the trial that is kept, once there is one, be the run of `folder` itself."""
    name = read_trials(folder).kept
    if name is None:
        return
    source = folder / name
    if (source / REPORT).is_file():
        rename_model(source, str(folder))
    for file in [path for path in source.rglob("*") if path.is_file() and path.name != LOCK]:
        place = folder / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
    shutil.rmtree(source, ignore_errors=True)
