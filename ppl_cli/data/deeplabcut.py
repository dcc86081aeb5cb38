"""Annotated frames of one animal in DeepLabCut's tables.

    DATA/labeled-data/VIDEO/*.png
    DATA/labeled-data/VIDEO/CollectedData_SCORER.csv      a DeepLabCut project: a table for each video
    DATA/CollectedData.csv                                Lightning Pose: one table for all, and perhaps
    DATA/CollectedData_new.csv                            frames of other videos, to measure on

The first rows of a table name scorer, (individuals,) bodyparts and coords; each further row is an image and its x, y
pairs, empty where not annotated. The image is named by one column (labeled-data/VIDEO/IMAGE) or by three. A table saved
by a spreadsheet may be in UTF-16 and have other separators (`;` and decimal commas, or tabs).

`--fit` and `--test` name videos, with commas between. Without them Lightning Pose's second table is measured on; where
there is none, the first half of each video's annotated frames is fitted on and the second half measured on.
"""

import csv
import io
import re
from itertools import groupby
from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.annotations import Annotation, check_images, merge_repeated, note_unannotated
from ppl_cli.data.folders import number_folders
from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import Others, list_names, note_copies
from ppl_cli.data.paths import ImageFinder, normalise
from ppl_cli.errors import UsageError
from ppl_cli.files import read_limited
from ppl_cli.text import counted, on_screen

FOLDER = "labeled-data"
HELD = "CollectedData_new.csv"  # Lightning Pose's frames of other videos
LARGEST_FILE = 256 << 20  # bytes
HEADER = ("scorer", "individuals", "bodyparts", "coords")
SHARED = "single"  # the individual to which DeepLabCut gives bodyparts that belong to no animal


def deeplabcut_project(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    root = Path(config.path)
    if part == "train" and (root / FOLDER).is_dir():
        others = Others()
        images = [f"{FOLDER}/{name}" for name in list_names(root / FOLDER, others, videos=False)]
        return list_files(root, images, groups=number_folders(images), notes=note_copies(others))
    frames, names, notes = read_project(root, config.images)
    finder = ImageFinder(root / FOLDER, root, config.images)
    held = len({frame.category for frame in frames}) > 1
    if part == "train" and held:
        frames = [frame for frame in frames if frame.category != HELD]
    if part != "train":
        notes += note_unannotated([finder.name(frame.image) for frame in frames], root)
        annotated = [frame for frame in frames if frame.annotated.any()]
        if len(annotated) < len(frames):
            notes.append(f"{counted(len(frames) - len(annotated), 'frame')} of the tables without an annotation, left out")
        frames = annotated
        if config.fit is None and config.test is None and held:
            frames = [frame for frame in frames if (frame.category == HELD) == (part == "test")]
            notes.append(f"fitted on {find_table(root).name} and measured on {HELD}; other videos: --fit, --test")
        elif config.fit is None and config.test is None:
            frames = halve_videos(frames, part)
            notes.append("the first half of each video is fitted on and the second measured on; whole videos: --fit, --test")
        else:
            chosen = choose_videos(frames, config, part)
            frames = [frame for frame in frames if frame.image.parent.name in chosen]
    if not frames:
        raise UsageError(f"{root}: its tables annotate no frame to {part} on")
    paths = [frame.image for frame in frames]
    listing = list_files(
        root,
        list(map(finder.name, paths)),
        groups=number_folders(paths),
        keypoints=np.stack([frame.keypoints for frame in frames]),
        keypoint_names=names,
        notes=notes,
    )
    check_images(root, listing, part, paths)
    return listing


def read_project(root: Path, images: str | None) -> tuple[list[Annotation], list[str], list[str]]:
    """Frames of all tables, a video after the other; names of the bodyparts; notes."""
    place = root / FOLDER
    videos = sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    tables = [table for folder in videos if (table := find_table(folder))]
    without = [folder.name for folder in videos if not find_table(folder)] if tables else []
    tables = tables or [table for table in dict.fromkeys([find_table(root), find_table(root, HELD)]) if table]
    if not tables:
        raise UsageError(
            f"no DeepLabCut tables in {root}: expected {place / 'VIDEO' / 'CollectedData_SCORER.csv'} or "
            f"{root / 'CollectedData.csv'}"
        )
    frames, names = [], []
    notes = [f"{counted(len(without), 'video')} of {place} without a table, left out ({without[0]}, ...)"] if without else []
    for table in tables:
        others, rows, keypoints = read_table(table)
        names = names or others
        if others != names and sorted(others) == sorted(names):
            keypoints, others = keypoints[:, [others.index(name) for name in names]], names
        if others != names:
            raise UsageError(f"{table} has other bodyparts than {tables[0]}: {', '.join(others)}; {', '.join(names)}")
        finder = ImageFinder(table, root, images)
        # A project may have been moved or its videos renamed: the images of a video lie beside its table.
        beside = table.parent != root and not images
        listed = list(rows.values())
        paths = [table.parent / name.rsplit("/", 1)[-1] for name in listed] if beside else finder.find(listed)
        # Of which table a frame is, stands in place of a category.
        found = [
            Annotation(path, f"line {line}", points, 0, HELD if table.name == HELD else "")
            for path, line, points in zip(paths, rows, keypoints, strict=True)
        ]
        merged, repeated = merge_repeated(found, finder)
        frames += merged
        notes += finder.notes
        if repeated:
            notes.append(f"{table}: {counted(repeated, 'image')} listed more than once; each counts once")
    order = {folder: number for number, folder in enumerate(dict.fromkeys(frame.image.parent for frame in frames))}
    return sorted(frames, key=lambda frame: order[frame.image.parent]), names, notes


def find_table(folder: Path, name: str = "CollectedData*.csv") -> Path | None:
    tables = sorted(folder.glob(name))
    tables = [path for path in tables if path.name != HELD] or tables
    if len(tables) > 1:
        raise UsageError(f"{folder} holds several tables ({', '.join(path.name for path in tables)}); leave one")
    return tables[0] if tables else None


def halve_videos(frames: list[Annotation], part: Part) -> list[Annotation]:
    """The first half of each video for the part `fit`, the second for `test`. Frames of one video follow each other."""
    halves = []
    for _, video in groupby(frames, key=lambda frame: frame.image.parent):
        video = list(video)
        middle = (len(video) + 1) // 2
        halves += video[:middle] if part == "fit" else video[middle:]
    if not halves:
        raise UsageError(
            "no video has two annotated frames, to fit on one and measure on the other: name whole videos with --fit and "
            "--test, or annotate more"
        )
    return halves


def choose_videos(frames: list[Annotation], config: DataConfig, part: Part) -> set[str]:
    """The videos of `part` as the user names them. UsageError if they are not there."""
    videos = dict.fromkeys(frame.image.parent.name for frame in frames)
    given = {
        name: set(filter(None, map(str.strip, (value or "").split(","))))
        for name, value in (("fit", config.fit), ("test", config.test))
    }
    other = given["test" if part == "fit" else "fit"]
    asked = given[part] or set(videos) - other
    unknown = (asked | other) - set(videos)
    if unknown:
        raise UsageError(f"no annotated video {min(unknown)}: there are {', '.join(videos)}")
    if asked & other:
        raise UsageError(f"video {min(asked & other)} is both fitted and measured on (--fit, --test)")
    if not asked:
        raise UsageError(f"no video is left for the {part} split: there are {', '.join(videos)}")
    return asked


def read_table(file: Path) -> tuple[list[str], dict[int, str], np.ndarray]:
    """(bodyparts (K), line -> image (M), keypoints (M, K, 2) in pixels)."""
    rows, separator = read_cells(file)
    header = {}
    while rows and (row := next(iter(rows.values()))) and row[0].strip() in HEADER:
        cells = [cell.strip() for cell in rows.pop(next(iter(rows)))]
        header[row[0].strip()] = cells[: 1 + max(at for at, cell in enumerate(cells) if cell)]  # spreadsheets add empty ones
    if "bodyparts" not in header or "coords" not in header:
        raise UsageError(f"{file} is not a DeepLabCut table: its first rows must be scorer, bodyparts, coords")
    # The image is named by the columns before the first x: one, or three (labeled-data, VIDEO, IMAGE).
    first = next((at for at, value in enumerate(header["coords"]) if value == "x"), None)
    coords = header["coords"][first:] if first else []
    if not coords or coords != ["x", "y"] * (len(coords) // 2):
        raise UsageError(f"{file}: the row `coords` must read x,y,x,y,...")
    names = header["bodyparts"][first::2]
    for level in ("individuals", "bodyparts"):
        if len(header.get(level, header["coords"])) != first + len(coords):
            raise UsageError(f"{file}: the rows `{level}` and `coords` must have the same length")
    images, points = {}, []
    for number, row in rows.items():
        if not any(row):
            continue
        if len(row) < first or not row[first - 1].strip() or "\0" in row[first - 1]:
            raise UsageError(f"{file}, line {number}: the name of the image is missing")
        images[number] = normalise("/".join(cell.strip() for cell in row[:first] if cell.strip()))
        cells = row[first:] if any(row[first + len(coords) :]) else row[first : first + len(coords)]
        points.append(read_numbers(cells, len(coords), separator, f"{file}, line {number}"))
    if not images:
        raise UsageError(f"{file} has no rows of annotations")
    keypoints = np.array(points).reshape(len(images), -1, 2)
    keypoints = np.where(np.isnan(keypoints).any(-1, keepdims=True), np.nan, keypoints)
    kept = choose_animal(header.get("individuals", [])[first::2] or [""] * len(names), keypoints, file)
    return [names[i] for i in kept], images, keypoints[:, kept]


def choose_animal(animals: list[str], keypoints: np.ndarray, file: Path) -> list[int]:
    """Which of keypoints (M, K, 2), each of its animal, are those of the one that is annotated, or of none.

    A project for several animals has columns for all of them, also where only one is ever in the picture.
    """
    annotated = ~np.isnan(keypoints).all((0, 2))
    there = dict.fromkeys(name for name, seen in zip(animals, annotated, strict=True) if seen and name != SHARED)
    if len(there) > 1:
        raise UsageError(
            f"{file} annotates several animals ({', '.join(there)}); ppl learns one object an image: crop the images "
            "to one each"
        )
    one = next(iter(there), next((name for name in animals if name != SHARED), SHARED))
    return [i for i, name in enumerate(animals) if name in (one, SHARED)]


def read_cells(file: Path) -> tuple[dict[int, list[str]], str]:
    """Line -> cells, and what separates them."""
    raw = read_limited(file, LARGEST_FILE)
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
        found = re.match(r"(?:sep=.\s+)?\W?scorer\W?([;\t,])", text)
        separator = found[1] if found else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = {line: row for line, row in enumerate(reader, 1) if row and not row[0].startswith("sep=")}
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {file}: it is not in UTF-8 or UTF-16; save it as CSV in UTF-8") from None
    except csv.Error:
        raise UsageError(f"cannot read {file}: it is not a table of cells with {separator!r} between them") from None
    return rows, separator


def read_numbers(cells: list[str], count: int, separator: str, where: str) -> list[float]:
    values = []
    for cell in cells:
        text = cell.strip() if separator == "," else cell.strip().replace(",", ".")
        try:
            values.append(float(text) if text else np.nan)
        except ValueError:
            raise UsageError(f"{where}: {on_screen(cell[:40])!r} is not a number") from None
    if len(values) != count or np.isinf(values).any():
        raise UsageError(f"{where}: expected {count} finite numbers, found {len(values)} cells")
    return values
