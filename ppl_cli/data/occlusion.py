"""Hiding parts of images: the image is cut into 32 x 32 patches (paper, "RandomMasking" and "CenterMasking").

Which patches of image i are hidden depends on the seed and i alone, so every model is shown the same holes; a larger
share hides what a smaller one hides, and more.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ppl_cli.errors import UsageError

GRID = 32
LEVELS = {"random": (0.1, 0.2, 0.3, 0.4), "center": (4.0, 6.0, 8.0, 10.0, 12.0)}


@dataclass(frozen=True)
class Occlusion:
    kind: Literal["random", "center"]
    level: float  # random: share of hidden patches; center: side of the hidden square in patches

    @property
    def label(self) -> str:
        return f"{self.kind} {self.level:g}"

    def hidden(self, index: int, seed: int) -> np.ndarray:
        """(32, 32) bool, True where image `index` is hidden."""
        patches = np.zeros((GRID, GRID), bool)
        if self.kind == "center":
            first = (GRID - int(self.level)) // 2
            patches[first : first + int(self.level), first : first + int(self.level)] = True
        else:
            order = np.random.Generator(np.random.PCG64([seed, index])).permutation(GRID * GRID)
            patches.reshape(-1)[order[: round(self.level * GRID * GRID)]] = True
        return patches


def visible_pixels(hidden: np.ndarray, size: int) -> torch.Tensor:
    """(B, 32, 32) -> (B, 1, size, size) float, 1 where visible: each pixel takes the patch that its centre lies in."""
    patch = ((np.arange(size) + 0.5) * GRID / size).astype(int)
    return torch.from_numpy(~hidden[:, patch][:, :, patch]).float().unsqueeze(1)


def parse_occlusions(texts: list[str]) -> list[Occlusion]:
    """`random=0.1,0.2`, `center=4,6`, or `random` and `center` alone, also as `random,center`, for the
    paper's levels."""
    found: list[Occlusion] = []
    for text in texts:
        kind, equals, levels = text.partition("=")
        if not equals and "," in text:  # random,center
            found += parse_occlusions(text.split(","))
            continue
        kind = {"centre": "center"}.get(kind, kind)
        if kind not in LEVELS:
            raise UsageError(f"--occlusion {text}: write random=0.1,0.2 or center=4,6")
        try:
            values = [float(level) for level in levels.split(",")] if equals else LEVELS[kind]
        except ValueError:
            raise UsageError(f"--occlusion {text}: {levels!r} is not a list of numbers") from None
        for value in values:
            if kind == "random" and not 0 < value < 1:
                raise UsageError(f"--occlusion {text}: random takes shares between 0 and 1")
            if kind == "center" and not (0 < value <= GRID and value == int(value)):
                raise UsageError(f"--occlusion {text}: center takes whole numbers of patches, 1 to {GRID}")
        found += [Occlusion(kind, value) for value in values]
    return found
