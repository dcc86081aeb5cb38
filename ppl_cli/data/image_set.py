"""Training images as squares ready for the network, kept decoded in memory where they fit.

What differs between data sets is only how files are found (`Listing`); decoding, caching and skipping unreadable files
is done once, here.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from tqdm import tqdm

from ppl_cli.data.frame import Frame, Resize
from ppl_cli.data.images import UnreadableImageError
from ppl_cli.data.listing import Listing
from ppl_cli.data.pages import FILM, split_frame
from ppl_cli.errors import PPLError
from ppl_cli.text import none_readable

WORKERS = min(32, os.cpu_count() or 1)


class ImageSet:
    """Images of one category, as uint8 squares ready for the network.

    `groups[i]` is the video that image i belongs to (frames of one video follow each other), or None. `skipped`
    collects (name, reason) of what could not be read.
    """

    def __init__(self, listing: Listing, size: int, resize: Resize, strict: bool = False):
        """`strict`: the first unreadable image is a PPLError."""
        self.names, self.open_image, self.size, self.resize = listing.names, listing.open_image, size, resize
        self.groups = None if listing.groups is None else np.asarray(listing.groups)
        self.strict = strict
        self.skipped: list[tuple[str, str]] = []
        self.cache: torch.Tensor | None = None
        self.turns: list[int] | None = None  # see `turn`
        self.pins = False  # whether batches go to a GPU: from pinned memory it copies while the program goes on
        self.pool = ThreadPoolExecutor(WORKERS)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def cache_bytes(self) -> int:
        return len(self) * 3 * self.size * self.size

    @cached_property
    def videos(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Names of the videos, the index of the first frame of each, and how many frames it has."""
        return np.unique(self.groups, return_index=True, return_counts=True)

    def move_cache(self, device: torch.device) -> bool:
        """Keep the decoded images on a GPU with room for them (a quarter of what is free); says whether it did."""
        self.pins = device.type == "cuda"
        if self.cache is None or device.type != "cuda" or 4 * self.cache_bytes > torch.cuda.mem_get_info(device)[0]:
            return False
        self.cache = self.cache.to(device)
        return True

    def fill_cache(self) -> None:
        """Decode every image once; unreadable ones leave the set. PPLError if none is left."""
        pixels = torch.empty(len(self), 3, self.size, self.size, dtype=torch.uint8)
        kept = []
        for index, picture in enumerate(tqdm(self._load_all(), "reading images", len(self), disable=None, leave=False)):
            if isinstance(picture, str):
                self._skip(index, picture)
            else:
                pixels[len(kept)] = torch.from_numpy(picture).permute(2, 0, 1)
                kept.append(index)
        if not kept:
            raise self.none_readable()
        self.names = [self.names[i] for i in kept]
        self.groups = None if self.groups is None else self.groups[kept]
        self.cache = pixels[: len(kept)]

    def turn(self, turns: list[int]) -> None:
        """Turn image i by `turns[i]` quarter turns, counter-clockwise as one sees it, here and whenever it is read again."""
        self.turns = turns
        for index, number in enumerate(turns if self.cache is not None else ()):
            self.cache[index] = self.cache[index].rot90(number, (1, 2))

    def fetch(self, indices: torch.Tensor) -> torch.Tensor:
        """(B,) int64 on the CPU -> (B, 3, size, size) uint8, on the cache's device or pinned for a GPU, without waiting.

        While streaming, an unreadable image is replaced by the next one.
        """
        if self.cache is not None and self.cache.device.type != "cpu":
            return self.cache[self.pin(indices).to(self.cache.device, non_blocking=True)]
        if self.cache is not None:
            return self.pin(self.cache[indices])
        pictures = []
        for index, picture in zip(indices.tolist(), self.pool.map(self._try_load, indices.tolist()), strict=True):
            tries = 0
            while isinstance(picture, str):
                self._skip(index, picture)
                tries += 1
                if tries == len(self):
                    raise self.none_readable()
                index = (index + 1) % len(self)
                picture = self._try_load(index)
            pictures.append(torch.from_numpy(picture).permute(2, 0, 1))
        return self.pin(torch.stack(pictures))

    def other_frames(self, indices: torch.Tensor, generator: torch.Generator, near: int = 0) -> torch.Tensor:
        """(B,) -> (B,): for each image another random frame of its video (itself where the video has only one).

        With `near`, one at most so many frames away.
        """
        videos, starts, counts = self.videos
        position = np.searchsorted(videos, self.groups[indices.numpy()])
        first, count = torch.as_tensor(starts[position]), torch.as_tensor(counts[position])
        end = first + count
        if near:
            first, end = torch.maximum(first, indices - near), torch.minimum(end, indices + near + 1)
        count = end - first
        jump = 1 + (torch.rand(len(indices), generator=generator) * (count - 1)).long()
        return first + (indices - first + jump) % count

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        """Ready to be copied to the device without waiting."""
        return tensor.pin_memory() if self.pins else tensor

    def _load_all(self) -> Iterator[np.ndarray | str]:
        """Images side by side; frames of a video one after the other, since they build upon each other."""
        for of_video, run in groupby(range(len(self)), lambda index: split_frame(self.names[index]) is not None):
            yield from (map if of_video else self.pool.map)(self._try_load, run)
        FILM.close()

    def _try_load(self, index: int) -> np.ndarray | str:
        try:
            image = self.open_image(index)
            picture = Frame(*image.size, self.size, self.resize).apply_image(image)
            return np.rot90(picture, self.turns[index] if self.turns else 0).copy()
        except UnreadableImageError as error:
            return str(error)

    def none_readable(self) -> PPLError:
        return PPLError(none_readable([": ".join(skipped) for skipped in self.skipped], "image"))

    def _skip(self, index: int, reason: str) -> None:
        entry = (self.names[index], reason)
        if self.strict:
            raise PPLError(f"{entry[0]}: {reason} (--strict stops at the first unreadable image)")
        if entry not in self.skipped:
            self.skipped.append(entry)
