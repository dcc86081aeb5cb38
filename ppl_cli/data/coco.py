"""Read keypoint annotations in COCO's JSON form."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl_cli.errors import UsageError


@dataclass
class Annotated:
    names: list[str]  # of the images, relative to the data set's folder
    widths: list[int]
    heights: list[int]
    keypoints_px: np.ndarray  # (M, K, 2) (x, y), NaN where not annotated
    keypoint_names: list[str]


def read_coco(file: Path) -> Annotated:
    """Annotated images only, one object an image (the largest). UsageError names the file and what is wrong in it.

    COCO counts from the corner of the first pixel or from its centre depending on the tool; we take its numbers as
    they are, so half a pixel at the most is lost.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        largest: dict[int, dict] = {}
        for annotation in content["annotations"]:
            if annotation.get("keypoints"):
                other = largest.get(annotation["image_id"])
                if other is None or annotation.get("area", 0) > other.get("area", 0):
                    largest[annotation["image_id"]] = annotation
        points = {key: np.asarray(largest[key]["keypoints"], np.float64).reshape(-1, 3) for key in images if key in largest}
        if not points:
            raise UsageError(f"{file} holds no keypoint annotations")
        check(file, images, points)
        annotated = [images[key] for key in points]
        stacked = np.stack(list(points.values()))
        category = content.get("categories") or [{}]
        names = category[0].get("keypoints") or [f"k{i}" for i in range(stacked.shape[1])]
        keypoints = np.where(stacked[..., 2:] > 0, stacked[..., :2], np.nan)
        files = [str(image["file_name"]) for image in annotated]
        return Annotated(
            files, [int(i["width"]) for i in annotated], [int(i["height"]) for i in annotated], keypoints, list(names)
        )
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{file} is not a COCO keypoint file ({type(error).__name__}: {error})") from error


def check(file: Path, images: dict[int, dict], points: dict[int, np.ndarray]) -> None:
    count = len(next(iter(points.values())))
    for key, keypoints in points.items():
        name = images[key]["file_name"]
        if len(keypoints) != count:
            raise UsageError(f"{file}: {name} has {len(keypoints)} keypoints, images before it {count}")
        if min(images[key]["width"], images[key]["height"]) < 1:
            raise UsageError(f"{file}: {name} has a width or height of 0")
