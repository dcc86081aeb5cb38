"""Small true copies of the data sets' layouts, written with the libraries that the originals were written with."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

from ppl_cli.data.figures import figure

RNG = np.random.default_rng(0)


def picture(path: Path, index: int, size: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(figure(index, size)[0]).save(path)


def human36m(root: Path, masks: bool = True) -> dict[str, np.ndarray]:
    """Returns the landmarks (row, column) by `S1/ACTION/FRAME`."""
    landmarks = {}
    for subject in (1, 5, 11):
        for action in ("Walking", "Waiting-0", "Sitting"):
            for frame in (1, 2, 10):
                place = f"{action}/frame_{frame}"
                picture(root / f"S{subject}/WithBackground/{place}.jpg", frame)
                points = RNG.random((32, 2))
                landmarks[f"S{subject}/{place}"] = points
                (root / f"S{subject}/Landmarks/{action}").mkdir(parents=True, exist_ok=True)
                savemat(root / f"S{subject}/Landmarks/{place}.mat", {"keypoints_2d": points})
                if masks:
                    (root / f"S{subject}/BackgroudMask/{action}").mkdir(parents=True, exist_ok=True)
                    mask = np.zeros((32, 32), np.uint8)
                    mask[8:24, 8:24] = 255
                    Image.fromarray(mask).save(root / f"S{subject}/BackgroudMask/{place}.png")
    return landmarks


def cub(file: Path, tests: tuple[str, ...] = ("test",)) -> dict[str, np.ndarray]:
    arrays = {}
    for part, count in (("train", 6), *((name, 3) for name in tests)):
        pixels = np.stack([figure(i, 32)[0].transpose(2, 0, 1) for i in range(count)])
        arrays[f"{part}_img"] = pixels.astype(np.float32)
        arrays[f"{part}_kp"] = RNG.random((count, 5, 2))
        arrays[f"{part}_vis"] = (RNG.random((count, 5)) > 0.2).astype(np.float32)
    with h5py.File(file, "w") as opened:
        for name, values in arrays.items():
            opened[name] = values
    return arrays


def taichi(root: Path) -> dict[str, np.ndarray]:
    """Returns the values of both landmark files."""
    for video in ("a", "b"):
        for frame in range(3):
            picture(root / "train" / video / f"{frame:07d}.png", frame)
    values = {}
    (root / "landmark").mkdir()
    for part, count in (("train", 4), ("test", 3)):
        points = RNG.random((count, 6, 2)) * 255
        points[0, 2] = -1
        for i in range(count):
            picture(root / "eval_images" / part / f"{i}.png", i)
        table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(count)], "value": list(points)})
        table.to_pickle(root / "landmark" / f"taichi_{part}_gt.pkl")
        values[part] = points
    return values


def deeplabcut(
    root: Path, videos=("mouse1", "mouse2"), index_columns: int = 1, individuals: tuple[str, ...] = ()
) -> np.ndarray:
    """Returns the keypoints (videos, 6, 3, 2) in pixels."""
    points = RNG.random((len(videos), 6, 3, 2)) * 31
    points[:, 1, 2] = np.nan
    for video, rows in zip(videos, points, strict=True):
        folder = root / "labeled-data" / video
        for frame in range(7):  # one more than is annotated
            picture(folder / f"img{frame:03d}.png", frame)
        animals = individuals or ("",)
        bodyparts = ("snout", "ear", "tail")
        columns = [(animal, part, axis) for animal in animals for part in bodyparts for axis in "xy"]
        blank = [""] * (index_columns - 1)
        with (folder / "CollectedData_me.csv").open("w", newline="") as file:
            write = csv.writer(file).writerow
            write(["scorer", *blank, *("me" for _ in columns)])
            if individuals:
                write(["individuals", *blank, *(animal for animal, _, _ in columns)])
            write(["bodyparts", *blank, *(part for _, part, _ in columns)])
            write(["coords", *blank, *(axis for _, _, axis in columns)])
            for frame, row in enumerate(rows):
                where = ["labeled-data", video, f"img{frame:03d}.png"]
                numbers = ["" if np.isnan(value) else repr(float(value)) for _ in animals for value in row.ravel()]
                write([*(where if index_columns == 3 else ["/".join(where)]), *numbers])
    return points


def coco(root: Path, fit: int = 40, test: int = 12, size: int = 32) -> None:
    """Figures with exact keypoints, some of them missing."""
    for part, first, count in (("train", 0, fit), ("test", fit, test)):
        images, annotations = [], []
        for i in range(count):
            picture(root / part / f"{i:03d}.png", first + i, size)
            points = (figure(first + i, size)[1] + 1) / 2 * (size - 1)
            triples = [[float(x), float(y), 0 if (i + k) % 9 == 0 else 2] for k, (x, y) in enumerate(points)]
            images.append({"id": i, "file_name": f"{part}/{i:03d}.png", "width": size, "height": size})
            annotations.append({"id": i, "image_id": i, "category_id": 1, "keypoints": [v for three in triples for v in three]})
        names = [f"joint{k}" for k in range(11)]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": names}]}
        (root / f"{part}.json").write_text(json.dumps(content))
