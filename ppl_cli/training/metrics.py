"""metrics.csv: one row per logged step."""

import csv
import importlib.util
from pathlib import Path

from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import read_limited, replace_text

LARGEST_FILE = 1 << 30  # bytes
ADDED = ("anchor", "shortness", "relevance")  # one after the other, since ppl 0.1: runs begun before have nothing there
LOSSES = ("total", "reconstruction", "boundary", "configuration", "links", "separation", "equivariance", *ADDED)
COLUMNS = ("step", *LOSSES, "images_per_second", "peak_memory_gib", "bank_perplexity", "keypoint_spread")


class MetricsFile:
    def __init__(self, path: Path, from_step: int, pending: bool = False, tensorboard: bool = False):
        """Opens for appending after step `from_step`: rows that a resumed run will write again are dropped.

        `pending`: the steps before it are still to get their row; one that the end of a shorter run gave them is dropped,
        too. With `tensorboard`, rows also go to the folder tensorboard/ beside `path`.
        """
        self.path = path
        self.board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(path.parent / "tensorboard"), purge_step=from_step + 1 - pending)
        kept = [line for step, line in complete_lines(path) if step <= from_step - pending]
        replace_text(path, "\n".join([",".join(COLUMNS), *kept, ""]))

    def append(self, row: dict[str, float]) -> None:
        shown = {key: value if isinstance(value, int) else f"{value:.6g}" for key, value in row.items()}
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(shown)
        except OSError as error:
            raise PPLError(f"cannot write {self.path}: {error.strerror}") from error
        if self.board:
            for name, value in row.items():
                self.board.add_scalar(name, value, row["step"])
            self.board.flush()


def check_tensorboard(asked: bool) -> None:
    """UsageError if it is asked for and not installed."""
    if asked and importlib.util.find_spec("tensorboard") is None:
        raise UsageError("train.tensorboard needs TensorBoard: pip install 'ppl-cli[tensorboard]'")


def complete_lines(path: Path) -> list[tuple[int, str]]:
    """(step, line) of every row but a last one that a kill has cut short. UsageError if it is another table."""
    if not path.exists():
        return []
    header, *lines = read_limited(path, LARGEST_FILE).decode("utf-8", "replace").split("\n")
    columns = header.rstrip("\r").split(",")
    missing = [column for column in ADDED if column not in columns]
    if columns != [column for column in COLUMNS if column not in missing]:
        raise UsageError(f"{path} has other columns than this ppl writes; move it away, and a new one is begun")
    if missing:
        zeros, after = ["0"] * len(missing), 1 + len(LOSSES) - len(missing)
        lines = [",".join((*line.split(",")[:after], *zeros, *line.split(",")[after:])) for line in lines[:-1]] + [""]
    rows = [(number, line.rstrip("\r")) for number, line in enumerate(lines[:-1], 2) if line.strip()]
    return [(parse_step(line, f"{path}, line {number}"), line) for number, line in rows]


def parse_step(line: str, where: str) -> int:
    """UsageError unless the row holds a step and a number in every other column."""
    try:
        step, *values = line.split(",")
        if len(values) == len(COLUMNS) - 1 and len([float(value) for value in values]) and step.isdecimal():
            return int(step)
    except ValueError:
        pass
    raise UsageError(f"{where}: expected a number in each of {len(COLUMNS)} columns, got a damaged line; remove that line")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv, by column."""
    rows = [dict(zip(COLUMNS, line.split(","), strict=True)) for _, line in complete_lines(path)]
    return [{key: int(value) if key == "step" else float(value) for key, value in row.items()} for row in rows]
