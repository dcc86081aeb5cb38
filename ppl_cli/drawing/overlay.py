"""A pose drawn over an image: numbered, coloured keypoints; links as strong as their weight; where keypoints came from."""

import colorsys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppl_cli.data.frame import Frame
from ppl_cli.drawing.shapes import find_discs, paint
from ppl_cli.prior.links import find_skeleton

SMALLEST, LARGEST = 240, 1024  # pixels of the longer side of an overlay picture
DARK, WHITE = (20, 20, 20), (255, 255, 255)


@lru_cache
def keypoint_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours of equal lightness around the circle; a keypoint has the same colour in every picture."""
    hues = (np.arange(count) * 0.618034) % 1  # golden ratio: neighbours in number differ most
    return tuple(tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue, 0.55, 0.95)) for hue in hues)


def overlay(
    image: Image.Image,
    keypoints_px: np.ndarray,
    links: np.ndarray,
    labels: bool = True,
    hollow: np.ndarray | None = None,
    inferred: np.ndarray | None = None,
) -> Image.Image:
    """image RGB; keypoints_px (N, 2) in its pixels, NaN where missing; links (N, N) weights; the others as in `draw_over`.

    Returns an RGB image whose longer side lies between 240 and 1024 pixels.
    """
    longest = max(image.size)
    zoom = min(max(1.0, SMALLEST / longest), LARGEST / longest)
    size = (max(1, round(image.width * zoom)), max(1, round(image.height * zoom)))
    picture = np.array(image if size == image.size else image.resize(size, Image.Resampling.BICUBIC))
    draw_over(picture, (np.asarray(keypoints_px) + 0.5) * zoom - 0.5, links, labels, hollow, inferred)
    return Image.fromarray(picture)


def draw_over(
    picture: np.ndarray,
    points: np.ndarray,
    links: np.ndarray,
    labels: bool = True,
    hollow: np.ndarray | None = None,
    inferred: np.ndarray | None = None,
    trail: Sequence[np.ndarray] = (),
) -> None:
    """Draw a pose into `picture` (H, W, 3) uint8, contiguous, in place.

    `points` (N, 2) in its pixels, NaN where missing; `hollow` (N,) bool: keypoints that are drawn as rings; `inferred` (N,)
    bool: those drawn as crosses; `trail`: where the keypoints were before, (N, 2) each, the oldest first.
    """
    unit = max(1.0, max(picture.shape) / 100)  # of line widths and radii
    inferred = np.zeros(len(points), bool) if inferred is None else inferred
    hollow = (np.zeros(len(points), bool) if hollow is None else hollow) & ~inferred
    pixels, holes = picture.reshape(-1, 3), find_discs(picture, points[hollow], 0.75 * unit)
    below = pixels[holes]
    draw_trail(picture, [*trail, points], unit)
    draw_links(picture, points, links, unit)
    if labels:
        draw_numbers(picture, points, unit)
    pixels[holes] = below  # rings show the image, not what leads to them
    draw_dots(picture, points, unit, hollow, inferred)


def draw_pose(
    square: Image.Image, keypoints: np.ndarray, links: np.ndarray, labels: bool = False, hollow: np.ndarray | None = None
) -> Image.Image:
    """The network's square, in any size, with a pose (N, 2), normalised, over it; of the same size."""
    drawn = overlay(square, Frame(*square.size, square.width).to_pixels(keypoints), links, labels, hollow)
    return drawn if drawn.size == square.size else drawn.resize(square.size, Image.Resampling.LANCZOS)


def sort_links(links: np.ndarray) -> Iterator[tuple[float, int, int]]:
    """(share of the strongest, i, j) of the skeleton of links (N, N), the weakest first, so that strong ones lie above."""
    pairs = np.argwhere(np.triu(find_skeleton(links)))
    yield from sorted((links[i, j] / links.max(), i, j) for i, j in pairs)


def draw_trail(picture: np.ndarray, places: Sequence[np.ndarray], unit: float) -> None:
    """From place to place a line, thinner the older it is."""
    widest, colours = 0.6 * unit, keypoint_colours(len(places[-1]))
    paint(
        picture,
        [
            (start, end, [(widest * age / len(places), colour, 1)])
            for age, (before, after) in enumerate(pairwise(places), 1)
            for colour, start, end in zip(colours, before, after, strict=True)
        ],
    )


def draw_links(picture: np.ndarray, points: np.ndarray, links: np.ndarray, unit: float) -> None:
    lines = []
    for strength, i, j in sort_links(links):
        edge, core = unit * (0.2 + 0.5 * strength), unit * (0.05 + 0.3 * strength)
        lines.append((points[i], points[j], [(edge, DARK, 0.78 * strength), (core, WHITE, strength)]))
    paint(picture, lines)


def draw_dots(picture: np.ndarray, points: np.ndarray, unit: float, hollow: np.ndarray, inferred: np.ndarray) -> None:
    dots = []
    for colour, point, ring, cross in zip(keypoint_colours(len(points)), points, hollow, inferred, strict=True):
        if cross:
            arms = [(point - arm, point + arm) for arm in np.array([(1, 1), (1, -1)]) * 1.2 * unit]
            dots += [(*arm, [(radius * unit, tint, 1)]) for radius, tint in ((0.8, DARK), (0.45, colour)) for arm in arms]
            continue
        layers = [(1.4, DARK, 1), (1.05, colour, 1)]
        if ring:
            layers = [(1.5, DARK, 1), (1.25, colour, 1), (0.8, DARK, 1), (0.6, DARK, 0)]
        dots.append((point, point, [(radius * unit, tint, opacity) for radius, tint, opacity in layers]))
    paint(picture, dots)


def draw_numbers(picture: np.ndarray, points: np.ndarray, unit: float) -> None:
    """White with a dark edge, readable on anything; a number never hides a dot, since dots are drawn after it.

    It stands to the right of the keypoint and above, or where the picture ends there, to the left or below.
    """
    width = picture.shape[1]
    for number, (x, y) in enumerate(points):
        if np.isfinite((x, y)).all():
            left, top, stamp = draw_number(number, max(10, unit * 3.2))
            right, bottom = left + stamp.shape[1], top + stamp.shape[0]
            beside, above = round(x + unit * 1.6) + left, round(y - unit * 1.2) + top
            if x < width <= beside + stamp.shape[1]:
                beside = round(x - unit * 1.6) - right
            if above < 0 <= y:
                above = round(y + unit * 1.2) - bottom
            put(picture, stamp, beside, above)


@lru_cache(maxsize=256)
def draw_number(number: int, size: float) -> tuple[int, int, np.ndarray]:
    """Where the number lies beside its lower left corner, and (h, w, 4) RGBA, colours times opacity."""
    font, text = ImageFont.load_default(size=size), {"text": str(number), "anchor": "ls", "stroke_width": 2}
    left, top, right, bottom = (int(side) for side in font.getbbox(**text))
    image = Image.new("RGBA", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), fill=WHITE, font=font, stroke_fill=DARK, **text)
    return left, top, np.asarray(image)


def put(picture: np.ndarray, stamp: np.ndarray, left: int, top: int) -> None:
    """Lay `stamp`, as `draw_number` gives it, over the picture; what lies beyond the edge is cut off."""
    (height, width), (rows, columns) = picture.shape[:2], stamp.shape[:2]
    stamp = stamp[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    below = picture[max(0, top) : max(0, top + rows), max(0, left) : max(0, left + columns)]
    below[:] = (below * np.uint16(1) * (255 - stamp[..., 3:]) + 127) // 255 + stamp[..., :3]
