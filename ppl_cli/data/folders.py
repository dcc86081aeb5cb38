"""Unlabelled images in folders: `folder`, and `video_frames`, where every folder is a video."""

import sys
from pathlib import Path

import numpy as np

from ppl_cli.config import DataConfig
from ppl_cli.data.images import list_images, natural_order
from ppl_cli.data.listing import Listing, Part, of_files
from ppl_cli.errors import UsageError

SPLIT_FOLDERS = ("train", "test", "val", "valid", "validation", "fit")


def image_folder(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    refuse_annotations(config, part)
    root = Path(config.path)
    return of_files(root, split_images(root, config.split, seed))


def video_frames(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """A folder of frame folders, each one video; frames lying in `root` itself are one video too."""
    refuse_annotations(config, part)
    root = Path(config.path)
    paths = split_images(root, config.split, seed)
    paths.sort(key=lambda path: natural_order(str(path.parent)))  # stable: frames of a video stay together, in order
    return of_files(root, paths, groups=number_folders(paths))


def number_folders(paths: list[Path]) -> list[int]:
    """For each path the number of its folder, counted in order of appearance."""
    number = {folder: index for index, folder in enumerate(dict.fromkeys(path.parent for path in paths))}
    return [number[path.parent] for path in paths]


def refuse_annotations(config: DataConfig, part: Part) -> None:
    if part != "train":
        raise UsageError(
            f"{config.path}: data.kind {config.kind} has no annotations to measure against; give COCO files with "
            "--fit FILE --test FILE, or another --kind"
        )


def split_images(root: Path, split: str | float, seed: int) -> list[Path]:
    """The files to train on; see `DataConfig.split`."""
    if isinstance(split, float):
        paths = list_images(root)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(paths))
        return [paths[i] for i in sorted(order[: max(1, round(split * len(paths)))])]
    folders = {entry.name for entry in root.iterdir() if entry.is_dir()} if root.is_dir() else set()
    if split == "auto" and "train" in folders and folders & set(SPLIT_FOLDERS[1:]):
        print(f"{root} holds {', '.join(sorted(folders & set(SPLIT_FOLDERS)))}: training on train", file=sys.stderr)
        return list_images(root / "train")
    if split in ("auto", "all"):
        return list_images(root)
    if split not in folders:
        raise UsageError(f"data.split: {root} has no sub-folder {split!r} (write auto, all, a sub-folder or a share)")
    return list_images(root / split)
