"""Folders of Ultralytics' poses.

    DATA/data.yaml                       train: images/train, val: images/val, kpt_shape: [K, 3], names: {0: mouse}
    DATA/images/train/**/NAME.jpg        or train/images/NAME.jpg, as data.yaml says
    DATA/labels/train/**/NAME.txt        a line for each object: class, box (x, y, width, height), then x, y(, visibility)
                                         for each keypoint; shares of the image's width and height

An image without a label file or with an empty one shows no object. Parts: train to learn from and to fit on; test, or
val where there is no test, to measure on; `--fit` and `--test` name others.
"""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.annotations import Annotation, check_there, list_annotations
from ppl_cli.data.formats import FORMATS, SUFFIXES
from ppl_cli.data.layouts import LARGEST_YAML, find_ultralytics
from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import image_names
from ppl_cli.data.pages import split_page
from ppl_cli.data.paths import ImageFinder, is_image_file, swap_folder
from ppl_cli.errors import UsageError
from ppl_cli.files import read_limited
from ppl_cli.text import counted, on_screen

LARGEST_LABELS = 16 << 20  # bytes
PIXELS = 2  # image sides: half of an object's keypoints further away are not shares of the image
ORIENTATION = 0x0112  # EXIF's tag


def ultralytics_poses(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    root = Path(config.path)
    file = find_ultralytics(root)
    if file is None:
        raise UsageError(f"{root}: expected {root / 'data.yaml'} with kpt_shape, as Ultralytics' pose data have it")
    described = read_description(file)
    count, dimensions = read_shape(described, file)
    images = list_split(described, choose_split(described, config, part, file), root, file)
    finder = ImageFinder(file, root, config.images)
    if part == "train":
        return list_files(root, [finder.name(path) for path in images])
    there = [image for image in images if is_image_file(image)]
    check_there(file, images)
    classes = described.get("names") or {}
    classes = dict(enumerate(classes)) if isinstance(classes, list) else classes
    annotations, without = [], 0
    for image in there:
        objects = read_labels(swap_folder(image, "images", "labels").with_suffix(".txt"), count, dimensions)
        without += not objects
        sides = displayed_size(image) if objects else (1, 1)
        for number, box, points in objects:
            label = str(classes.get(number, f"id {number}"))
            annotations.append(Annotation(image, image.name, points * sides, float((box[2:] * sides).prod()), label))
    notes = [f"{counted(without, 'image')} of {file.parent} without an annotated object, left out"] if without else []
    if lost := sorted(set(images) - set(there)):
        notes.append(f"{counted(len(lost), 'image')} of {file.parent} that are not there, left out (the first: {lost[0]})")
    names = dict.fromkeys((annotation.category for annotation in annotations), read_names(described, count))
    return list_annotations(annotations, finder, names, config.category, notes)


def read_description(file: Path) -> dict:
    try:
        described = yaml.safe_load(read_limited(file, LARGEST_YAML))
    except (yaml.YAMLError, RecursionError, ValueError):
        described = None
    if not isinstance(described, dict) or not isinstance(described.get("names", {}), dict | list):
        raise UsageError(f"{file} is not a description of Ultralytics' data: expected train, val, kpt_shape and names in YAML")
    return described


def read_shape(described: dict, file: Path) -> tuple[int, int]:
    """(keypoints, 2 or 3 numbers for each)."""
    match described.get("kpt_shape"):
        case [int(count), int(dimensions)] if 1 <= count <= 1000 and dimensions in (2, 3):
            return count, dimensions
    raise UsageError(f"{file}: kpt_shape must be [KEYPOINTS, 2] or [KEYPOINTS, 3]")


def read_names(described: dict, count: int) -> list[str]:
    """Names of the keypoints, where the description has them: kpt_names (for each class, or for all) or node_names."""
    names = described.get("kpt_names") or described.get("node_names") or []
    names = next(iter(names.values()), []) if isinstance(names, dict) else names
    return [str(name) for name in names] if isinstance(names, list) and len(names) == count else []


def choose_split(described: dict, config: DataConfig, part: Part, file: Path) -> str:
    given = [name for name in ("train", "val", "test") if described.get(name)]
    asked = {"train": None, "fit": config.fit, "test": config.test}[part]
    usual = ("test", "val") if part == "test" else ("train",)
    split = asked or next((name for name in usual if name in given), usual[-1])
    if split not in given:
        raise UsageError(f"{file} has no part {split}: it has {', '.join(given) or 'none'} (choose with --fit and --test)")
    return split


def list_split(described: dict, split: str, root: Path, file: Path) -> list[Path]:
    """Images of a part: of one folder or several, or named in a text file."""
    entries = described[split] if isinstance(described[split], list) else [described[split]]
    base = str(described.get("path") or ".")
    images: list[Path] = []
    for entry in map(str, entries):
        # `path` and absolute entries are of the machine that wrote them; what lies beside data.yaml comes first.
        places = [root / entry, root / base / entry, root / entry.removeprefix("../"), Path(base) / entry]
        place = next((place for place in places if "\0" not in entry + base and place.exists()), None)
        if place is None:
            raise UsageError(f"{file}: {split} is {on_screen(entry)}, which is not there; expected {places[0]}")
        if place.is_dir():
            images += [place / name for name in image_names(place, videos=False)]
        else:
            lines = read_limited(place, LARGEST_LABELS).decode("utf-8", "replace").splitlines()
            images += ImageFinder(place, root).find([line.strip() for line in lines if line.strip().lower().endswith(SUFFIXES)])
    if paged := next((image for image in images if split_page(image)[1] is not None), None):
        raise UsageError(f"{paged}: a label file is for one image, and this file has several pages; save each as a file")
    if not images:
        raise UsageError(f"{file}: its part {split} has no images ({', '.join(map(str, entries))})")
    return images


def displayed_size(image: Path) -> tuple[int, int]:
    """(width, height) with EXIF orientation applied. An image that cannot be read is left to the decoder: (1, 1)."""
    try:
        with Image.open(image, formats=FORMATS) as opened:
            turned = opened.getexif().get(ORIENTATION) in (5, 6, 7, 8)
            return opened.size[::-1] if turned else opened.size
    except Exception:  # damaged files raise anything
        return 1, 1


def read_labels(file: Path, count: int, dimensions: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(class, box (4), keypoints (K, 2) with NaN where missing) of each object with a keypoint, in shares of the image."""
    if not file.is_file():
        return []
    objects = []
    for line, text in enumerate(read_limited(file, LARGEST_LABELS).decode("utf-8-sig", "replace").splitlines(), 1):
        cells = text.split()
        if not cells:
            continue
        try:
            values = np.array(cells, np.float64)
        except ValueError:
            raise UsageError(f"{file}, line {line}: expected numbers with spaces between them") from None
        if len(values) != 5 + count * dimensions or not np.isfinite(values).all():
            raise UsageError(
                f"{file}, line {line}: expected class, box and {count} x {dimensions} finite numbers of keypoints "
                f"({5 + count * dimensions} in all), found {len(values)}"
            )
        points = values[5:].reshape(count, dimensions)
        seen = points[:, 2] > 0 if dimensions == 3 else (points[:, :2] > 0).any(1) & (points[:, :2] >= 0).all(1)
        if seen.any() and np.median(np.abs(points[seen, :2])) > PIXELS:
            raise UsageError(
                f"{file}, line {line}: keypoints look like pixels; expected shares of the image's width and height"
            )
        if seen.any():
            objects.append((int(values[0]), values[1:5], np.where(seen[:, None], points[:, :2], np.nan)))
    return objects
