"""metrics.csv: one row per logged step."""

import csv
import io
from pathlib import Path

from ppl_cli.errors import PPLError
from ppl_cli.files import replacing

LOSSES = ("total", "reconstruction", "boundary", "configuration", "links", "separation", "equivariance")
COLUMNS = ("step", *LOSSES, "images_per_second", "peak_memory_gib", "bank_perplexity", "keypoint_spread")


class MetricsFile:
    def __init__(self, path: Path, from_step: int):
        """Opens for appending after step `from_step`: rows that a resumed run will write again are dropped."""
        self.path = path
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


def format_number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv; a last line that a kill cut short is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    return [{key: int(value) if key == "step" else float(value) for key, value in row.items()} for row in rows]
