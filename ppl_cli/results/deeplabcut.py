"""`dlc/`: DeepLabCut's tables, one for each video or folder, called STEM + SCORER as DeepLabCut calls them.

Three rows of header (scorer, bodyparts, coords), then one row a frame: its number, and x, y, likelihood of each keypoint, empty
where the frame could not be read. With PyTables also as .h5, whose rows have the names of images where they come of a folder.
"""

import csv
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ppl_cli.prior.prior import Prior
from ppl_cli.results.clips import Clip, find_clip
from ppl_cli.results.pose import Pose
from ppl_cli.results.table import number
from ppl_cli.text import in_utf8

FOLDER = "dlc"
KEY = "df_with_missing"  # DeepLabCut's name for the table in an .h5 file
LEVELS, COORDS = ("scorer", "bodyparts", "coords"), ("x", "y", "likelihood")
BLOCK = 2_000  # rows held at a time
LONGEST, LONGEST_NAME = 150, 50  # bytes of a stem, and of the model's name in a scorer; a file system takes 255 in all


class DeepLabCut:
    """Writes the tables; `place` gives the path at which a file of a name is to be written, and may be told what closes it."""

    def __init__(self, place: Callable[..., Path], prior: Prior, scorer: str, paths: Sequence[Path]):
        self.place, self.scorer, self.paths = place, scorer, paths
        columns = [(scorer, name, coord) for name in prior.names for coord in COORDS]
        self.header = [(level, *values) for level, values in zip(LEVELS, zip(*columns, strict=True), strict=True)]
        self.tables: dict[Clip, Table] = {}
        self.current: Table | None = None

    def add(self, name: str, pose: Pose) -> None:
        clip, frame = find_clip(name, self.paths[pose.index])
        if frame is None and not clip.is_folder:  # a video without a frame is in skipped.csv
            return
        table = self.tables.get(clip) or self.begin(clip)
        if table is not self.current:  # one open file, however many clips there are
            self.close()
            table.open()
            self.current = table
        table.add(name, frame, pose)

    def begin(self, clip: Clip) -> "Table":
        above, _, own = (clip.name or clip.path.resolve().name or "images").rpartition("/")
        stem = own if clip.is_folder else Path(own).stem
        stem = in_utf8(stem).encode()[:LONGEST].decode(errors="ignore")
        name = f"{FOLDER}/{above}/{stem}".replace("//", "/")
        taken = {table.name.casefold() for table in self.tables.values()}
        if name.casefold() in taken and not clip.is_folder:  # a.mp4 beside A.avi, which some systems take for one name
            name += Path(own).suffix
        while name.casefold() in taken:  # a folder called a
            name += "_"
        table = self.tables[clip] = Table(name, self.place(f"{name}{self.scorer}.csv", self.close), clip.is_folder)
        with table.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(self.header)
        return table

    def close(self) -> None:
        if self.current is not None:
            self.current.file.close()

    def finish(self) -> None:
        self.close()
        if can_write_h5():
            for table in self.tables.values():
                table.save_h5(self.place(f"{table.name}{self.scorer}.h5"))


class Table:
    """The table of one clip. Images of a folder are counted, and their names kept for the .h5 file."""

    def __init__(self, name: str, path: Path, keep_names: bool):
        self.name, self.path = name, path
        self.images: list[str] | None = [] if keep_names else None

    def open(self) -> None:
        self.file = self.path.open("a", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)

    def add(self, name: str, frame: int | None, pose: Pose) -> None:
        if self.images is not None:
            frame = len(self.images)
            self.images.append(name)
        values = zip(pose.keypoints.tolist(), pose.confidence.tolist(), strict=True)
        self.rows.writerow((frame, *(number(value) for (x, y), sure in values for value in (x, y, sure))))

    def save_h5(self, path: Path) -> None:
        import pandas as pd

        columns = pd.MultiIndex.from_frame(
            pd.read_csv(self.path, header=None, nrows=3, index_col=0, dtype=str, keep_default_na=False).T
        )
        columns.names = LEVELS
        longest = max((len(name.encode()) for name in self.images or ()), default=1)
        with pd.HDFStore(path, "w") as store:
            for start, rows in enumerate(pd.read_csv(self.path, header=None, skiprows=3, chunksize=BLOCK)):
                block = rows.set_index(0).astype(float).set_axis(columns, axis=1).rename_axis(None)
                if self.images is not None:
                    block.index = pd.Index(self.images[start * BLOCK : (start + 1) * BLOCK], dtype=object)
                store.append(KEY, block, format="table", min_itemsize={"index": longest} if self.images else None)


def name_scorer(model: str, step: int) -> str:
    """PPL_NAME_STEP, fit for a file's name and a table's header: of the model's name, its end, with - for what is neither a
    letter nor a digit, dot or underscore.
    """
    name = re.sub(r"[^\w.-]", "-", model).encode()[-LONGEST_NAME:].decode(errors="ignore")
    return f"PPL_{name}_{step}"


def can_write_h5() -> bool:
    return find_spec("tables") is not None and find_spec("pandas") is not None
