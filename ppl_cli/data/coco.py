"""Keypoint annotations in COCO's JSON form; `layouts.py` says which file of a folder is meant.

The fields are taken as pycocotools takes them: crowds (`iscrowd`) are no objects, a keypoint of visibility 0 is not
annotated, and an object without `area` has that of its `bbox`, or else of the box around its keypoints. COCO counts from
the corner of the first pixel or from its centre depending on the tool; its numbers are taken as they are, so half a pixel
at the most is lost.
"""

import json
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.annotations import Annotation, check_images, list_annotations, measure_extent
from ppl_cli.data.layouts import choose_file, take_share
from ppl_cli.data.listing import Listing, Part
from ppl_cli.data.paths import ImageFinder
from ppl_cli.errors import UsageError
from ppl_cli.files import read_limited
from ppl_cli.text import counted, on_screen

LARGEST_FILE = 1 << 30  # bytes
LARGEST_SIDE = 1_000_000  # pixels
Id = int | str


class Image(BaseModel):
    id: Id
    file_name: str
    width: float | None = None
    height: float | None = None


class Object(BaseModel):
    image_id: Id
    category_id: Id | None = None
    keypoints: list[float | None] | None = None  # x, y, visibility for each
    area: float | None = None
    bbox: list[float | None] | None = None  # x, y, width, height
    iscrowd: int | None = 0


class Category(BaseModel):
    id: Id
    name: str | None = None
    keypoints: list[str] | None = None


class Coco(BaseModel):
    images: list[Image]
    annotations: list[Object]
    categories: list[Category] | None = None


# What pydantic calls the wrong types -> what is said of the value.
WRONG = {"missing": "is missing", "string": "is not text", "list": "is not a list", "model": "is not an object"}


def coco_images(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """The annotated images of one file, or of a share of it."""
    root = Path(config.path)
    choice = choose_file(config, part, ".json")
    listing = read_coco(choice.file, root, config.images, config.category, learning=part == "train")
    check_images(choice.file, listing, part, [root / name for name in listing.names])
    return take_share(listing, choice, part)


def read_coco(
    file: Path, root: Path, images: str | None = None, category: str | None = None, *, learning: bool = False
) -> Listing:
    """Images with an annotated keypoint, one object an image; who is `learning` hears how many have none.

    UsageError names the file, the place and what is wrong.
    """
    content = parse(file)
    finder = ImageFinder(file, root, images)
    listed = index_images(content.images, file)
    labels = {key_id(found.id): found.name or f"id {found.id}" for found in content.categories or []}
    names = {labels[key_id(found.id)]: found.keypoints or [] for found in content.categories or []}
    objects: dict[str, list[Object]] = {}
    crowds = 0
    for found in content.annotations:
        if not any(seen for seen in (found.keypoints or [])[2::3]):
            continue
        if found.iscrowd:
            crowds += 1
            continue
        objects.setdefault(key_id(found.image_id), []).append(found)
    strays = {key: held for key, held in objects.items() if key not in listed}
    notes = note_left_out(file, strays, crowds)
    if strays and len(strays) == len(objects):
        raise UsageError(
            f"{file}: its annotations belong to images that it does not list (the first: image_id {next(iter(strays))}; "
            f"listed: {', '.join(list(listed)[:3]) or 'none'})"
        )
    annotations = []
    annotated = {key: image for key, image in listed.items() if key in objects}
    if learning and (lost := len(listed) - len(annotated)):
        notes.append(
            f"{file}: {lost} of {counted(len(listed), 'image')} without an annotated keypoint, left out; to learn from them "
            "too: --set data.kind=folder"
        )
    paths = finder.find([image.file_name for image in annotated.values()])
    for (key, image), path in zip(annotated.items(), paths, strict=True):
        sides = read_size(image, file)
        for found in objects[key]:
            label = "" if found.category_id is None else labels.get(key_id(found.category_id), f"id {found.category_id}")
            points = read_keypoints(found, image.file_name, file)
            annotations.append(Annotation(path, f"image id {key}", points, measure_area(found, points), label, sides))
    return list_annotations(annotations, finder, names, category, notes)


def parse(file: Path) -> Coco:
    raw = read_limited(file, LARGEST_FILE)
    try:
        text = raw.decode("utf-8-sig" if raw.startswith(b"\xef\xbb\xbf") else json.detect_encoding(raw))
        return Coco.model_validate_json(text)
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not a COCO keypoint file: it is not text in UTF-8") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            reason = f"it is not JSON: {first['ctx']['error']}"
        elif not first["loc"]:
            reason = "expected an object with images, annotations and categories"
        else:
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"] if part not in KINDS)
            wrong = next((said for kind, said in WRONG.items() if first["type"].startswith(kind)), "is not a number")
            reason = f"{place[1:]} {wrong}"
        raise UsageError(f"{file} is not a COCO keypoint file: {on_screen(reason)}") from None


KINDS = ("int", "str", "float")  # pydantic names the member of a union that it tried


def key_id(value: Id) -> str:
    """7, "7" and "007" are one id: tools disagree on the type."""
    text = str(value).strip()
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 40 else text


def index_images(images: list[Image], file: Path) -> dict[str, Image]:
    """By id. UsageError if two images share one."""
    listed: dict[str, Image] = {}
    for image in images:
        if not image.file_name or "\0" in image.file_name:
            raise UsageError(f"{file}: image id {image.id} has no usable file_name")
        first = listed.setdefault(key_id(image.id), image)
        if first.file_name != image.file_name:
            raise UsageError(f"{file}: {first.file_name} and {image.file_name} share the image id {image.id}")
    return listed


def read_size(image: Image, file: Path) -> tuple[int, int] | None:
    """(width, height); None where the file leaves them out."""
    if not image.width or not image.height:
        return None
    if not (1 <= image.width <= LARGEST_SIDE and 1 <= image.height <= LARGEST_SIDE):
        raise UsageError(
            f"{file}: {image.file_name} has a width or height below 1 or beyond {LARGEST_SIDE}; leave them out or correct them"
        )
    return int(image.width), int(image.height)


def read_keypoints(found: Object, name: str, file: Path) -> np.ndarray:
    """(K, 2), NaN where visibility is 0."""
    if len(found.keypoints) % 3:
        raise UsageError(
            f"{file}: the keypoints of {name} are {counted(len(found.keypoints), 'number')}; expected x, y and visibility for "
            "each"
        )
    triples = np.array([np.nan if value is None else value for value in found.keypoints], np.float64).reshape(-1, 3)
    seen = triples[:, 2] > 0
    if not np.isfinite(triples[seen]).all():
        raise UsageError(f"{file}: {name} has a keypoint that is not a number; write visibility 0 where one is missing")
    return np.where(seen[:, None], triples[:, :2], np.nan)


def measure_area(found: Object, keypoints: np.ndarray) -> float:
    if found.area and found.area > 0:
        return found.area
    if found.bbox and len(found.bbox) == 4 and all(found.bbox[2:]):
        return found.bbox[2] * found.bbox[3]
    return measure_extent(keypoints)


def note_left_out(file: Path, strays: dict, crowds: int) -> list[str]:
    notes = []
    if strays:
        number = sum(map(len, strays.values()))
        notes.append(
            f"{file}: annotations belong to images that it does not list ({number} left out; the first: id {min(strays)})"
        )
    if crowds:
        notes.append(f"{file}: {counted(crowds, 'annotation')} of crowds (iscrowd) left out")
    return notes
