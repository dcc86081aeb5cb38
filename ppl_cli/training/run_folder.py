"""Where a training run writes, and when it may."""

import csv
import re
from pathlib import Path

from ppl_cli.errors import UsageError
from ppl_cli.files import make_folder, replacing


def choose_run_folder(name: str, out: Path | None, resume: bool, overwrite: bool) -> Path:
    """`--out` as given, else runs/NAME-1, -2, ...: the next free number, or with `resume` the last one there is."""
    if out is None:
        latest = latest_number(name)
        if resume and not latest:
            raise UsageError(f"nothing to resume: there is no runs/{name}-1; name the run folder with --out")
        out = Path("runs") / f"{name}-{latest if resume or (overwrite and latest) else latest + 1}"
    if resume and not (out / "training.pt").is_file():
        raise UsageError(f"nothing to resume: {out} holds no training.pt")
    if not resume and not overwrite and out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty: add --resume to go on with that run or --overwrite to replace it")
    return out


def latest_number(name: str) -> int:
    numbers = [re.fullmatch(rf"{re.escape(name)}-(\d+)", folder.name) for folder in Path("runs").glob(f"{name}-*")]
    return max((int(match[1]) for match in numbers if match), default=0)


def prepare_run_folder(folder: Path, skipped: list[tuple[str, str]], overwrite: bool) -> None:
    """Create the folder; with `overwrite` remove what an earlier run wrote there, and nothing else."""
    make_folder(folder)
    make_folder(folder / "samples")
    if overwrite:
        names = ("config.yaml", "model.safetensors", "training.pt", "metrics.csv", "prior.json", "curves.png", "skipped.csv")
        for file in [*(folder / name for name in names), *(folder / "samples").glob("*.png")]:
            file.unlink(missing_ok=True)
    if skipped:
        with replacing(folder / "skipped.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "reason"), *skipped])
