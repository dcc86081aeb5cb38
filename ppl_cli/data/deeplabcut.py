"""A DeepLabCut project: annotated frames of one animal.

    DATA/labeled-data/VIDEO/*.png
    DATA/labeled-data/VIDEO/CollectedData_SCORER.csv

The first rows of the table name scorer, (individuals,) bodyparts and coords; each further row is an image and its x, y
pairs, empty where not annotated. The image is named by one column (labeled-data/VIDEO/IMAGE) or by three.

DeepLabCut has no test split: `--fit` and `--test` name videos, with commas between. Without them the first half of each
video's annotated frames is fitted on and the second half measured on.
"""

import csv
import io
from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.folders import number_folders
from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import Others, image_names, list_names, note_copies
from ppl_cli.errors import UsageError
from ppl_cli.files import read_limited
from ppl_cli.text import printable

FOLDER = "labeled-data"
LARGEST_FILE = 256 << 20  # bytes


def deeplabcut_project(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    root = Path(config.path)
    place = root / FOLDER
    if not place.is_dir():
        raise UsageError(f"{root} is no DeepLabCut project: expected {place / 'VIDEO' / 'CollectedData_SCORER.csv'}")
    if part == "train":
        others = Others()
        images = [f"{FOLDER}/{name}" for name in list_names(place, others)]
        return list_files(root, images, groups=number_folders(images), notes=note_copies(others))
    tables = [table_of(video) for video in sorted(path for path in place.iterdir() if path.is_dir())]
    tables = [table for table in tables if table is not None]
    if not tables:
        raise UsageError(f"no annotations in {root}: expected {place / 'VIDEO' / 'CollectedData_SCORER.csv'}")
    paths, points, notes = [], [], []
    names = read_table(tables[0])[0]
    for table, rows in choose_rows(tables, config, part):
        others, images, keypoints = read_table(table)
        if others != names:
            raise UsageError(f"{table} has other bodyparts than {tables[0]}: {', '.join(others)}; {', '.join(names)}")
        paths += [table.parent / name for name in images[rows]]
        points.append(keypoints[rows])
        lost = set(image_names(table.parent)) - set(images)
        if lost:
            notes.append(f"{len(lost)} images in {table.parent} have no row in {table.name} and are left out")
    if config.fit is None and config.test is None:
        notes.append("the first half of each video is fitted on and the second measured on; whole videos: --fit, --test")
    keypoints = np.concatenate(points)
    images = [path.relative_to(root).as_posix() for path in paths]
    return list_files(root, images, groups=number_folders(images), keypoints=keypoints, keypoint_names=names, notes=notes)


def choose_rows(tables: list[Path], config: DataConfig, part: Part) -> list[tuple[Path, slice]]:
    """Which rows of which tables belong to `part`."""
    if config.fit is None and config.test is None:
        chosen = []
        for table in tables:
            half = (len(read_table(table)[1]) + 1) // 2
            chosen.append((table, slice(0, half) if part == "fit" else slice(half, None)))
        return chosen
    videos = {table.parent.name: table for table in tables}
    given = {name: set(filter(None, (value or "").split(","))) for name, value in (("fit", config.fit), ("test", config.test))}
    other = given["test" if part == "fit" else "fit"]
    asked = given[part] or set(videos) - other
    unknown = (asked | other) - set(videos)
    if unknown:
        raise UsageError(f"no annotated video {min(unknown)}: there are {', '.join(videos)}")
    if asked & other:
        raise UsageError(f"video {min(asked & other)} is both fitted and measured on (--fit, --test)")
    if not asked:
        raise UsageError(f"no video is left for the {part} split: there are {', '.join(videos)}")
    return [(table, slice(None)) for name, table in videos.items() if name in asked]


def table_of(video: Path) -> Path | None:
    tables = sorted(video.glob("CollectedData*.csv"))
    if len(tables) > 1:
        raise UsageError(f"{video} holds several tables ({', '.join(path.name for path in tables)}); leave one")
    return tables[0] if tables else None


def read_table(file: Path) -> tuple[list[str], list[str], np.ndarray]:
    """(bodyparts (K), images (M), keypoints (M, K, 2) in pixels)."""
    try:
        rows = list(csv.reader(io.StringIO(read_limited(file, LARGEST_FILE).decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {file}: {printable(str(error))}") from error
    header = {}
    while rows and rows[0] and rows[0][0].strip() in ("scorer", "individuals", "bodyparts", "coords"):
        row = rows.pop(0)
        header[row[0].strip()] = row
    if "bodyparts" not in header or "coords" not in header:
        raise UsageError(f"{file} is not a DeepLabCut table: its first rows must be scorer, bodyparts, coords")
    # The image is named by the columns before the first x: one, or three (labeled-data, VIDEO, IMAGE).
    first = next((at for at, value in enumerate(header["coords"]) if value.strip() == "x"), None)
    coords = [value.strip() for value in header["coords"][first:]] if first else []
    if not coords or coords != ["x", "y"] * (len(coords) // 2):
        raise UsageError(f"{file}: the row `coords` must read x,y,x,y,...")
    individuals = list(dict.fromkeys(header.get("individuals", [])[first:]))
    if len(individuals) > 1:
        raise UsageError(
            f"{file} annotates several animals ({', '.join(individuals)}); ppl learns one object an image: crop the images "
            "to one each"
        )
    names = [value.strip() for value in header["bodyparts"][first::2]]
    if 2 * len(names) != len(coords) or len(header["bodyparts"]) != first + len(coords):
        raise UsageError(f"{file}: the rows `bodyparts` and `coords` must have the same length")
    images, points = [], []
    for number, row in enumerate(rows, len(header) + 1):
        if not any(row):
            continue
        if len(row) < first or "\0" in row[first - 1]:
            raise UsageError(f"{file}, line {number}: the name of the image is missing")
        images.append(row[first - 1].replace("\\", "/").rsplit("/", 1)[-1])
        points.append(numbers(row[first:], len(coords), file, number))
    if not images:
        raise UsageError(f"{file} has no rows of annotations")
    keypoints = np.array(points).reshape(len(images), -1, 2)
    return names, images, np.where(np.isnan(keypoints).any(-1, keepdims=True), np.nan, keypoints)


def numbers(cells: list[str], count: int, file: Path, row: int) -> list[float]:
    try:
        values = [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError as error:
        raise UsageError(f"{file}, line {row}: {printable(str(error))}") from error
    if len(values) != count or np.isinf(values).any():
        raise UsageError(f"{file}, line {row}: expected {count} finite numbers, found {len(values)} cells")
    return values
