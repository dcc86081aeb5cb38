"""metrics.csv: one row per logged step."""

import csv
import importlib.util
import io
from pathlib import Path

from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import replacing

LOSSES = ("total", "reconstruction", "boundary", "configuration", "links", "separation", "equivariance")
COLUMNS = ("step", *LOSSES, "images_per_second", "peak_memory_gib", "bank_perplexity", "keypoint_spread")


class MetricsFile:
    def __init__(self, path: Path, from_step: int, every: int, tensorboard: bool = False):
        """Opens for appending after step `from_step`: rows that a resumed run will write again are dropped.

        With `tensorboard`, rows also go to the folder tensorboard/ beside `path`.
        """
        self.path = path
        self.board = open_tensorboard(path.parent / "tensorboard", from_step) if tensorboard else None
        # The last row of a finished run may lie between two multiples of `every`; a longer run has no such row.
        kept = [line for step, line in complete_lines(path) if step <= from_step and step % every == 0]
        with replacing(path) as temporary:
            temporary.write_text("\n".join([",".join(COLUMNS), *kept, ""]), encoding="utf-8")

    def append(self, row: dict[str, float]) -> None:
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS, lineterminator="\n").writerow({key: format_number(value) for key, value in row.items()})
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(line.getvalue())
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


def open_tensorboard(folder: Path, from_step: int):
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=from_step + 1)


def format_number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def complete_lines(path: Path) -> list[tuple[int, str]]:
    """(step, line) of every row that is whole; a kill may have cut the last one short."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[1:-1]
    rows = [(line.split(",")[0], line.rstrip("\r")) for line in lines if line.count(",") == len(COLUMNS) - 1]
    return [(int(step), line) for step, line in rows if step.isdecimal()]


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv, by column."""
    rows = [dict(zip(COLUMNS, line.split(","), strict=True)) for _, line in complete_lines(path)]
    return [{key: int(value) if key == "step" else float(value) for key, value in row.items()} for row in rows]
