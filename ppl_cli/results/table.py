"""`keypoints.csv` and `skipped.csv`.

Where some images are frames of videos, the columns video,frame,time follow the first.
A name that a spreadsheet would run as a formula is written ./NAME. After refinement there are the columns
visible,moved,explained, and `iteration` where rows of every iteration are asked for.
"""

import csv
from pathlib import Path

import numpy as np

from ppl_cli.results.pose import Place, Pose
from ppl_cli.text import in_csv

COLUMNS = ("image", "status", "keypoint", "x", "y", "confidence")
UNEXPLAINED = "ok, but unlike the training images"


class Table:
    def __init__(self, path: Path, *columns: str):
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)
        self.rows.writerow(columns)

    def finish(self) -> None:
        """Every row is written already."""

    def close(self) -> None:
        self.file.close()


class SkippedCsv(Table):
    def __init__(self, path: Path):
        super().__init__(path, "image", "reason")

    def add(self, name: str, pose: Pose) -> None:
        if pose.problem is not None:
            self.rows.writerow((in_csv(name), pose.problem))


class KeypointsCsv(Table):
    """A row per image and keypoint. `refined` and `every` choose the columns that refinement adds, `videos` those of frames."""

    def __init__(self, path: Path, names: list[str], refined: bool, every: bool, videos: bool):
        self.names, self.refined, self.every, self.videos = names, refined, every, videos
        more = ("visible", "moved", "explained") if refined else ()
        place = Place._fields if videos else ()
        super().__init__(path, COLUMNS[0], *place, *COLUMNS[1:], *more, *(("iteration",) if every else ()))

    def add(self, name: str, pose: Pose) -> None:
        refined = pose.refined
        status = "ok" if pose.problem is None else pose.problem
        if status == "ok" and pose.explained is False:
            status = UNEXPLAINED
        first = (in_csv(name), *(place_cells(pose.place) if self.videos else ()), status)
        if refined is None:
            empty = ("",) * (3 * self.refined + self.every)
            self.write(first, pose.keypoints, pose.confidence, [empty] * len(pose.keypoints))
            return
        explained = {True: "yes", False: "no", None: ""}[pose.explained]
        for iteration in range(len(refined.keypoints)) if self.every else [len(refined.keypoints) - 1]:
            moved = np.linalg.norm(refined.keypoints[iteration] - refined.keypoints[0], axis=-1)
            last = (iteration,) if self.every else ()
            more = [
                ("yes" if v else "no", number(m), explained, *last)
                for v, m in zip(refined.visible[iteration], moved, strict=True)
            ]
            self.write(first, refined.keypoints[iteration], refined.confidence[iteration], more)

    def write(self, first: tuple, points: np.ndarray, confidence: np.ndarray, more: list[tuple]) -> None:
        rows = zip(self.names, points.tolist(), confidence.tolist(), more, strict=True)
        self.rows.writerows(
            (*first, keypoint, number(x), number(y), number(sure), *rest) for keypoint, (x, y), sure, rest in rows
        )


def place_cells(place: Place) -> tuple[str | int | None, ...]:
    """None is an empty cell."""
    video = None if place.video is None else in_csv(place.video)
    return video, place.frame, None if place.time is None else number(place.time)


def number(value: float) -> str:
    return "" if value != value else f"{value:.6f}"  # only NaN is unlike itself
