"""Every kind of data set that ppl knows, by the name that `data.kind` gives it."""

import os
from collections.abc import Callable
from pathlib import Path

from ppl_cli.config.sections import Config, DataConfig
from ppl_cli.data.coco import coco_images
from ppl_cli.data.cub import cub_birds
from ppl_cli.data.deeplabcut import deeplabcut_project
from ppl_cli.data.figures import drawn_figures
from ppl_cli.data.folders import image_folder
from ppl_cli.data.human36m import human36m
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.listing import Listing, Part
from ppl_cli.data.sleap import sleap_project
from ppl_cli.data.taichi import taichi_videos
from ppl_cli.data.ultralytics import ultralytics_poses
from ppl_cli.data.videos import is_video
from ppl_cli.errors import UsageError

# Training: part "train", annotations left unread. Evaluation: parts "fit" and "test", annotated.
LOADERS: dict[str, Callable[[DataConfig, Part, int, int], Listing]] = {
    "folder": image_folder,
    "video_frames": image_folder,
    "coco": coco_images,
    "figures": drawn_figures,
    "deeplabcut": deeplabcut_project,
    "ultralytics": ultralytics_poses,
    "sleap": sleap_project,
    "h5": cub_birds,
    "h36m": human36m,
    "h36m_wobg": human36m,
    "taichi": taichi_videos,
}
WITHOUT_FILES = ("figures",)
IN_ONE_FILE = ("h5", "sleap")
UNANNOTATED = ("folder", "video_frames")  # in any number of folders


def check_data(config: DataConfig) -> None:
    """UsageError for what can be seen without looking at an image: no folder given, or none there."""
    if config.kind in WITHOUT_FILES:
        return
    if config.path is None:
        raise UsageError("which images? give --data FOLDER (or data.path in the configuration)")
    if config.also and config.kind not in UNANNOTATED:
        raise UsageError(f"--data {config.also[0]}: data.kind {config.kind} is one folder, and {config.path} is given already")
    for path in map(Path, config.places):
        known = (config.kind in IN_ONE_FILE and path.exists()) or (
            config.kind in UNANNOTATED and is_video(path) and path.is_file()
        )
        if not known and not path.is_dir():
            what = "is a file; a folder of images, or a video, is expected" if path.exists() else "no such folder or video"
            raise UsageError(f"--data {path}: {what}")


def list_part(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """One part of a data set; `size` of the network's input is for data that is drawn to fit.

    UsageError if a file is missing or wrong; it says which, and where it was expected.
    """
    first, *more = map(os.path.expanduser, config.places or [""])
    config = config.model_copy(update={"path": first or None, "also": more})
    check_data(config)
    listing = LOADERS[config.kind](config, part, seed, size)
    if not len(listing):
        if config.kind == "folder" and not config.frames:
            raise UsageError(f"{config.path}: no images, and data.frames=0 leaves videos out: set how many frames to take")
        raise UsageError(f"{config.path}: the {part} split of data.kind {config.kind} is empty")
    listing.choose_range(config.range)
    return listing


def training_images(config: Config, size: int | None = None) -> Listing:
    """What this configuration learns from; drawn ones as large as the network's input, or as `size`."""
    return list_part(config.data, "train", config.seed, size or config.model.image_size)


def open_listing(listing: Listing, config: DataConfig, size: int, strict: bool = False) -> ImageSet:
    """Decoded into memory where they fit."""
    images = ImageSet(listing, size, config.resize, strict)
    if images.cache_bytes <= config.cache_gib * 2**30:
        images.fill_cache()
    return images
