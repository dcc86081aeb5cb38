"""The files that `ppl infer` and `ppl refine` write, streamed: nothing is held in memory while images come in.

- `keypoints.csv`: image,status,keypoint,x,y,confidence; one row per image and keypoint
- `keypoints.coco.json`: COCO keypoint annotations, skeleton = the strong links
- `keypoints.npz`: images (I), keypoints_px (I, N, 2), confidence (I, N), prior (N, 2), links (N, N)
- `skipped.csv`: image,reason of what could not be read

`ppl refine` adds columns visible,moved,explained to the table (and `iteration`, where rows of every iteration are asked
for), marks hidden keypoints in COCO's way (v = 1), and writes

- `keypoints_iterations.npz`: images (I), keypoints_px (I, T + 1, N, 2), confidence (I, T + 1, N), visible (I, N),
  moved_px (I, N), iterations_used (I), explained (I): 1, 0, or -1 where the model does not say

Every file grows under a temporary name and takes its own when all images are done. A name that is not valid UTF-8
is written with its odd bytes as \\xNN; in tables, one that a spreadsheet would run as a formula as ./NAME.
"""

import csv
import json
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from ppl_cli.data.frame import Frame
from ppl_cli.errors import PPLError
from ppl_cli.files import replacing
from ppl_cli.inference.estimate import Pose
from ppl_cli.prior.prior import Prior
from ppl_cli.text import in_csv, in_utf8

FILES = {"csv": "keypoints.csv", "coco": "keypoints.coco.json", "npz": "keypoints.npz"}
ITERATIONS_FILE = "keypoints_iterations.npz"
COLUMNS = ("image", "status", "keypoint", "x", "y", "confidence")
UNEXPLAINED = "ok, but no prototype explains this pose"


class Results:
    """Writes the chosen formats (of `FILES`) into `folder`: a context manager that takes one pose after another.

    `iterations` of refinement, None for plain poses; with `every`, the table has rows for each of them.
    """

    def __init__(self, folder: Path, formats: list[str], prior: Prior, iterations: int | None = None, every: bool = False):
        self.folder, self.formats, self.prior = folder, formats, prior
        self.iterations, self.every = iterations, every
        self.images = self.skipped = 0

    def __enter__(self) -> "Results":
        with ExitStack() as stack:
            places = {name: stack.enter_context(replacing(self.folder / name)) for name in self.names()}
            self.skips = SkippedCsv(places["skipped.csv"])
            self.writers = [self.writer(form, places[FILES[form]]) for form in self.formats]
            if self.iterations is not None:
                self.writers.append(IterationsNpz(places[ITERATIONS_FILE], self.prior, self.iterations))
            self.stack = stack.pop_all()
        return self

    def writer(self, form: str, path: Path) -> "KeypointsCsv | KeypointsCoco | KeypointsNpz":
        if form == "csv":
            return KeypointsCsv(path, self.prior.names, self.iterations is not None, self.every)
        return {"coco": KeypointsCoco, "npz": KeypointsNpz}[form](path, self.prior)

    def names(self) -> list[str]:
        iterations = [ITERATIONS_FILE] if self.iterations is not None else []
        return ["skipped.csv", *(FILES[form] for form in self.formats), *iterations]

    def add(self, name: str, pose: Pose) -> None:
        name = in_utf8(name)
        try:
            if pose.problem is not None:
                self.skips.add(name, pose)
                self.skipped += pose.width is None  # others keep a pose
            for writer in self.writers:
                writer.add(name, pose)
        except OSError as error:
            raise PPLError(f"cannot write to {self.folder}: {error.strerror}") from error
        self.images += 1

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            try:
                for writer in (self.skips, *self.writers):
                    writer.finish()
            except OSError as problem:
                error = PPLError(f"cannot write to {self.folder}: {problem.strerror}")
                self.stack.__exit__(type(error), error, None)
                raise error from problem
        self.stack.__exit__(kind, error, trace)


def spool(folder: Path, mode: str = "w+b", **settings) -> IO:
    """A file without a name beside the results: what is not written yet goes to their disk, not to memory."""
    return tempfile.TemporaryFile(mode, dir=folder, **settings)


def number(value: float) -> str:
    return "" if value != value else f"{value:.6f}"  # only NaN is unlike itself


class SkippedCsv:
    def __init__(self, path: Path):
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)
        self.rows.writerow(("image", "reason"))

    def add(self, name: str, pose: Pose) -> None:
        self.rows.writerow((in_csv(name), pose.problem))

    def finish(self) -> None:
        self.file.close()


class KeypointsCsv:
    def __init__(self, path: Path, names: list[str], refined: bool, every: bool):
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)
        self.names, self.refined, self.every = names, refined, every
        more = ("visible", "moved", "explained") if refined else ()
        self.rows.writerow((*COLUMNS, *more, *(("iteration",) if every else ())))

    def add(self, name: str, pose: Pose) -> None:
        refined = pose.refined
        status = "ok" if pose.problem is None else pose.problem
        if status == "ok" and refined is not None and refined.explained is False:
            status = UNEXPLAINED
        if refined is None:
            empty = ("",) * (3 * self.refined + self.every)
            self.write(name, status, pose.keypoints_px, pose.confidence, [empty] * len(pose.keypoints_px))
            return
        explained = {True: "yes", False: "no", None: ""}[refined.explained]
        for iteration in range(len(refined.keypoints_px)) if self.every else [len(refined.keypoints_px) - 1]:
            moved = np.linalg.norm(refined.keypoints_px[iteration] - refined.keypoints_px[0], axis=-1)
            last = (iteration,) if self.every else ()
            more = [
                ("yes" if v else "no", number(m), explained, *last)
                for v, m in zip(refined.visible[iteration], moved, strict=True)
            ]
            self.write(name, status, refined.keypoints_px[iteration], refined.confidence[iteration], more)

    def write(self, name: str, status: str, points: np.ndarray, confidence: np.ndarray, more: list[tuple]) -> None:
        shown, rows = in_csv(name), zip(self.names, points.tolist(), confidence.tolist(), more, strict=True)
        self.rows.writerows(
            (shown, status, keypoint, number(x), number(y), number(sure), *rest) for keypoint, (x, y), sure, rest in rows
        )

    def finish(self) -> None:
        self.file.close()


class KeypointsCoco:
    """One annotation for every image that could be read. Images are written as they come, annotations kept aside."""

    def __init__(self, path: Path, prior: Prior):
        self.file = path.open("w", encoding="utf-8")
        self.annotations = spool(path.parent, "w+", encoding="utf-8")
        skeleton = [[i + 1, j + 1] for i, j in prior.strong_links()]
        category = {"id": 1, "name": "object", "supercategory": "object", "keypoints": prior.names, "skeleton": skeleton}
        self.file.write(f'{{"categories": [{json.dumps(category)}],\n"images": [')
        self.count = 0

    def add(self, name: str, pose: Pose) -> None:
        if pose.width is None:
            return
        self.count += 1
        comma = "," if self.count > 1 else ""
        image = {"id": self.count, "file_name": name, "width": pose.width, "height": pose.height}
        self.file.write(f"{comma}\n{json.dumps(image, ensure_ascii=False)}")
        # COCO's v: 2 seen in the picture, 1 hidden or beyond its edge.
        inside = Frame(pose.width, pose.height, pose.width).inside(pose.keypoints_px)
        if pose.refined is not None:
            inside &= pose.refined.visible[-1]
        points = [[round(x, 6), round(y, 6), 1 + int(v)] for (x, y), v in zip(pose.keypoints_px.tolist(), inside, strict=True)]
        low, high = pose.keypoints_px.min(0), pose.keypoints_px.max(0)
        annotation = {
            "id": self.count,
            "image_id": self.count,
            "category_id": 1,
            "keypoints": [value for point in points for value in point],
            "num_keypoints": len(points),
            "confidence": [round(value, 6) for value in pose.confidence.tolist()],
            "score": round(float(pose.confidence.mean()), 6),
            "bbox": np.round([*low, *(high - low)], 6).tolist(),
            "area": round(float(np.prod(high - low)), 6),
            "iscrowd": 0,
        }
        self.annotations.write(f"{comma}\n{json.dumps(annotation)}")

    def finish(self) -> None:
        self.file.write('\n],\n"annotations": [')
        self.annotations.seek(0)
        while block := self.annotations.read(1 << 20):
            self.file.write(block)
        self.file.write("\n]}\n")
        self.annotations.close()
        self.file.close()


class NpzColumns:
    """Arrays (I, ...) that grow row by row. Their headers need their lengths, so rows wait in temporary files."""

    def __init__(self, path: Path, columns: dict[str, tuple[str, tuple[int, ...]]]):
        """`columns`: name -> (dtype, shape of a row)."""
        self.path, self.columns = path, columns
        self.files = {name: spool(path.parent) for name in ("images", *columns)}
        self.count, self.longest = 0, 1

    def add_row(self, name: str, **values: np.ndarray | int) -> None:
        self.files["images"].write(name.encode() + b"\0")
        self.count, self.longest = self.count + 1, max(self.longest, len(name))
        for column, (dtype, shape) in self.columns.items():
            self.files[column].write(np.broadcast_to(np.asarray(values[column], dtype), shape).tobytes())

    def write_all(self, **whole: np.ndarray) -> None:
        """`whole`: arrays that do not grow."""
        with zipfile.ZipFile(self.path, "w") as archive:
            self.write(archive, "images", f"<U{self.longest}", (self.count,), self.padded_names())
            for column, (dtype, shape) in self.columns.items():
                self.write(archive, column, dtype, (self.count, *shape), blocks(self.files[column]))
            for name, values in whole.items():
                self.write(archive, name, "<f8", values.shape, [values.astype("<f8").tobytes()])
        for file in self.files.values():
            file.close()

    def write(self, archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], content) -> None:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
            for block in content:
                file.write(block)

    def padded_names(self):
        left = b""
        for block in blocks(self.files["images"]):
            *whole, left = (left + block).split(b"\0")
            for name in whole:
                yield name.decode().encode("utf-32-le").ljust(4 * self.longest, b"\0")


class KeypointsNpz(NpzColumns):
    def __init__(self, path: Path, prior: Prior):
        n = len(prior.keypoints)
        super().__init__(path, {"keypoints_px": ("<f8", (n, 2)), "confidence": ("<f8", (n,))})
        self.prior = prior

    def add(self, name: str, pose: Pose) -> None:
        self.add_row(name, keypoints_px=pose.keypoints_px, confidence=pose.confidence)

    def finish(self) -> None:
        self.write_all(prior=self.prior.points, links=self.prior.weights)


class IterationsNpz(NpzColumns):
    def __init__(self, path: Path, prior: Prior, iterations: int):
        n, steps = len(prior.keypoints), iterations + 1
        columns = {"keypoints_px": ("<f8", (steps, n, 2)), "confidence": ("<f8", (steps, n)), "visible": ("|b1", (n,))}
        columns |= {"moved_px": ("<f8", (n,)), "iterations_used": ("<i8", ()), "explained": ("<i8", ())}
        super().__init__(path, columns)

    def add(self, name: str, pose: Pose) -> None:
        refined = pose.refined
        if refined is None:
            nothing = {"keypoints_px": np.nan, "confidence": np.nan, "moved_px": np.nan, "visible": False}
            self.add_row(name, **nothing, iterations_used=0, explained=-1)
            return
        self.add_row(
            name,
            keypoints_px=refined.keypoints_px,
            confidence=refined.confidence,
            visible=refined.visible[-1],
            moved_px=refined.moved_px,
            iterations_used=refined.used,
            explained=-1 if refined.explained is None else int(refined.explained),
        )

    def finish(self) -> None:
        self.write_all()


def blocks(file, size: int = 1 << 20):
    file.seek(0)
    while block := file.read(size):
        yield block
