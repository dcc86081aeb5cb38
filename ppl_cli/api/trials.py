"""Several trainings, one after the other, compared without labels; the best of them can be kept as the run itself."""

import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ppl_cli.api.train import train, training_images
from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.device import Compute
from ppl_cli.distributed import launched, processes
from ppl_cli.errors import DiskFullError, InterruptedRunError, PPLError, UsageError
from ppl_cli.files import latest_folder
from ppl_cli.runtime import Runtime, as_runtime
from ppl_cli.training.loop import advise_resuming
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.run_folder import RUNS, RunFolder
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
    that were stopped go on as they began. A training that fails is named, and the next one begins.
    """
    runtime, out = as_runtime(device), None if out is None else Path(out).expanduser()
    compute, leader, run = runtime.compute(), launched()[0] == 0, None
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    if not resume:
        if config is None or trials is None:
            raise UsageError("expected CONFIG, a YAML file or a shipped name such as quickstart, and what to try")
        configs = {name: load_config(config, settings | {trials.key: value}) for name, value in trials.folders.items()}
        first = next(iter(configs.values()))
    if leader and resume:
        run = find_trials(trials, config, out)
    elif leader:
        training_images(first), read_start(first), reconstruction_loss(first.loss)  # what can fail before an old run is removed
        run = (RunFolder.replace if overwrite else RunFolder.create)(first.name, out)
    with run.writing() if leader else nullcontext():
        if leader and not resume:
            begin(run, trials, configs, compute)
        with processes(compute) as world:
            folder = world.from_leader(run.path if leader else None)
        trials, failed = read_trials(folder), []
        if leader and trials.kept:
            move_up(folder, trials.kept)  # a move that was interrupted
        for name in trials.folders:
            if not (trials.place(folder, name) / REPORT).is_file():
                failed += train_one(folder / name, runtime, strict, settings)
        compared = compare_reports(folder, trials, failed) if leader else None
    with processes(compute) as world:
        return world.from_leader(compared)


def find_trials(trials: Trials | None, config: str | Path | None, out: Path | None) -> RunFolder:
    """The folder of trials that go on. UsageError if it has none, or others than those that are asked for."""
    if out is None and config is None:
        raise UsageError("--resume: name the folder with --out")
    out = out or latest_folder(RUNS, load_config(config).name)
    begun = out and read_trials(out)
    if begun is None:
        raise UsageError(f"nothing to resume: there is no trials.json in {out}")
    if trials is not None and (trials.key, trials.values) != (begun.key, begun.values):
        raise UsageError(f"--resume: in {out} other values are tried, {begun.key}={','.join(map(str, begun.values))}")
    return RunFolder(out)


def begin(run: RunFolder, trials: Trials, configs: dict[str, Config], compute: Compute) -> None:
    """What is tried, and the configuration of each trial."""
    run.abandon()
    trials.write(run.path)
    for name, config in configs.items():
        write_config(run.path / f"{name}.yaml", config, compute)


def train_one(place: Path, runtime: Runtime, strict: bool, settings: dict[str, object]) -> list[PPLError]:
    """Begin the trial in `place` or go on with it; why it failed, if it did. `settings` are in its configuration already: a
    trial that goes on says which must not differ."""
    begun = (place / "training.pt").is_file()
    try:
        how = settings | {"resume": True} if begun else {"overwrite": True}
        train(place.with_name(f"{place.name}.yaml"), out=place, strict=strict, device=runtime, **how)
    except InterruptedRunError:
        again = advise_resuming(place.parent, launched()[1])
        raise InterruptedRunError(f"{place.name} was stopped, everything is saved; {again}") from None
    except FATAL:
        raise
    except PPLError as error:
        runtime.say(f"{place.name} failed and is left out: {error}")
        return [error]
    return []


def compare_reports(folder: Path, trials: Trials, failed: list[PPLError]) -> Comparison:
    """What the reports say, once the best run has moved to `folder` if it is to be kept."""
    files = {name: trials.place(folder, name) / REPORT for name in trials.folders}
    reports = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
    if not reports:
        raise failed[0] if failed else PPLError(f"no training in {folder} has a {REPORT}, it says above why")
    compared = Comparison(folder, trials, reports)
    if trials.keep_best and not trials.kept:
        compared = replace(compared, trials=replace(trials, kept=compared.best))
        compared.trials.write(folder)
        move_up(folder, compared.best)
    return compared


def move_up(folder: Path, name: str) -> None:
    """Let a trial be the run of `folder` itself."""
    source = folder / name
    for file in [path for path in source.rglob("*") if path.is_file()]:
        place = folder / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
    shutil.rmtree(source, ignore_errors=True)
