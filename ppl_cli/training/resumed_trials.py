"""Trials that go on: which folder they lie in, and with which settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ppl_cli.config.loading import load_config
from ppl_cli.data.datasets import training_images
from ppl_cli.data.listing import fingerprint_names
from ppl_cli.device import Compute
from ppl_cli.errors import UsageError
from ppl_cli.files import at_home, latest_folder
from ppl_cli.text import as_set
from ppl_cli.training.run_folder import FREE_TO_CHANGE, RUNS, RunFolder, Settings, flatten
from ppl_cli.training.save import write_config
from ppl_cli.training.trials import Trials, read_trials

# What a run may change when it goes on, but for what would make the trials unequal or is not theirs.
MOVABLE = tuple(key for key in FREE_TO_CHANGE if key not in ("train.steps", "name"))


def find_trials(config: str | Path | None, out: str | Path | None, settings: Settings) -> Path | None:
    """OUT, else the latest of runs/NAME-1, -2, ...; None if it is not there or holds no trials."""
    if out is None and config is not None:
        out = latest_folder(RUNS, load_config(config, settings).name)
    folder = None if out is None else at_home(out)
    return folder if folder and read_trials(folder) else None


@contextmanager
def take_up(
    trials: Trials | None, config: str | Path | None, out: Path | None, settings: Settings, compute: Compute
) -> Iterator[Path]:
    """The folder of trials that go on, locked. UsageError if there are none, or others than those that are asked for."""
    folder = find_trials(config, out, settings)
    if folder is None:
        raise UsageError(f"nothing to resume: there is no trials.json in {out or RUNS}; name their folder with --out")
    with RunFolder(folder).writing():
        begun = read_trials(folder)
        if trials is not None and (trials.key, trials.values) != (begun.key, begun.values):
            raise UsageError(f"--resume: in {folder} other values are tried, {begun.key}={','.join(map(str, begun.values))}")
        repeat_settings(folder, begun, config, settings, compute)
        if trials is not None and trials.keep_best and not begun.keep_best:
            replace(begun, keep_best=True).write(folder)
        yield folder


def repeat_settings(folder: Path, begun: Trials, config: str | Path | None, settings: Settings, compute: Compute) -> None:
    """UsageError if a setting differs from what the trials began with. What may change is written into their YAML files."""
    others = {key: value for key, value in settings.items() if key != begun.key}
    if (tried := settings.get(begun.key, begun.values[0])) not in begun.values:
        raise UsageError(f"--resume: {begun.key}={tried} is none of what is tried in {folder}; leave it out")
    moved = {key: others[key] for key in MOVABLE if key in others}
    places = [moved[key] for key in ("data.path", "loss.weights") if key in moved]
    for place in map(str, [*places, *moved.get("data.also", [])]):
        if not at_home(place).exists():
            raise UsageError(f"--resume: {place} is not there")
    for name, value in begun.folders.items():
        file = folder / f"{name}.yaml"
        if not file.is_file():
            raise UsageError(f"{file} is missing, with which this trial begins: put it back, or start anew with --overwrite")
        asked = load_config(config, {**settings, begun.key: value}) if config else load_config(file, others)
        before, after = flatten(load_config(file).model_dump()), flatten(asked.model_dump())
        for key in after:
            given = any(f"{key}.".startswith(f"{setting}.") for setting in ("name", *others))
            if given and after[key] != before[key] and key not in MOVABLE:
                raise UsageError(
                    f"--resume: {key} was {as_set(before[key])} in the trials in {folder} and cannot become "
                    f"{as_set(after[key])}; leave it out, or choose another --out"
                )
    check_images(folder, begun, moved)
    for name in begun.folders if moved else ():
        write_config(folder / f"{name}.yaml", load_config(folder / f"{name}.yaml", moved), compute)


def check_images(folder: Path, begun: Trials, moved: Settings) -> None:
    """UsageError if a trial is still to begin and would learn from other images: one that has begun compares them itself."""
    if begun.images is None or all((begun.place(folder, name) / "training.pt").is_file() for name in begun.folders):
        return
    config = load_config(folder / f"{next(iter(begun.folders))}.yaml", moved)
    now = fingerprint_names(training_images(config).names)
    if now != begun.images:
        raise UsageError(
            f"--resume: the images in {', '.join(config.data.places)} are not those that the trials in {folder} began with "
            f"(they had {begun.images}, now {now})"
        )
