"""Where a training run writes, when it may, and with which configuration it goes on."""

import csv
import re
import shutil
from contextlib import suppress
from pathlib import Path

from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError
from ppl_cli.files import is_leftover, make_folder, remove_leftovers, replacing
from ppl_cli.lock import FILE as LOCK
from ppl_cli.text import in_csv

FILES = ("config.yaml", "model.safetensors", "training.pt", "metrics.csv", "prior.json", "curves.png", "skipped.csv")

BEGINNING = {"config.yaml", "metrics.csv", "samples", "tensorboard"}  # what is there before the first checkpoint
EVALUATION = ("eval.json", "distribution.png", "cases.png", "occlusion.png")  # what ppl eval writes into eval-1, ...

# What may differ when a run goes on; everything else would make it another run.
FREE_TO_CHANGE = ("train.steps", "train.log_every", "train.save_every", "train.sample_every", "train.tensorboard")
FREE_TO_CHANGE += ("data.path", "data.cache_gib", "loss.weights", "name", "train.compile", "train.accumulate")


def choose_run_folder(name: str, out: Path | None, resume: bool, overwrite: bool) -> Path:
    """`--out` as given, else runs/NAME-1, -2, ...: a new one is made at once, so that no other run can take it."""
    if out is None:
        latest = latest_number(name)
        if not (resume or overwrite) or not latest:
            if resume:
                raise UsageError(f"nothing to resume: there is no runs/{name}-1; name the run folder with --out")
            return next_free_folder(name, latest + 1)
        out = Path("runs") / f"{name}-{latest}"
    if resume and not (out / "training.pt").is_file() and not never_began(out):
        raise UsageError(f"nothing to resume: {out} holds no training.pt")
    if not resume and out.is_dir() and entries(out):
        if not overwrite:
            raise UsageError(f"{out} is not empty: add --resume to go on with that run or --overwrite to replace it")
        if not any((out / file).is_file() for file in ("training.pt", "model.safetensors")) and not never_began(out):
            raise UsageError(f"{out} is not a run of ppl train and is not replaced: choose another --out")
    make_folder(out)
    return out


def entries(folder: Path) -> set[str]:
    """Names in a folder, without what a kill may leave at any moment."""
    return {entry.name for entry in folder.iterdir() if entry.name != LOCK and not is_leftover(entry.name)}


def never_began(folder: Path) -> bool:
    """Is this the folder of a run that was killed before its first checkpoint? All it can do is to begin anew."""
    names = entries(folder) if folder.is_dir() else {None}
    if "config.yaml" in names:
        return names <= BEGINNING and "\nwritten_by:" in (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
    return not names or (names == {"samples"} and not entries(folder / "samples"))


def latest_number(name: str) -> int:
    numbers = [re.fullmatch(rf"{re.escape(name)}-(\d+)", folder.name) for folder in Path("runs").glob(f"{name}-*")]
    return max((int(match[1]) for match in numbers if match), default=0)


def next_free_folder(name: str, number: int) -> Path:
    make_folder(Path("runs"))
    while True:
        folder = Path("runs") / f"{name}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def resumed_config(folder: Path, name: str, overrides: tuple[str, ...], settings: dict[str, str | None]) -> Config:
    """The run's own configuration with what was asked for on top; `name` is that of the configuration given.

    UsageError if that is another one, or names a field that may not change.
    """
    own = str(folder / "config.yaml")
    overrides = tuple(text for text in overrides if text.replace(" ", "") != "train.batch=auto")  # it has its number by now
    before, after = load_config(own), load_config(own, overrides, **settings)
    if name not in (before.name, after.name):
        raise UsageError(f"--resume: {folder} is a run of {before.name}, not of {name}")
    old, new = flatten(before.model_dump()), flatten(after.model_dump())
    for key in new:
        if new[key] != old[key] and key not in FREE_TO_CHANGE:
            raise UsageError(f"--resume: {key} was {old[key]} in this run and cannot become {new[key]}; start another run")
    return after


def flatten(values: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def clear_run(folder: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    samples = [*(folder / "samples").glob("step-*.png"), *(folder / "samples").glob("prior-*.json")]
    for file in [*(folder / name for name in FILES), *samples]:
        file.unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    for report in [path for path in folder.glob("eval-*") if re.fullmatch(r"eval-\d+", path.name) and path.is_dir()]:
        for name in EVALUATION:
            (report / name).unlink(missing_ok=True)
        with suppress(OSError):  # there is something else in it
            report.rmdir()
    clean(folder)


def clean(folder: Path) -> None:
    """Remove what kills have left."""
    for place in (folder, folder / "samples"):
        remove_leftovers(place)


def write_skipped(folder: Path, skipped: list[tuple[str, str]]) -> None:
    """Add to skipped.csv what is not in it yet: a resumed run does not see again what was skipped before."""
    place, rows = folder / "skipped.csv", [("image", "reason")]
    if skipped and place.is_file():
        with place.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    known = set(rows)
    new = [row for row in ((in_csv(name), reason) for name, reason in skipped) if row not in known]
    if new:
        with replacing(place) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([*rows, *new])
