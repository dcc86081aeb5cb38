"""Poses that are already found, kept on disk while a run goes on: what `--resume` goes on from.

A journal grows at its end by one record for each batch: the length of its two parts and their CRC-32; a row of fixed size
for each image; and, as JSON, why images could not be used. A kill or a full disk can only cut the last record short. That
is seen when the journal is opened again, and the record dropped. Numbers are kept bit for bit, so whatever is written from
a journal is the same as from the poses that went in.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from ppl_cli.errors import PPLError
from ppl_cli.lock import TakenError, try_lock
from ppl_cli.results.pose import Pose, Refined

FORMAT_VERSION = 3
HEADER = struct.Struct("<III")  # bytes of the rows, bytes of the JSON, CRC-32 of both
UNKNOWN = -1  # for widths, heights and `explained`


class Journal:
    """The poses of some images, batch by batch, in order. Opening it locks it: TakenError if another process is writing to it.

    `keypoints` and `iterations` (None: plain poses) are those of the model and of refinement. `images` counts the poses in it.
    """

    def __init__(self, path: Path, keypoints: int, iterations: int | None = None):
        self.path, self.rows = path, row_type(keypoints, iterations)
        self.file = path.open("a+b")
        if not try_lock(self.file):
            self.file.close()
            raise TakenError(f"another ppl is writing {path}: wait until it has ended")
        self.images, self.end = 0, 0
        for content, _ in self.records():
            self.images += len(content) // self.rows.itemsize
            self.end = self.file.tell()
        self.file.truncate(self.end)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error) -> None:
        with suppress(OSError):  # it tries again to write what `append` has failed with
            self.file.close()

    def append(self, poses: list[Pose]) -> None:
        """A batch is in the journal whole or not at all. PPLError if the disk is full."""
        rows = np.zeros(len(poses), self.rows)
        for row, pose in zip(rows, poses, strict=True):
            fill_row(row, pose)
        problems = {row: pose.problem for row, pose in enumerate(poses) if pose.problem is not None}
        content, reasons = rows.tobytes(), json.dumps(problems).encode()
        header = HEADER.pack(len(content), len(reasons), zlib.crc32(reasons, zlib.crc32(content)))
        try:
            self.file.write(header + content + reasons)
            self.file.flush()
        except OSError as error:
            raise PPLError(f"cannot write {self.path}: {error.strerror}; the poses before are kept for --resume") from error
        self.images += len(poses)
        self.end += len(header) + len(content) + len(reasons)

    def batches(self) -> Iterator[list[Pose]]:
        """What was in the journal when this was called; more may be appended afterwards."""
        for content, reasons in self.records():
            problems = json.loads(reasons)
            rows = np.frombuffer(content, self.rows)
            yield [read_row(row, problems.get(str(number))) for number, row in enumerate(rows)]

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Rows and JSON of every whole record, from the first; the file's position is then behind it."""
        size = os.fstat(self.file.fileno()).st_size
        self.file.seek(0)
        while len(header := self.file.read(HEADER.size)) == HEADER.size:
            length, more, check = HEADER.unpack(header)
            # Zeros are what a loss of power can leave at the end of a file, and they would pass the check.
            if not length or length % self.rows.itemsize or self.file.tell() + length + more > size:
                return
            content, reasons = self.file.read(length), self.file.read(more)
            if zlib.crc32(reasons, zlib.crc32(content)) != check:
                return
            yield content, reasons


def row_type(keypoints: int, iterations: int | None) -> np.dtype:
    fields: list[tuple] = [("index", "<i8"), ("width", "<i8"), ("height", "<i8")]
    fields += [("keypoints", "<f8", (keypoints, 2)), ("confidence", "<f8", (keypoints,)), ("explained", "<i8")]
    if iterations is not None:
        steps = iterations + 1
        more = [("keypoints", "<f8", (steps, keypoints, 2)), ("confidence", "<f8", (steps, keypoints)), ("used", "<i8")]
        more += [("visible", "|b1", (steps, keypoints)), ("moved_px", "<f8", (keypoints,))]
        fields += [("is_refined", "|b1"), ("refined", [*more, ("whole", "|b1")])]
    return np.dtype(fields)


def fill_row(row: np.void, pose: Pose) -> None:
    row["index"] = pose.index
    row["width"], row["height"] = (UNKNOWN, UNKNOWN) if pose.width is None else (pose.width, pose.height)
    row["keypoints"], row["confidence"] = pose.keypoints, pose.confidence
    row["explained"] = UNKNOWN if pose.explained is None else pose.explained
    if pose.refined is not None:
        row["is_refined"], into = True, row["refined"]
        for name in into.dtype.names:
            into[name] = getattr(pose.refined, name)


def read_row(row: np.void, problem: str | None) -> Pose:
    known = row["width"] != UNKNOWN
    width, height = (int(row["width"]), int(row["height"])) if known else (None, None)
    explained = None if row["explained"] == UNKNOWN else bool(row["explained"])
    pose = Pose(int(row["index"]), width, height, row["keypoints"], row["confidence"], problem, explained=explained)
    if "refined" in row.dtype.names and row["is_refined"]:
        values = {name: row["refined"][name] for name in row["refined"].dtype.names}
        pose.refined = Refined(**(values | {"used": int(values["used"]), "whole": bool(values["whole"])}))
    return pose
