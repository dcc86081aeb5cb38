"""Keypoint annotations in COCO's JSON form.

DATA/train.json or fit.json, DATA/test.json; `file_name` is relative to DATA. COCO counts from the corner of the first
pixel or from its centre depending on the tool; its numbers are taken as they are, so half a pixel at the most is lost.
"""

import json
from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.listing import Listing, Part, list_files, name_keypoints
from ppl_cli.data.names import image_names
from ppl_cli.errors import UsageError
from ppl_cli.files import read_limited
from ppl_cli.text import in_one_line

LARGEST_FILE = 1 << 30  # bytes
LARGEST_SIDE = 1_000_000  # pixels


def coco_images(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """The annotated images of one file."""
    root = Path(config.path)
    listing = read_coco(annotation_file(config, part), root)
    if part != "train":
        note_unannotated(listing, root)
    return listing


def annotation_file(config: DataConfig, part: Part) -> Path:
    root = Path(config.path)
    asked = {"train": config.annotations, "fit": config.fit, "test": config.test}[part]
    fallbacks = {"train": ["train.json"], "fit": ["fit.json", "train.json"], "test": ["test.json"]}[part]
    if asked is None and part == "fit" and config.annotations:
        fallbacks = [config.annotations, *fallbacks]
    candidates = [root / name for name in ([asked] if asked else fallbacks)]
    if asked and Path(asked).is_file() and not candidates[0].is_file():
        return Path(asked)  # as the shell completes it
    for file in candidates:
        if file.is_file():
            return file
    how = "--set data.annotations=FILE" if part == "train" else f"--{part} FILE"
    wanted = " or ".join(str(file) for file in candidates)
    raise UsageError(f"no COCO file {wanted}: name it with {how} (relative to the data folder)")


def read_coco(file: Path, root: Path) -> Listing:
    """Images with a visible keypoint, one object an image (the largest). UsageError names the file and what is wrong."""
    try:
        content = json.loads(read_limited(file, LARGEST_FILE).decode("utf-8-sig"))
        images = {image["id"]: image for image in content["images"]}
        largest, several = largest_objects(content["annotations"])
        points = {key: np.asarray(largest[key]["keypoints"], np.float64).reshape(-1, 3) for key in images if key in largest}
        if not points:
            raise UsageError(f"{file} holds no keypoint annotations")
        check(file, images, points)
        annotated = [images[key] for key in points]
        stacked = np.stack(list(points.values()))
        names = category_names(file, content, [largest[key] for key in points]) or name_keypoints(stacked.shape[1])
        if len(names) != stacked.shape[1]:
            raise UsageError(f"{file}: the category names {len(names)} keypoints, annotations have {stacked.shape[1]}")
        notes = note_strays(file, set(largest) - set(images))
        if several:
            notes.append(f"{file}: {several} images hold several objects; the largest of each is taken")
        keypoints = np.where(stacked[..., 2:] > 0, stacked[..., :2], np.nan)
        return list_files(
            root,
            [str(image["file_name"]) for image in annotated],
            keypoints=keypoints,
            keypoint_names=names,
            sizes=[(int(image["width"]), int(image["height"])) for image in annotated],
            notes=notes,
            source=file.name,
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        reason = in_one_line(error)
        raise UsageError(f"{file} is not a COCO keypoint file ({type(error).__name__}: {reason})") from error


def largest_objects(annotations: list[dict]) -> tuple[dict[int, dict], int]:
    """Image id -> its largest annotation with a visible keypoint; how many images have several."""
    largest: dict[int, dict] = {}
    several = set()
    for annotation in annotations:
        if any(seen > 0 for seen in (annotation.get("keypoints") or [])[2::3]):
            key = annotation["image_id"]
            if key in largest:
                several.add(key)
            if key not in largest or (annotation.get("area") or 0) > (largest[key].get("area") or 0):
                largest[key] = annotation
    return largest, len(several)


def category_names(file: Path, content: dict, annotations: list[dict]) -> list[str]:
    """Keypoint names of the one category that has annotations; [] where the file does not name them."""
    used = {annotation.get("category_id") for annotation in annotations}
    if len(used) > 1:
        raise UsageError(
            f"{file} annotates several categories ({', '.join(sorted(map(str, used)))}); ppl learns one: split the file"
        )
    for category in content.get("categories") or []:
        if category.get("id") in used:
            return [str(name) for name in category.get("keypoints") or []]
    return []


def check(file: Path, images: dict[int, dict], points: dict[int, np.ndarray]) -> None:
    count = len(next(iter(points.values())))
    for key, keypoints in points.items():
        name = images[key]["file_name"]
        if len(keypoints) != count:
            raise UsageError(f"{file}: {name} has {len(keypoints)} keypoints, images before it {count}")
        if not isinstance(name, str) or not name or "\0" in name:
            raise UsageError(f"{file}: the file_name of an image is no name")
        sides = int(images[key]["width"]), int(images[key]["height"])
        if not all(1 <= side <= LARGEST_SIDE for side in sides):
            raise UsageError(f"{file}: {name} has a width or height of 0 or beyond {LARGEST_SIDE}")
        seen = keypoints[keypoints[:, 2] > 0]
        if not np.isfinite(seen).all():
            raise UsageError(f"{file}: {name} has a keypoint that is not a number; write v = 0 where one is missing")


def note_strays(file: Path, strays: set) -> list[str]:
    if not strays:
        return []
    return [f"{file}: {len(strays)} annotations belong to images that it does not list (the first: id {min(map(str, strays))})"]


def note_unannotated(listing: Listing, root: Path) -> None:
    """Say how many images lie beside the annotated ones without an annotation."""
    known = {(root / name).resolve() for name in listing.names}
    folders = {path.parent for path in known if path.parent != root.resolve()}
    found = (folder / name for folder in sorted(folders) if folder.is_dir() for name in image_names(folder))
    lost = [path for path in found if path not in known]
    if lost:
        listing.notes.append(
            f"{len(lost)} images beside the annotated ones have no annotation and are left out ({lost[0].name}, ...)"
        )
