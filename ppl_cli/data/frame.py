"""Pixel coordinates of the original image <-> normalised coordinates of the network's square input.

`*_px`: (x, y) in pixels of the original image as displayed, origin at the centre of the top left pixel.
`keypoints`: (x, y) in [-1, 1], where -1 and +1 are the centres of the first and last pixel of the square.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Resize = Literal["letterbox", "squash"]
PADDING = (128, 128, 128)  # neutral grey, what hidden cells of a reference image are filled with


@dataclass(frozen=True)
class Frame:
    """How one original image of (width, height) pixels lies in the network's size x size input.

    `squash` stretches both sides to the square, as the original implementation does. `letterbox` keeps the aspect
    ratio and centres the picture on grey.
    """

    width: int
    height: int
    size: int
    resize: Resize = "letterbox"

    @property
    def inner(self) -> tuple[int, int]:
        """(width, height) that the picture takes within the square, in its pixels."""
        if self.resize == "squash":
            return self.size, self.size
        longest = max(self.width, self.height)
        return max(1, round(self.width * self.size / longest)), max(1, round(self.height * self.size / longest))

    @property
    def corner(self) -> tuple[int, int]:
        """(left, top) of the picture within the square."""
        width, height = self.inner
        return (self.size - width) // 2, (self.size - height) // 2

    @property
    def picture(self) -> tuple[slice, slice]:
        """(rows, columns) of the square that the picture takes; around it is padding."""
        (left, top), (width, height) = self.corner, self.inner
        return slice(top, top + height), slice(left, left + width)

    @property
    def mirrored(self) -> tuple[np.ndarray, np.ndarray]:
        """(size,) rows, (size,) columns: the square with the mirror image of the picture in place of padding."""
        rows, columns = (
            np.pad(np.arange(at.start, at.stop), (at.start, self.size - at.stop), "symmetric") for at in self.picture
        )
        return rows, columns

    def apply_image(self, image: Image.Image) -> np.ndarray:
        """RGB image of (width, height) -> (size, size, 3) uint8."""
        resized = image.resize(self.inner, Image.Resampling.BILINEAR)
        if self.inner == (self.size, self.size):
            return np.asarray(resized)
        square = Image.new("RGB", (self.size, self.size), PADDING)
        square.paste(resized, self.corner)
        return np.asarray(square)

    def apply_occluded(self, image: Image.Image, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RGB image and what of it is hidden (height, width) bool -> (size, size, 3) uint8 and (size, size) bool.

        Visible pixels of the square are mixed from visible ones alone, so the occluder's colour does not bleed into its
        surroundings; a pixel is hidden where more than half of what it shows is.
        """

        def resized(values: np.ndarray) -> np.ndarray:
            return np.asarray(Image.fromarray(values.astype(np.float32)).resize(self.inner, Image.Resampling.BILINEAR))

        share = resized(~hidden)
        pixels = np.asarray(image) * ~hidden[..., None]
        colours = np.stack([resized(pixels[..., channel]) for channel in range(3)], -1) / np.maximum(share, 1e-3)[..., None]
        inner = np.where((share < 0.5)[..., None], PADDING, np.clip(np.rint(colours), 0, 255))
        square = np.full((self.size, self.size, 3), PADDING, np.uint8)
        square[self.picture] = inner
        covered = np.zeros((self.size, self.size), bool)
        covered[self.picture] = share < 0.5
        return square, covered

    def to_normalised(self, keypoints_px: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the original -> (..., 2) normalised. NaN stays NaN."""
        # Resizing maps pixel edges to pixel edges, so the half pixel is added before scaling and taken off after.
        scale = np.array(self.inner) / (self.width, self.height)
        in_square = (np.asarray(keypoints_px, dtype=np.float64) + 0.5) * scale + self.corner - 0.5
        return in_square / (self.size - 1) * 2 - 1

    def to_pixels(self, keypoints: np.ndarray) -> np.ndarray:
        """(..., 2) normalised -> (..., 2) pixels of the original. Inverse of `to_normalised`."""
        scale = np.array(self.inner) / (self.width, self.height)
        in_square = (np.asarray(keypoints, dtype=np.float64) + 1) / 2 * (self.size - 1)
        return (in_square - self.corner + 0.5) / scale - 0.5

    @property
    def sides(self) -> np.ndarray:
        """(2,) pixels of the original that the sides of the square stand for: what errors are measured against."""
        return np.array([self.width, self.height] if self.resize == "squash" else [max(self.width, self.height)] * 2)

    def inside(self, keypoints_px: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the original -> (...) bool: within the outer edges of the picture. NaN is not."""
        return ((keypoints_px >= -0.5) & (keypoints_px < np.array([self.width, self.height]) - 0.5)).all(-1)

    def to_shares(self, keypoints_px: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the original -> shares of the image side, 0 at the outer edge of the first pixel."""
        return (np.asarray(keypoints_px, dtype=np.float64) + 0.5) / self.sides


Fit = Callable[[int, int], Frame]  # how an image of (width, height) pixels will lie in the network's square
