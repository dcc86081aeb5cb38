"""Taichi videos, 256 x 256 pixels.

    DATA/train/VIDEO/FRAME.png                    to learn from
    DATA/eval_images/train/..., eval_images/test/...   annotated frames (also one folder deeper: eval_images/NAME/test/...);
                                          where there are none: DATA/train, DATA/test
    DATA/landmark/taichi_train_gt.pkl, ..._test_gt.pkl (or directly in DATA)

A landmark file is a pickled pandas table with the columns `file_name` (an image, or a folder of frames with the number
in `frame_number`) and `value` (K, 2): (x, y) in pixels, -1 where missing. It is read without being executed.
"""

from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.folders import list_videos
from ppl_cli.data.formats import SUFFIXES
from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import list_names
from ppl_cli.data.pickled_tables import read_table
from ppl_cli.errors import UsageError
from ppl_cli.text import counted

MISSING = -1


def taichi_videos(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    root = Path(config.path)
    if part == "train":
        if not (root / "train").is_dir():
            raise UsageError(f"{root}: expected {root / 'train' / 'VIDEO' / 'FRAME.png'} (and so on)")
        return list_videos(root, [f"train/{name}" for name in list_names(root / "train")])
    split = "train" if part == "fit" else "test"
    file = landmark_file(root, split)
    table = read_table(file)
    for column in ("file_name", "value"):
        if column not in table:
            raise UsageError(f"{file}: no column {column}; it has {', '.join(table)}")
    names = table["file_name"]
    if not names:
        raise UsageError(f"{file} has no rows")
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{file}: a `file_name` is no text")
    numbers = [check_number(number, file) for number in table.get("frame_number", [None] * len(names))]
    values = [check_value(value, file) for value in table["value"]]
    if len({len(value) for value in values}) > 1:
        raise UsageError(f"{file}: its rows have different numbers of keypoints")
    frames = Frames(root, split)
    paths = [frames.find(name, number) for name, number in zip(names, numbers, strict=True)]
    lost = [name for name, path in zip(names, paths, strict=True) if path is None]
    if len(lost) == len(names):
        raise UsageError(f"{file}: none of its images is there; expected {root / 'eval_images' / split / names[0]}")
    left_out = counted(len(lost), "annotated frame")
    notes = [f"{file}: left out: {left_out} without an image (the first: {lost[0]})"] if lost else []
    keypoints = np.stack([value for value, path in zip(values, paths, strict=True) if path])
    keypoints = np.where((keypoints == MISSING).any(-1, keepdims=True), np.nan, keypoints)
    images = [path.relative_to(root).as_posix() for path in paths if path]
    return list_files(root, images, keypoints=keypoints, notes=notes)


def landmark_file(root: Path, split: str) -> Path:
    name = f"taichi_{split}_gt.pkl"
    for file in (root / "landmark" / name, root / "landmarks" / name, root / name):
        if file.is_file():
            return file
    raise UsageError(f"no annotations: expected {root / 'landmark' / name} or {root / name}")


def check_value(value: object, file: Path) -> np.ndarray:
    try:
        if not isinstance(value, np.ndarray):  # lists of a pickle may hold each other without end: two levels are looked at
            value = [[float(x), float(y)] for x, y in value]
        points = np.asarray(value, np.float64)
        if points.ndim == 2 and points.shape[1] == 2:
            return points
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"{file}: a `value` is not a list of (x, y)")


def check_number(number: object, file: Path) -> int | None:
    try:
        return None if number is None else int(number)
    except (TypeError, ValueError, OverflowError):
        shown = f"{number!r:.40}" if isinstance(number, str | float) else f"of the type {type(number).__name__}"
        raise UsageError(f"{file}: frame_number {shown} is not a number") from None


class Frames:
    """Where the images of rows lie below `root`, each folder listed once."""

    def __init__(self, root: Path, split: str):
        self.root, self.above = root, root.resolve()
        deeper = sorted((root / "eval_images").glob(f"*/{split}"))
        self.folders = (root / "eval_images" / split, *deeper, root / split, root)
        self.listed: dict[Path, dict[str, Path]] = {}

    def find(self, name: str, number: int | None) -> Path | None:
        """None if it is not there, or not below `root`."""
        for folder in self.folders:
            place = folder / name
            if "\0" in name or not place.resolve().is_relative_to(self.above):
                continue
            if place.suffix.lower() in SUFFIXES and place.is_file():
                return place
            if number is not None and (frame := self.numbered(place).get(str(number))):
                return frame
        return None

    def numbered(self, folder: Path) -> dict[str, Path]:
        """Images of a folder by their numbers."""
        if folder not in self.listed:
            images = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
            self.listed[folder] = {path.stem.lstrip("0") or "0": path for path in images}
        return self.listed[folder]
