"""Data sets for training: where the images are, kept decoded in memory where they fit.

`open_dataset` turns a `DataConfig` into an `ImageSet`. What differs between kinds is only how files are found and
which annotations come with them; decoding, caching and skipping unreadable files is done once, here.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ppl_cli.config import DataConfig
from ppl_cli.data.coco import read_coco
from ppl_cli.data.figures import figure, figure_keypoints
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import UnreadableImageError, check_not_empty, decode, list_images, natural_order
from ppl_cli.errors import PPLError, UsageError

WORKERS = min(32, os.cpu_count() or 1)
SPLIT_FOLDERS = ("train", "test", "val", "valid", "validation", "fit")


class ImageSet:
    """Images of one category, as uint8 squares ready for the network.

    `load(i)` returns (size, size, 3) uint8 and may raise UnreadableImageError. `groups[i]` is the video that image i
    belongs to (frames of one video follow each other), or None. `keypoints` are annotations (M, K, 2), normalised,
    NaN where missing, or None. `skipped` collects (name, reason) of what could not be read.
    """

    def __init__(
        self,
        names: list[str],
        load: Callable[[int], np.ndarray],
        size: int,
        groups: list[int] | None = None,
        keypoints: np.ndarray | None = None,
    ):
        self.names, self.load, self.size = names, load, size
        self.groups = None if groups is None else np.asarray(groups)
        self.keypoints = keypoints
        self.skipped: list[tuple[str, str]] = []
        self.cache: torch.Tensor | None = None
        self.pool = ThreadPoolExecutor(WORKERS)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def cache_bytes(self) -> int:
        return len(self) * 3 * self.size * self.size

    def fill_cache(self, strict: bool = False) -> None:
        """Decode every image once; unreadable ones leave the set. PPLError if `strict` and one is unreadable."""
        pixels = torch.empty(len(self), 3, self.size, self.size, dtype=torch.uint8)
        kept = []
        loaded = self.pool.map(self._try_load, range(len(self)))
        for index, picture in enumerate(tqdm(loaded, "reading images", len(self), disable=None, leave=False)):
            if isinstance(picture, str):
                self._skip(index, picture, strict)
            else:
                pixels[len(kept)] = torch.from_numpy(picture).permute(2, 0, 1)
                kept.append(index)
        if not kept:
            raise PPLError(f"none of the {len(self)} images can be read; the first: {': '.join(self.skipped[0])}")
        self.names = [self.names[i] for i in kept]
        self.groups = None if self.groups is None else self.groups[kept]
        self.keypoints = None if self.keypoints is None else self.keypoints[kept]
        self.cache = pixels[: len(kept)]

    def fetch(self, indices: torch.Tensor, strict: bool = False) -> torch.Tensor:
        """(B,) int64 -> (B, 3, size, size) uint8. While streaming, an unreadable image is replaced by the next one."""
        if self.cache is not None:
            return self.cache[indices]
        pictures = []
        for index, picture in zip(indices.tolist(), self.pool.map(self._try_load, indices.tolist()), strict=True):
            tries = 0
            while isinstance(picture, str):
                self._skip(index, picture, strict)
                index, tries = (index + 1) % len(self), tries + 1
                if tries == len(self):
                    raise PPLError(f"none of the {len(self)} images can be read; the last: {self.names[index]}: {picture}")
                picture = self._try_load(index)
            pictures.append(torch.from_numpy(picture).permute(2, 0, 1))
        return torch.stack(pictures)

    def other_frames(self, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(B,) -> (B,): for each image another random frame of its video (itself where the video has only one)."""
        videos, starts, counts = np.unique(self.groups, return_index=True, return_counts=True)
        position = np.searchsorted(videos, self.groups[indices.numpy()])
        start, count = torch.as_tensor(starts[position]), torch.as_tensor(counts[position])
        jump = 1 + (torch.rand(len(indices), generator=generator) * (count - 1)).long()
        return start + (indices - start + jump) % count

    def _try_load(self, index: int) -> np.ndarray | str:
        try:
            return self.load(index).copy()
        except UnreadableImageError as error:
            return str(error)

    def _skip(self, index: int, reason: str, strict: bool) -> None:
        entry = (self.names[index], reason)
        if strict:
            raise PPLError(f"{entry[0]}: {reason} (--strict stops at the first unreadable image)")
        if entry not in self.skipped:
            self.skipped.append(entry)


def check_data(config: DataConfig) -> None:
    """UsageError for what can be seen without looking at an image: no folder given, none there, no loader."""
    if config.kind not in LOADERS:
        raise UsageError(f"data.kind {config.kind} has no loader yet; use {', '.join(LOADERS)}")
    if config.kind != "figures":
        if config.path is None:
            raise UsageError("which images? give --data FOLDER (or data.path in the configuration)")
        if not Path(config.path).is_dir():
            what = "is a file; a folder of images is expected" if Path(config.path).exists() else "no such folder"
            raise UsageError(f"--data {config.path}: {what}")
        check_not_empty(Path(config.path))


def open_dataset(config: DataConfig, size: int, seed: int, strict: bool = False) -> ImageSet:
    """The training images. UsageError if the configuration names what is not there."""
    check_data(config)
    images = LOADERS[config.kind](config, size, seed)
    if images.cache_bytes <= config.cache_gib * 2**30:
        images.fill_cache(strict)
    return images


def drawn_figures(count: int, size: int, seed: int) -> ImageSet:
    """`count` drawn figures, the same for the same seed."""
    keypoints = np.stack([figure_keypoints(index, seed) for index in range(count)])
    names = [f"figure {index}" for index in range(count)]
    return ImageSet(names, lambda index: figure(index, size, seed)[0], size, keypoints=keypoints)


def image_folder(config: DataConfig, size: int, seed: int) -> ImageSet:
    root = Path(config.path)
    return from_files(root, split_images(root, config.split, seed), size, config)


def from_files(root: Path, paths: list[Path], size: int, config: DataConfig, **annotations) -> ImageSet:
    names = [os.path.relpath(path, root) for path in paths]

    def load(index: int) -> np.ndarray:
        image = decode(paths[index])
        return Frame(*image.size, size, config.resize).apply_image(image)

    return ImageSet(names, load, size, **annotations)


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


def video_frames(config: DataConfig, size: int, seed: int) -> ImageSet:
    """A folder of frame folders, each one video; frames lying in `root` itself are one video too."""
    root = Path(config.path)
    paths = split_images(root, config.split, seed)
    paths.sort(key=lambda path: natural_order(str(path.parent)))  # stable: frames of a video stay together, in order
    folders = [path.parent for path in paths]
    number = {folder: index for index, folder in enumerate(dict.fromkeys(folders))}
    return from_files(root, paths, size, config, groups=[number[folder] for folder in folders])


def coco_images(config: DataConfig, size: int, seed: int) -> ImageSet:
    """Images named by a COCO keypoint file, with their annotations."""
    root = Path(config.path)
    file = Path(config.annotations or "train.json")
    file = root / file
    if not file.is_file():
        raise UsageError(f"no COCO file {file}: name it with --set data.annotations=FILE (relative to the data folder)")
    annotated = read_coco(file)
    sizes = zip(annotated.widths, annotated.heights, annotated.keypoints_px, strict=True)
    keypoints = [Frame(w, h, size, config.resize).to_normalised(points) for w, h, points in sizes]
    paths = [root / name for name in annotated.names]
    return from_files(root, paths, size, config, keypoints=np.stack(keypoints))


LOADERS: dict[str, Callable[[DataConfig, int, int], ImageSet]] = {
    "folder": image_folder,
    "video_frames": video_frames,
    "coco": coco_images,
    "figures": lambda config, size, seed: drawn_figures(config.figures, size, seed),
}
