"""Unlabelled images in folders: `folder`, and `video_frames`, where every folder is a video."""

import os
import sys
from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.layouts import training_folder
from ppl_cli.data.listing import Listing, Part, list_files
from ppl_cli.data.names import Others, list_names, natural_order, note_others
from ppl_cli.errors import UsageError

SPLIT_FOLDERS = ("train", "test", "val", "valid", "validation", "fit")


def image_folder(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    refuse_annotations(config, part)
    root, others = Path(config.path), Others()
    return list_files(root, split_images(root, config.split, seed, others), notes=note_others(others))


def video_frames(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """A folder of frame folders, each one video; frames lying in `root` itself are one video too."""
    refuse_annotations(config, part)
    root, others = Path(config.path), Others()
    return list_videos(root, split_images(root, config.split, seed, others), notes=note_others(others))


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


def refuse_annotations(config: DataConfig, part: Part) -> None:
    if part != "train":
        raise UsageError(
            f"{config.path}: data.kind {config.kind} has no annotations to measure against; give COCO files with "
            "--fit FILE --test FILE, or another --kind"
        )


def split_images(root: Path, split: str | float, seed: int, others: Others) -> list[str]:
    """Names of the files to train on, relative to `root`; see `DataConfig.split`. `others`: as in `image_names`."""
    if isinstance(split, float):
        names = list_names(root, others)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
        return [names[i] for i in sorted(order[: max(1, round(split * len(names)))])]
    folders = {entry.name for entry in os.scandir(root) if entry.is_dir()} if root.is_dir() else set()
    if split == "auto" and (nested := training_folder(root)):
        print(f"{root} holds {Path(nested).parent} of several parts: training on {nested}", file=sys.stderr)
        return [f"{nested}/{name}" for name in list_names(root / nested, others)]
    if split == "auto" and "train" in folders and folders & set(SPLIT_FOLDERS[1:]):
        print(f"{root} holds {', '.join(sorted(folders & set(SPLIT_FOLDERS)))}: training on train", file=sys.stderr)
        split = "train"
    elif split in ("auto", "all"):
        return list_names(root, others)
    if split not in folders:
        raise UsageError(f"data.split: {root} has no sub-folder {split!r} (write auto, all, a sub-folder or a share)")
    return [f"{split}/{name}" for name in list_names(root / split, others)]
