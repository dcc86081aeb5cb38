"""Unlabelled images and videos in folders: `folder`, and `video_frames`, where every folder is a video."""

import os
from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.layouts import training_folder
from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import Others, list_names, natural_order, note_others
from ppl_cli.data.pages import page_names
from ppl_cli.data.video_frames import choose_frames, name_video
from ppl_cli.errors import UsageError

SPLIT_FOLDERS = ("train", "test", "val", "valid", "validation", "fit")


def image_folder(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """In `video_frames` every folder is one video; frames lying in the folder itself are one video too."""
    if part != "train":
        raise UsageError(
            f"{config.path}: data.kind {config.kind} has no annotations to measure against; give COCO files with "
            "--fit FILE --test FILE, or another --kind"
        )
    others, notes = Others(), []
    found = [find_images(Path(place), config, seed, others, notes) for place in config.places]
    root, names = found[0] if len(found) == 1 else merge(found)
    names, taken = choose_frames(root, names, config.frames)
    notes += [*taken, *note_others(others)]
    if config.kind == "video_frames":
        return list_videos(root, names, notes=notes)
    groups = number_groups([name_video(name) or name for name in names]) if taken else None  # an image stands alone
    return list_files(root, names, groups=groups, notes=notes)


def find_images(place: Path, config: DataConfig, seed: int, others: Others, notes: list[str]) -> tuple[Path, list[str]]:
    """A folder, and what is to be learned from of a folder or a video: names relative to it. `others`: as in `image_names`."""
    if place.is_file():
        return place.parent, page_names(place.parent, place.name)
    names, split = split_images(place, config.split, seed, others)
    if config.split == "auto" and split != "all":
        notes.append(f"{place} holds several parts: training on {split}")
    return place, names


def merge(found: list[tuple[Path, list[str]]]) -> tuple[Path, list[str]]:
    """Each image once, by its name in the folder that all lie in. UsageError if they lie on different drives."""
    roots = [os.path.abspath(root) for root, _ in found]
    try:
        common = os.path.commonpath(roots)
    except ValueError:
        raise UsageError(f"--data: {roots[0]} and {roots[-1]} lie on different drives; put them into one folder") from None
    above = [Path(root).relative_to(common) for root in roots]
    names = [(start / name).as_posix() for start, (_, names) in zip(above, found, strict=True) for name in names]
    return Path(common), list(dict.fromkeys(names))


def list_videos(root: Path, names: list[str], **more) -> Listing:
    """Every folder a video: in natural order, and the frames of one after another."""
    videos = sorted(set(map(os.path.dirname, names)), key=natural_order)
    number = {video: place for place, video in enumerate(videos)}
    names.sort(key=lambda name: number[os.path.dirname(name)])  # stable: frames stay in their order
    return list_files(root, names, groups=number_groups([name_video(name) or os.path.dirname(name) for name in names]), **more)


def number_folders(paths: list[Path] | list[str]) -> list[int]:
    """The number of each path's folder, counted in order of appearance."""
    return number_groups(list(map(os.path.dirname, paths)))


def number_groups(keys: list[str]) -> list[int]:
    """The number of each key, counted in order of appearance."""
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    return [number[key] for key in keys]


def split_images(root: Path, split: str | float, seed: int, others: Others) -> tuple[list[str], str | float]:
    """Names of the files to train on, relative to `root`, and which part they are; see `DataConfig.split`.

    `others`: as in `image_names`.
    """
    if isinstance(split, float):
        names = list_names(root, others)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
        return [names[i] for i in sorted(order[: max(1, round(split * len(names)))])], split
    folders = {entry.name for entry in os.scandir(root) if entry.is_dir()} if root.is_dir() else set()
    if split == "auto":
        parts = folders & set(SPLIT_FOLDERS)
        split = training_folder(root) or ("train" if "train" in parts and len(parts) > 1 else "all")
    elif split != "all" and split not in folders:
        raise UsageError(f"data.split: {root} has no sub-folder {split!r} (write auto, all, a sub-folder or a share)")
    if split == "all":
        return list_names(root, others), split
    return [f"{split}/{name}" for name in list_names(root / split, others)], split
