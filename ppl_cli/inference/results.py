"""The files that `ppl infer` writes, streamed: nothing of them is held in memory while images come in.

- `keypoints.csv`: image,status,keypoint,x,y,confidence; one row per image and keypoint
- `keypoints.coco.json`: COCO keypoint annotations, skeleton = the strong links
- `keypoints.npz`: images (I), keypoints_px (I, N, 2), confidence (I, N), prior (N, 2), links (N, N)
- `skipped.csv`: image,reason of what could not be read

Every file grows under a temporary name and takes its own when all images are done. A name that is not valid UTF-8
is written with its odd bytes as \\xNN.
"""

import csv
import json
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from ppl_cli.errors import PPLError
from ppl_cli.files import replacing
from ppl_cli.inference.estimate import Pose
from ppl_cli.prior import Prior

FILES = {"csv": "keypoints.csv", "coco": "keypoints.coco.json", "npz": "keypoints.npz"}


class Results:
    """Writes the chosen formats (of `FILES`) into `folder`: a context manager that takes one pose after another."""

    def __init__(self, folder: Path, formats: list[str], prior: Prior):
        self.folder, self.formats, self.prior = folder, formats, prior
        self.images = self.skipped = 0

    def __enter__(self) -> "Results":
        kinds = {"csv": KeypointsCsv, "coco": KeypointsCoco, "npz": KeypointsNpz}
        with ExitStack() as stack:
            places = {name: stack.enter_context(replacing(self.folder / name)) for name in self.names()}
            self.skips = SkippedCsv(places["skipped.csv"])
            self.writers = [kinds[form](places[FILES[form]], self.prior) for form in self.formats]
            self.stack = stack.pop_all()
        return self

    def names(self) -> list[str]:
        return ["skipped.csv", *(FILES[form] for form in self.formats)]

    def add(self, name: str, pose: Pose) -> None:
        name = printable(name)
        try:
            if pose.problem is not None:
                self.skips.add(name, pose)
                self.skipped += 1
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


def printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def spool(folder: Path, mode: str = "w+b", **settings) -> IO:
    """A file without a name beside the results: what is not written yet goes to their disk, not to memory."""
    return tempfile.TemporaryFile(mode, dir=folder, **settings)


def number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"


class SkippedCsv:
    def __init__(self, path: Path):
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)
        self.rows.writerow(("image", "reason"))

    def add(self, name: str, pose: Pose) -> None:
        self.rows.writerow((name, pose.problem))

    def finish(self) -> None:
        self.file.close()


class KeypointsCsv:
    def __init__(self, path: Path, prior: Prior):
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)
        self.rows.writerow(("image", "status", "keypoint", "x", "y", "confidence"))

    def add(self, name: str, pose: Pose) -> None:
        status = "ok" if pose.problem is None else pose.problem
        for k, ((x, y), sure) in enumerate(zip(pose.keypoints_px, pose.confidence, strict=True)):
            self.rows.writerow((name, status, f"k{k}", number(x), number(y), number(sure)))

    def finish(self) -> None:
        self.file.close()


class KeypointsCoco:
    """One annotation for every image that could be read. Images are written as they come, annotations kept aside."""

    def __init__(self, path: Path, prior: Prior):
        self.file = path.open("w", encoding="utf-8")
        self.annotations = spool(path.parent, "w+", encoding="utf-8")
        count = len(prior.keypoints)
        skeleton = [[i + 1, j + 1] for i, j in prior.strong_links()]
        names = [f"k{k}" for k in range(count)]
        category = {"id": 1, "name": "object", "supercategory": "object", "keypoints": names, "skeleton": skeleton}
        self.file.write(f'{{"categories": [{json.dumps(category)}],\n"images": [')
        self.count = 0

    def add(self, name: str, pose: Pose) -> None:
        if pose.problem is not None:
            return
        self.count += 1
        comma = "," if self.count > 1 else ""
        image = {"id": self.count, "file_name": name, "width": pose.width, "height": pose.height}
        self.file.write(f"{comma}\n{json.dumps(image, ensure_ascii=False)}")
        # COCO's v: 2 in the picture, 1 beyond its edge.
        inside = ((pose.keypoints_px >= -0.5) & (pose.keypoints_px < [pose.width - 0.5, pose.height - 0.5])).all(1)
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


class KeypointsNpz:
    """The arrays' headers need their lengths, so rows wait in temporary files until all are there."""

    def __init__(self, path: Path, prior: Prior):
        self.path, self.prior = path, prior
        self.names, self.keypoints, self.confidence = (spool(path.parent) for _ in range(3))
        self.count, self.longest = 0, 1

    def add(self, name: str, pose: Pose) -> None:
        self.names.write(name.encode() + b"\0")
        self.keypoints.write(pose.keypoints_px.astype("<f8").tobytes())
        self.confidence.write(pose.confidence.astype("<f8").tobytes())
        self.count, self.longest = self.count + 1, max(self.longest, len(name))

    def finish(self) -> None:
        n = len(self.prior.keypoints)
        with zipfile.ZipFile(self.path, "w") as archive:
            self.write(archive, "images", f"<U{self.longest}", (self.count,), self.padded_names())
            self.write(archive, "keypoints_px", "<f8", (self.count, n, 2), blocks(self.keypoints))
            self.write(archive, "confidence", "<f8", (self.count, n), blocks(self.confidence))
            self.write(archive, "prior", "<f8", (n, 2), [self.prior.keypoints.astype("<f8").tobytes()])
            self.write(archive, "links", "<f8", (n, n), [self.prior.links.astype("<f8").tobytes()])
        for file in (self.names, self.keypoints, self.confidence):
            file.close()

    def write(self, archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], content) -> None:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
            for block in content:
                file.write(block)

    def padded_names(self):
        left = b""
        for block in blocks(self.names):
            *whole, left = (left + block).split(b"\0")
            for name in whole:
                yield name.decode().encode("utf-32-le").ljust(4 * self.longest, b"\0")


def blocks(file, size: int = 1 << 20):
    file.seek(0)
    while block := file.read(size):
        yield block
