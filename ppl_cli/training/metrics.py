"""metrics.csv: one row per logged step."""

import csv
import io
from pathlib import Path

from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import replacing

LOSSES = ("total", "reconstruction", "boundary", "configuration", "links", "separation", "equivariance")
COLUMNS = ("step", *LOSSES, "images_per_second", "peak_memory_gib", "bank_perplexity", "keypoint_spread")


class MetricsFile:
    def __init__(self, path: Path, from_step: int, tensorboard: bool = False):
        """Opens for appending after step `from_step`: rows that a resumed run will write again are dropped.

        With `tensorboard`, rows also go to the folder tensorboard/ beside `path`. UsageError if it is not installed.
        """
        self.path = path
        self.board = open_tensorboard(path.parent / "tensorboard", from_step) if tensorboard else None
        kept = [row for row in read_metrics(path) if row["step"] <= from_step] if path.exists() else []
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def append(self, row: dict[str, float]) -> None:
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS).writerow({key: format_number(value) for key, value in row.items()})
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(line.getvalue())
        except OSError as error:
            raise PPLError(f"cannot write {self.path}: {error.strerror}") from error
        if self.board:
            for name, value in row.items():
                self.board.add_scalar(name, value, row["step"])
            self.board.flush()


def open_tensorboard(folder: Path, from_step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("train.tensorboard needs TensorBoard: pip install 'ppl-cli[tensorboard]'") from error
    return SummaryWriter(str(folder), purge_step=from_step + 1)


def format_number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv; a last line that a kill cut short is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    return [{key: int(value) if key == "step" else float(value) for key, value in row.items()} for row in rows]
