"""Discs, rings and lines with smooth edges, painted only where they are.

A shape is a capsule: all that lies within a radius of a segment; a disc is one of no length. The distance from a pixel to
the segment says how much of the pixel the shape covers, so an edge is one pixel wide and nothing has to be drawn enlarged.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Radius in pixels, colour (0..255), opacity (0..1). Layers lie over each other, the widest first: each replaces what is below
# it, so one of opacity 0 is a hole.
Layer = tuple[float, Sequence[int], float]
Capsule = tuple[Sequence[float], Sequence[float], Sequence[Layer]]  # from (x, y), to (x, y), layers
NO_LAYER: Layer = (0.0, (0, 0, 0), 0.0)
FAR = 1e6  # pixels
TOGETHER = 32  # capsules that are computed at once: of 500 at 1,024 pixels, more than 100 MiB


def paint(picture: np.ndarray, capsules: Sequence[Capsule]) -> None:
    """Paint into `picture` (H, W, 3) uint8, contiguous, in place; later capsules lie over earlier ones.

    Their ends are in pixels, origin at the centre of the top left pixel. What lies beyond the edge is cut off; a capsule
    without an end (NaN), or with one far away, is left out. Many are computed at once: most of the time would else go into
    NumPy's calls.
    """
    for first in range(0, len(capsules), TOGETHER):
        paint_together(picture, capsules[first : first + TOGETHER])


def paint_together(picture: np.ndarray, capsules: Sequence[Capsule]) -> None:
    ends = np.array([(start, end) for start, end, _ in capsules], float).reshape(-1, 2, 2)
    known = (np.abs(ends) < FAR).all((1, 2))
    if not known.any():
        return
    depth = max(len(layers) for *_, layers in capsules)
    padded = [(*layers, *[NO_LAYER] * (depth - len(layers))) for *_, layers in capsules]
    table = np.float32([[(radius, *tint, opacity) for radius, tint, opacity in layers] for layers in padded])[known]
    place, distance, counts = reach(picture.shape, ends[known], table[:, 0, 0] + 0.5)
    drawn = np.zeros((4, len(place)), np.float32)  # tint times opacity, and opacity
    for radius, *tint, opacity in table.transpose(1, 2, 0):
        # Of a line thinner than a pixel: its width.
        cover = np.clip(np.repeat(radius + 0.5, counts) - distance, 0, np.repeat(np.minimum(1, 2 * radius), counts))
        for channel, colour in zip(drawn, (*tint, 1), strict=True):
            channel += cover * (np.repeat(colour * opacity, counts) - channel)
    pixels = picture.reshape(-1, 3)
    below, above = np.repeat(1 - drawn[3], 3).reshape(-1, 3), np.ascontiguousarray(drawn[:3].T + np.float32(0.5))
    for first, last in pairwise(np.cumsum([0, *counts]).tolist()):
        its = place[first:last]
        pixels[its] = (pixels.take(its, 0) * below[first:last] + above[first:last]).astype(np.uint8)


def find_discs(picture: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
    """Which pixels of a picture (H, W, 3), numbered row by row, lie less than `radius` from one of these (L, 2)."""
    known = centres[(np.abs(centres) < FAR).all(1)]
    if not len(known):
        return np.zeros(0, int)
    return reach(picture.shape, np.stack((known, known), 1), np.full(len(known), radius))[0]


def reach(shape: tuple[int, ...], ends: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pixels of a picture (H, W, ...) lie less than `radius` (L,) from segments, whose `ends` (L, 2, 2) are (x, y).

    Returns the pixels, numbered row by row, and distances (M,), segment after segment, and how many each has (L,). Looked at
    are only those in a band along the segment: in every column, or every row where it is steep, equally many.
    """
    step = ends[:, 1] - ends[:, 0]
    steep = np.abs(step[:, 1]) > np.abs(step[:, 0])
    (a, b), (run, rise) = (np.where(steep, axes[::-1], axes) for axes in (ends.mean(1).T, step.T))  # along it, and across
    size, width = np.where(steep, shape[0], shape[1]), np.where(steep, shape[1], shape[0])
    stride, stride_across = np.where(steep, shape[1], 1), np.where(steep, 1, shape[1])

    length, reached = np.hypot(run, rise), np.abs(run) / 2
    first = np.clip(np.ceil(a - reached - radius), 0, size).astype(int)
    last = np.clip(np.floor(a + reached + radius) + 1, 0, size).astype(int)
    own = np.repeat(np.arange(len(ends)), last - first)  # which segment's it is, of every column or row that is looked at
    i = np.arange(len(own)) + (last - np.cumsum(last - first))[own]
    slope = rise / np.where(run, run, 1)
    half = radius * np.hypot(1, slope)
    u = i - a[own]
    v = np.ceil(b[own] + slope[own] * np.clip(u, -reached[own], reached[own]) - half[own])
    across = v.astype(int)[:, None] + np.arange(int(2 * half.max()) + 1)

    # Turned so that the segment lies level, its middle at 0: (column or row, pixel of it).
    cosine, sine = np.where(length, (run, rise) / np.where(length, length, 1), [[1], [0]]).astype(np.float32)[:, own, None]
    u, v = u.astype(np.float32)[:, None], (across - b[own, None]).astype(np.float32)
    beyond = np.maximum(np.abs(u * cosine + v * sine) - (length / 2).astype(np.float32)[own, None], 0)
    square = beyond**2 + (v * cosine - u * sine) ** 2
    there = (square < (radius**2).astype(np.float32)[own, None]) & (across >= 0) & (across < width[own, None])
    place = (i * stride[own])[:, None] + across * stride_across[own, None]
    return place[there], np.sqrt(square[there]), np.bincount(own, np.count_nonzero(there, 1), len(ends)).astype(int)
