"""Pictures of a prior: skeleton (PNG, SVG), link strengths, prototypes, banks, and how it came to be (GIF)."""

from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.drawing.overlay import draw_pose, keypoint_colours, sort_links
from ppl_cli.drawing.save import save_animation, save_png
from ppl_cli.drawing.shapes import paint
from ppl_cli.drawing.sheets import captioned, grid
from ppl_cli.files import replace_text
from ppl_cli.prior.prior import Prior
from ppl_cli.text import printable

SIDE, TILE, GAP, CAPTION = 640, 200, 6, 22
DARK = (38, 42, 48)
CELL = 0.14  # inches of the matrix of links for each keypoint, so that names do not overlap


def skeleton_picture(
    points: np.ndarray, weights: np.ndarray, side: int = SIDE, labels: bool = True, hollow: np.ndarray | None = None
) -> Image.Image:
    """points (N, 2) in [-1, 1] over a plain ground; `hollow` (N,) bool: those drawn as rings."""
    return draw_pose(Image.new("RGB", (side, side), DARK), points, weights, labels, hollow)


OUTLINE = 'stroke="#14161a" stroke-width="4" stroke-linejoin="round" paint-order="stroke"'  # or links hide the numbers


def save_svg(path: Path, prior: Prior) -> None:
    """Numbered keypoints, idle ones hollow, links by strength; names on hover."""
    places = (prior.points + 1) / 2 * SIDE
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" font-family="sans-serif">']
    parts.append(f'<rect width="{SIDE}" height="{SIDE}" fill="#262a30"/>')
    for strength, i, j in sort_links(prior.weights):
        (x1, y1), (x2, y2) = places[i], places[j]
        title = f"{escape(prior.names[i])} - {escape(prior.names[j])}: {prior.weights[i, j]:.3g}"
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="white" stroke-linecap="round" '
            f'stroke-width="{1 + 5 * strength:.1f}" stroke-opacity="{strength:.2f}"><title>{title}</title></line>'
        )
    for number, ((x, y), (r, g, b)) in enumerate(zip(places, keypoint_colours(len(places)), strict=True)):
        useful, colour = prior.keypoints[number].useful, f"rgb({r},{g},{b})"
        paints = f'fill="{colour}" stroke="#14161a"' if useful else f'fill="#262a30" stroke="{colour}"'
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" {paints} stroke-width="2">')
        parts.append(f"<title>{escape(prior.names[number])}{'' if useful else ', idle'}</title></circle>")
        parts.append(f'<text x="{x + 11:.1f}" y="{y - 8:.1f}" fill="white" font-size="18" {OUTLINE}>{number}</text>')
    replace_text(path, "\n".join([*parts, "</svg>\n"]))


def save_links(path: Path, prior: Prior) -> None:
    """The connectivity matrix; of long names the beginnings."""
    from matplotlib.figure import Figure

    side = max(4.4, CELL * len(prior.names) + 1.2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(prior.weights, cmap="viridis", vmin=0)
    ticks = range(len(prior.names))
    names = [printable(name, 24).replace("$", r"\$") for name in prior.names]
    axis.set_xticks(ticks, names, rotation=90, fontsize=8)
    axis.set_yticks(ticks, names, fontsize=8)
    axis.set_title("link weights", fontsize=10)
    figure.colorbar(shown, shrink=0.9)
    save_png(path, figure)


def titled(tile: Image.Image, text: str) -> Image.Image:
    return captioned(tile, text, CAPTION, (2, 3), 13)


def prototype_sheet(prior: Prior, images: list[Image.Image | None]) -> Image.Image:
    """Each prototype, and beside it the square of the image nearest to it with the prototype over it."""
    tiles = []
    for number, (prototype, image) in enumerate(zip(prior.prototypes, images, strict=True)):
        pose = skeleton_picture(prototype.points, prior.weights, TILE, labels=False)
        pair = Image.new("RGB", (TILE * (1 if image is None else 2), TILE))
        pair.paste(pose, (0, 0))
        if image is not None:
            square = image.resize((TILE, TILE), Image.Resampling.BICUBIC)
            pair.paste(draw_pose(square, prototype.points, prior.weights), (TILE, 0))
        tiles.append(titled(pair, f"{number}: {100 * prototype.frequency + 1e-9:.0f} % of poses"))
    return grid(tiles, 3, GAP)


def bank_sheet(prior: Prior, poses: list[np.ndarray]) -> Image.Image:
    """The usual pose, for each bank with each of its used vectors in turn, `poses[b]` (V, N, 2), laid over each other.

    Keypoints that the bank moves spread; the others stay one dot.
    """
    tiles = []
    colours = keypoint_colours(len(prior.names))
    for number, (bank, variants) in enumerate(zip(prior.banks, poses, strict=True)):
        used = [pose for share, pose in zip(bank.use, variants, strict=True) if share > 0]
        tile = np.array(skeleton_picture(variants[int(np.argmax(bank.use))], prior.weights, TILE, labels=False))
        for pose in used:
            places = (pose + 1) / 2 * (TILE - 1)
            paint(tile, [(place, place, [(2.25, colour, 0.8)]) for place, colour in zip(places, colours, strict=True)])
        tiles.append(titled(Image.fromarray(tile), f"bank {number}: {bank.perplexity:.1f} vectors used"))
    return grid(tiles, 4, GAP)


def save_evolution(path: Path, history: list[tuple[int, Prior]]) -> None:
    """(step, prior) in order, as an animation."""
    pictures = [skeleton_picture(prior.points, prior.weights, 320, labels=False) for _, prior in history]
    frames = [titled(picture, f"step {step}") for (step, _), picture in zip(history, pictures, strict=True)]
    save_animation(path, frames, 500)
