"""Unlabelled images in folders: `folder`, and `video_frames`, where every folder is a video."""

import os
from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.layouts import training_folder
from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import Others, list_names, natural_order, note_others
from ppl_cli.errors import UsageError

SPLIT_FOLDERS = ("train", "test", "val", "valid", "validation", "fit")


def image_folder(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """Of `video_frames` every folder is one video; frames lying in the folder itself are one video too."""
    if part != "train":
        raise UsageError(
            f"{config.path}: data.kind {config.kind} has no annotations to measure against; give COCO files with "
            "--fit FILE --test FILE, or another --kind"
        )
    root, others = Path(config.path), Others()
    names, split = split_images(root, config.split, seed, others)
    notes = []
    if config.split == "auto" and split != "all":
        notes.append(f"{root} holds several parts: training on {split}")
    list_images = list_videos if config.kind == "video_frames" else list_files
    return list_images(root, names, notes=[*notes, *note_others(others)])


def list_videos(root: Path, names: list[str], **more) -> Listing:
    """Every folder a video: in natural order, and the frames of one after another."""
    videos = sorted(set(map(os.path.dirname, names)), key=natural_order)
    number = {video: place for place, video in enumerate(videos)}
    names.sort(key=lambda name: number[os.path.dirname(name)])  # stable: frames stay in their order
    return list_files(root, names, groups=number_folders(names), **more)


def number_folders(paths: list[Path] | list[str]) -> list[int]:
    """For each path the number of its folder, counted in order of appearance."""
    number = {folder: index for index, folder in enumerate(dict.fromkeys(map(os.path.dirname, paths)))}
    return [number[os.path.dirname(path)] for path in paths]


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
