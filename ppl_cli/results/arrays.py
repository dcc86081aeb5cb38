"""`keypoints.npz` and `keypoints_iterations.npz`: arrays that grow by a row for every image."""

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from ppl_cli.prior.prior import Prior
from ppl_cli.results.pose import Pose
from ppl_cli.text import in_utf8


class NpzColumns:
    """Arrays (I, ...) that grow row by row. Their headers need their lengths, so rows wait in files without a name: what is
    not written yet goes to the disk of the results, not to memory."""

    def __init__(self, path: Path, columns: dict[str, tuple[str, tuple[int, ...]]], texts: tuple[str, ...] = ("images",)):
        """`columns`: name -> (dtype, shape of a row); `texts`: names of columns of strings."""
        self.path, self.columns, self.longest, self.count = path, columns, dict.fromkeys(texts, 1), 0
        self.files = {name: tempfile.TemporaryFile(dir=path.parent) for name in (*texts, *columns)}  # noqa: SIM115

    def add_row(self, **values: np.ndarray | int | str) -> None:
        self.count += 1
        for column, longest in self.longest.items():
            self.files[column].write(values[column].encode() + b"\0")
            self.longest[column] = max(longest, len(values[column]))
        for column, (dtype, shape) in self.columns.items():
            self.files[column].write(np.broadcast_to(np.asarray(values[column], dtype), shape).tobytes())

    def write_all(self, **whole: np.ndarray) -> None:
        """`whole`: arrays that do not grow."""
        with zipfile.ZipFile(self.path, "w") as archive:
            for column, longest in self.longest.items():
                self.write(archive, column, f"<U{longest}", (self.count,), self.padded_texts(column))
            for column, (dtype, shape) in self.columns.items():
                self.write(archive, column, dtype, (self.count, *shape), read_blocks(self.files[column]))
            for name, values in whole.items():
                values = values.astype("<f8") if values.dtype.kind == "f" else values
                self.write(archive, name, values.dtype.str, values.shape, [values.tobytes()])

    def close(self) -> None:
        with ExitStack() as stack:  # all, also where one fails
            for file in self.files.values():
                stack.callback(file.close)

    def write(self, archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], content: Iterable[bytes]) -> None:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
            for block in content:
                file.write(block)

    def padded_texts(self, column: str) -> Iterator[bytes]:
        left = b""
        for block in read_blocks(self.files[column]):
            *whole, left = (left + block).split(b"\0")
            for text in whole:
                yield text.decode().encode("utf-32-le").ljust(4 * self.longest[column], b"\0")


class KeypointsNpz(NpzColumns):
    """images (I), keypoints_px (I, N, 2), confidence (I, N), names (N), prior (N, 2), links (N, N).

    Where some images are frames of `videos` also video (I), frame (I) and time (I), empty or NaN for the others.
    """

    def __init__(self, path: Path, prior: Prior, videos: bool):
        n = len(prior.keypoints)
        columns = {"keypoints_px": ("<f8", (n, 2)), "confidence": ("<f8", (n,))}
        places = {"frame": ("<f8", ()), "time": ("<f8", ())} if videos else {}
        super().__init__(path, columns | places, ("images", "video") if videos else ("images",))
        self.prior = prior

    def add(self, name: str, pose: Pose) -> None:
        video, *place = pose.place
        frame, time = (np.nan if value is None else value for value in place)
        found = {"keypoints_px": pose.keypoints, "confidence": pose.confidence}
        self.add_row(images=name, video=in_utf8(video or ""), frame=frame, time=time, **found)

    def finish(self) -> None:
        self.write_all(names=name_columns(self.prior), prior=self.prior.points, links=self.prior.weights)


class IterationsNpz(NpzColumns):
    """images (I), keypoints_px (I, T + 1, N, 2), confidence (I, T + 1, N), visible (I, N), moved_px (I, N),
    iterations_used (I), explained (I): 1, 0, or -1 where the model does not say; names (N)."""

    def __init__(self, path: Path, prior: Prior, iterations: int):
        n, steps = len(prior.keypoints), iterations + 1
        columns = {"keypoints_px": ("<f8", (steps, n, 2)), "confidence": ("<f8", (steps, n)), "visible": ("|b1", (n,))}
        columns |= {"moved_px": ("<f8", (n,)), "iterations_used": ("<i8", ()), "explained": ("<i8", ())}
        super().__init__(path, columns)
        self.prior = prior

    def add(self, name: str, pose: Pose) -> None:
        refined = pose.refined
        if refined is None:
            nothing = {"keypoints_px": np.nan, "confidence": np.nan, "moved_px": np.nan, "visible": False}
            self.add_row(images=name, **nothing, iterations_used=0, explained=-1)
            return
        self.add_row(
            images=name,
            keypoints_px=refined.keypoints,
            confidence=refined.confidence,
            visible=refined.visible[-1],
            moved_px=refined.moved_px,
            iterations_used=refined.used,
            explained=-1 if pose.explained is None else int(pose.explained),
        )

    def finish(self) -> None:
        self.write_all(names=name_columns(self.prior))


def name_columns(prior: Prior) -> np.ndarray:
    """(N,) names of the keypoints: without the idle ones, a place in an array says nothing."""
    return np.array([in_utf8(name) for name in prior.names], np.str_)


def read_blocks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(1 << 20):
        yield block
