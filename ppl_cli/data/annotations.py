"""Annotated objects, as every annotation file has them; and from them one pose an image.

Readers of files yield `Annotation`s. Here a category is chosen, an image that is listed twice is counted once, and of
several objects in an image the largest is taken.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import image_names
from ppl_cli.data.paths import ImageFinder, is_image_file
from ppl_cli.errors import UsageError
from ppl_cli.text import counted


@dataclass(slots=True)
class Annotation:
    """One object of one image."""

    image: Path
    entry: str  # how the file lists the image: "image id 7", "line 12"; objects of one image share it
    keypoints: np.ndarray  # (K, 2) in pixels, NaN where not annotated
    area: float  # in square pixels, to tell which object is the largest
    category: str = ""
    size: tuple[int, int] | None = None  # (width, height) that the file gives the image, if it does

    @property
    def annotated(self) -> np.ndarray:
        """(K,) bool."""
        return ~np.isnan(self.keypoints).any(-1)


def measure_extent(keypoints: np.ndarray) -> float:
    """Area of the box around the annotated ones of (K, 2) keypoints."""
    seen = keypoints[~np.isnan(keypoints).any(-1)]
    return float(np.ptp(seen, axis=0).prod()) if len(seen) else 0.0


def list_annotations(
    annotations: list[Annotation],
    finder: ImageFinder,
    names: dict[str, list[str]],
    category: str | None,
    notes: list[str] | None = None,
) -> Listing:
    """One pose an image, in the order of the file. `names`: of the keypoints of each category; [] if the file has none.

    UsageError if there are none, several categories and none is chosen, or an image has two different poses.
    """
    source, notes = finder.source, [*(notes or []), *finder.notes]
    annotations = [annotation for annotation in annotations if annotation.annotated.any()]
    if not annotations:
        raise UsageError(f"{source} holds no keypoint annotations")
    annotations = choose_category(annotations, category, source)
    largest, several = keep_largest(annotations)
    chosen, repeated = merge_repeated(largest, finder)
    if several:
        notes.append(f"{source}: {counted(several, 'image')} with several objects; the largest of each is taken")
    if repeated:
        notes.append(f"{source}: {counted(repeated, 'image')} listed more than once; each counts once")
    count = len(chosen[0].keypoints)
    keypoint_names = names.get(chosen[0].category, [])
    for annotation in chosen:
        if len(annotation.keypoints) != count:
            raise UsageError(
                f"{source}: {annotation.image.name} has {len(annotation.keypoints)} keypoints, images before it {count}"
            )
    if keypoint_names and len(keypoint_names) != count:
        raise UsageError(f"{source}: the category names {len(keypoint_names)} keypoints, annotations have {count}")
    return list_files(
        finder.root,
        [finder.name(annotation.image) for annotation in chosen],
        keypoints=np.stack([annotation.keypoints for annotation in chosen]),
        keypoint_names=keypoint_names,
        sizes=[annotation.size for annotation in chosen],
        notes=notes,
        source=source.name,
    )


def choose_category(annotations: list[Annotation], asked: str | None, source: Path) -> list[Annotation]:
    """Annotations of the category that the user asks for, or of the only one."""
    sizes = {annotation.category: len(annotation.keypoints) for annotation in annotations}
    described = ", ".join(f"{name or 'without a name'} ({counted(size, 'keypoint')})" for name, size in sizes.items())
    if asked is None and len(sizes) == 1:
        return annotations
    if asked is None:
        raise UsageError(
            f"{source} annotates several categories: {described}; choose one with --category NAME (in training: "
            "--set data.category=NAME)"
        )
    for wanted in (asked, f"id {asked}"):
        chosen = [annotation for annotation in annotations if annotation.category.casefold() == wanted.casefold()]
        if chosen:
            return chosen
    raise UsageError(f"{source} has no annotated category {asked}: it has {described}")


def keep_largest(annotations: list[Annotation]) -> tuple[list[Annotation], int]:
    """The largest object of every entry (the first of equal ones), and how many entries have several."""
    largest: dict[str, Annotation] = {}
    several = set()
    for annotation in annotations:
        before = largest.get(annotation.entry)
        if before is not None:
            several.add(annotation.entry)
        if before is None or annotation.area > before.area:
            largest[annotation.entry] = annotation
    return list(largest.values()), len(several)


def merge_repeated(annotations: list[Annotation], finder: ImageFinder) -> tuple[list[Annotation], int]:
    """Every image once, and how many were listed more than once. UsageError if an image has two different poses."""
    kept: dict[str, Annotation] = {}
    repeated = set()
    for annotation in annotations:
        key = finder.identify(annotation.image)
        before = kept.setdefault(key, annotation)
        if before is annotation:
            continue
        repeated.add(key)
        if not before.annotated.any() or not annotation.annotated.any():
            kept[key] = annotation if annotation.annotated.any() else before
        elif not np.array_equal(before.keypoints, annotation.keypoints, equal_nan=True):
            raise UsageError(
                f"{finder.source}: {finder.name(annotation.image)} is annotated twice and differently ({before.entry}, "
                f"{annotation.entry}); keep one"
            )
    return list(kept.values()), len(repeated)


def check_images(source: Path, listing: Listing, part: Part, files: list[Path]) -> None:
    """UsageError where not one of the `files` is there, or where keypoints to measure on are no pixels.

    They are none where no keypoint of any image is further from the corner than 1.5.
    """
    check_there(source, files)
    values = listing.keypoints[np.isfinite(listing.keypoints)]
    if part != "train" and len(values) > 2 and np.abs(values).max() <= 1.5:
        low, high = ("-1" if values.min() < 0 else "0"), ("1" if values.max() <= 1 else "1.5")
        raise UsageError(
            f"{source}: all keypoints lie in [{low}, {high}], so they look like shares of the image; expected pixels: "
            "multiply x by the width and y by the height of the image"
        )


def check_there(source: Path, files: list[Path]) -> None:
    """UsageError where not one of the `files` is there."""
    if files and not any(map(is_image_file, files)):
        raise UsageError(
            f"{source}: none of its {counted(len(files), 'image')} is there; the first was looked for as {files[0]}: say "
            "where they lie with --images FOLDER (in training: --set data.images=FOLDER)"
        )


def note_unannotated(names: list[str], root: Path) -> list[str]:
    """How many images lie beside the annotated ones, which are called `names`, without an annotation; at the top, in no folder
    of its own."""
    folders = sorted({name.rpartition("/")[0] for name in names})
    there = (folder for folder in folders if (root / folder).is_dir())
    beside = (
        (folder, name) for folder in there for name in image_names(root / folder, videos=False) if folder or "/" not in name
    )
    lost = sorted({f"{folder}/{name}" if folder else name for folder, name in beside} - set(names))
    found = f"{counted(len(lost), 'image')} beside the annotated ones without an annotation, left out"
    return [f"{found} ({lost[0]}, ...)"] if lost else []
