"""How refinement went on one image: a strip (PNG) and an animation (GIF).

Each iteration is a column: its input with the pose found in it, the skeleton map drawn from it, the reconstruction.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ppl_cli.drawing.samples import GAP, TILE, map_image, posed, to_image
from ppl_cli.drawing.save import save_animation, save_png
from ppl_cli.drawing.sheets import captioned, grid

MILLISECONDS = 900  # of a frame


@dataclass
class Column:
    image: torch.Tensor  # (3, S, S) in [-1, 1]
    keypoints: torch.Tensor  # (N, 2)
    skeleton: torch.Tensor | None = None  # (1, S, S); the last column has none
    reconstruction: torch.Tensor | None = None  # (3, S, S)

    def drawn(self) -> list[Image.Image]:
        """Skeleton map and reconstruction, or white."""
        if self.skeleton is None:
            return [Image.new("RGB", (TILE, TILE), "white")] * 2
        return [map_image(self.skeleton, self.skeleton.amax()), to_image(self.reconstruction)]


def titled(picture: Image.Image, number: int) -> Image.Image:
    return captioned(picture, "as it is" if number == 0 else f"iteration {number}", 20, (4, 2), 14)


def save_strip(path: Path, columns: list[Column], links: np.ndarray) -> None:
    pictures = []
    for number, column in enumerate(columns):
        tiles = [posed(to_image(column.image), column.keypoints, links), *column.drawn()]
        pictures.append(titled(grid(tiles, 1, GAP), number))
    save_png(path, grid(pictures, len(pictures), GAP))


def save_gif(path: Path, columns: list[Column], links: np.ndarray) -> None:
    """Input with pose, skeleton map and reconstruction side by side; the last frame, longer, has the final pose."""
    frames = []
    for number, column in enumerate(columns):
        drawn = column if column.skeleton is not None or number == 0 else columns[number - 1]
        tiles = [posed(to_image(column.image), column.keypoints, links), *drawn.drawn()]
        frames.append(titled(grid(tiles, 3, GAP), number))
    save_animation(path, frames, MILLISECONDS)
