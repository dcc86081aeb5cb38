"""Discs, rings and lines with smooth edges, painted only where they are.

A shape is a capsule: all that lies within a radius of a segment; a disc is one of no length. The distance from a pixel to
the segment says how much of the pixel the shape covers, so an edge is one pixel wide and nothing has to be drawn enlarged.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite

import numpy as np

# Radius in pixels, colour (0..255), opacity (0..1). Layers lie over each other: each replaces what is below it, so one of
# opacity 0 is a hole.
Layer = tuple[float, Sequence[int], float]
Point = tuple[float, float]
Line = tuple[Point, Point, float, Sequence[int]]  # from, to, radius, colour


def paint(picture: np.ndarray, start: Sequence[float], end: Sequence[float], layers: Sequence[Layer]) -> None:
    """Paint one capsule into `picture` (H, W, 3) uint8, contiguous, in place.

    `start` and `end` are (x, y) in pixels, origin at the centre of the top left pixel; `layers` from the widest inwards. What
    lies beyond the edge is cut off.
    """
    place, distance = reach(picture.shape, np.asarray(start, float), np.asarray(end, float), layers[0][0] + 0.5)
    drawn = np.zeros((len(place), 4), np.float32)  # tint times opacity, and opacity
    for radius, tint, opacity in layers:
        cover = np.clip(radius + 0.5 - distance, 0, min(1, 2 * radius))[:, None]  # of a line thinner than a pixel: its width
        drawn += cover * (opacity * np.float32((*tint, 1)) - drawn)
    pixels = picture.reshape(-1, 3)
    pixels[place] = pixels[place] * (1 - drawn[:, 3:]) + drawn[:, :3] + 0.5


def paint_lines(picture: np.ndarray, lines: Sequence[Line], widest: float) -> None:
    """Paint many lines, whose radii are at most `widest`, at once; where some cross, the one that covers most is seen.

    Those that were painted before, into a picture of the same size, take little time. Lines without an end are left out.
    """
    lines = [line for line in lines if all(map(isfinite, (*line[0], *line[1])))]
    if not lines:
        return
    found = [reach_again(picture.shape, start, end, widest + 0.5) for start, end, _, _ in lines]
    counts, (place, distance) = [len(places) for places, _ in found], map(np.concatenate, zip(*found, strict=True))
    radius = np.repeat(np.float32([radius for _, _, radius, _ in lines]), counts)
    cover = np.clip(radius + 0.5 - distance, 0, np.minimum(1, 2 * radius))
    order = np.argsort(cover)
    order = order[np.searchsorted(cover[order], 0, "right") :]
    colour = np.float32([colour for *_, colour in lines])[np.repeat(np.arange(len(lines)), counts)[order]]
    place, cover, pixels = place[order], cover[order, None], picture.reshape(-1, 3)
    pixels[place] = pixels[place] * (1 - cover) + colour * cover + 0.5  # of several values for a pixel NumPy keeps the last


@lru_cache(maxsize=4096)
def reach_again(shape: tuple[int, ...], start: Point, end: Point, radius: float) -> tuple[np.ndarray, np.ndarray]:
    return reach(shape, np.array(start), np.array(end), radius)


def reach(shape: tuple[int, ...], start: np.ndarray, end: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of a picture (H, W, ...) lie less than `radius` from a segment: numbers, row by row, and distances (M,).

    Looked at are only those in a band along the segment: in every column, or every row where it is steep, equally many.
    """
    step = end - start
    a = int(abs(step[1]) > abs(step[0]))  # the axis that it runs along, and the one across
    b = 1 - a
    sizes, strides = (shape[1], shape[0]), (1, shape[1])
    first, last = min(start[a], end[a]) - radius, max(start[a], end[a]) + radius
    along = np.arange(*np.clip((np.ceil(first), np.floor(last) + 1), 0, sizes[a]).astype(int))[:, None]
    slope = step[b] / step[a] if step[a] else 0.0
    half = radius * np.hypot(1, slope)
    centre = start[b] + slope * (np.clip(along, min(start[a], end[a]), max(start[a], end[a])) - start[a])
    across = np.ceil(centre - half).astype(int) + np.arange(int(2 * half) + 1)
    u, v = along - start[a], across - start[b]
    share = np.clip((u * step[a] + v * step[b]) / max(step @ step, 1e-12), 0, 1)
    distance = np.hypot(u - share * step[a], v - share * step[b])
    there = (distance < radius) & (across >= 0) & (across < sizes[b])
    return (along * strides[a] + across * strides[b])[there], distance[there].astype(np.float32)
