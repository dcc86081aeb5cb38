"""A pose drawn over an image: numbered, coloured keypoints; links as strong as their weight.

Everything is drawn at four times the size and reduced, which is what makes lines smooth with Pillow.
"""

import colorsys
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppl_cli.data.frame import Frame

SMOOTH = 4
SMALLEST, LARGEST = 320, 1024  # pixels of the longer side of an overlay picture


def keypoint_colours(count: int) -> list[tuple[int, int, int]]:
    """Colours of equal lightness around the circle; a keypoint has the same colour in every picture."""
    hues = (np.arange(count) * 0.618034) % 1  # golden ratio: neighbours in number differ most
    return [tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue, 0.55, 0.95)) for hue in hues]


def overlay(image: Image.Image, keypoints_px: np.ndarray, links: np.ndarray, labels: bool = True) -> Image.Image:
    """image RGB; keypoints_px (N, 2) in its pixels, NaN where missing; links (N, N) weights.

    Returns an RGB image whose longer side lies between 320 and 1024 pixels.
    """
    longest = max(image.size)
    zoom = min(max(1.0, SMALLEST / longest), LARGEST / longest)
    picture = image.resize([max(1, round(side * zoom)) for side in image.size], Image.Resampling.BICUBIC)
    points = (np.asarray(keypoints_px) + 0.5) * zoom
    unit = max(picture.size) / 100  # of line widths and radii
    draw_smoothly(picture, lambda draw: draw_links(draw, points * SMOOTH, links, unit * SMOOTH))
    if labels:
        draw_numbers(ImageDraw.Draw(picture), points, unit)
    draw_smoothly(picture, lambda draw: draw_dots(draw, points * SMOOTH, unit * SMOOTH))
    return picture


def draw_pose(square: Image.Image, keypoints: np.ndarray, links: np.ndarray, labels: bool = False) -> Image.Image:
    """The network's square, in any size, with a pose (N, 2), normalised, over it; of the same size."""
    drawn = overlay(square, Frame(*square.size, square.width).to_pixels(keypoints), links, labels)
    return drawn if drawn.size == square.size else drawn.resize(square.size, Image.Resampling.LANCZOS)


def draw_smoothly(picture: Image.Image, paint: Callable[[ImageDraw.ImageDraw], None]) -> None:
    layer = Image.new("RGBA", [side * SMOOTH for side in picture.size], (0, 0, 0, 0))
    paint(ImageDraw.Draw(layer))
    layer = layer.resize(picture.size, Image.Resampling.BOX)
    picture.paste(layer, (0, 0), layer)


def sort_links(links: np.ndarray) -> Iterator[tuple[float, int, int]]:
    """(share of the strongest, i, j) of links (N, N), the weakest first, so that strong ones lie above."""
    strongest = max(float(links.max(initial=0)), 1e-12)
    yield from sorted((links[i, j] / strongest, i, j) for i, j in combinations(range(len(links)), 2))


def draw_links(draw: ImageDraw.ImageDraw, points: np.ndarray, links: np.ndarray, unit: float) -> None:
    """`points` in pixels of the drawing."""
    for strength, i, j in sort_links(links):
        if strength >= 0.15 and np.isfinite(points[[i, j]]).all():
            ends = [tuple(points[i]), tuple(points[j])]
            draw.line(ends, fill=(20, 20, 20, round(200 * strength)), width=max(1, round(unit * (0.4 + 1.0 * strength))))
            draw.line(ends, fill=(255, 255, 255, round(255 * strength)), width=max(1, round(unit * (0.1 + 0.6 * strength))))


def draw_dots(draw: ImageDraw.ImageDraw, points: np.ndarray, unit: float) -> None:
    for colour, (x, y) in zip(keypoint_colours(len(points)), points, strict=True):
        if np.isfinite((x, y)).all():
            box = (x - 1.4 * unit, y - 1.4 * unit, x + 1.4 * unit, y + 1.4 * unit)
            draw.ellipse(box, fill=(*colour, 255), outline=(20, 20, 20, 255), width=max(1, round(unit * 0.35)))


def draw_numbers(draw: ImageDraw.ImageDraw, points: np.ndarray, unit: float) -> None:
    """White with a dark edge, readable on anything; a number never hides a dot, since dots are drawn after it."""
    font = ImageFont.load_default(size=max(10, unit * 3.2))
    for number, (x, y) in enumerate(points):
        if np.isfinite((x, y)).all():
            place = (x + unit * 1.6, y - unit * 1.2)
            draw.text(place, str(number), fill="white", font=font, anchor="ls", stroke_width=2, stroke_fill=(20, 20, 20))
