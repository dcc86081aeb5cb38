"""Pictures of an evaluation: error distribution, occlusion curves, best, median and worst images."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppl_cli.drawing.save import save_png
from ppl_cli.drawing.shapes import paint
from ppl_cli.drawing.sheets import captioned, grid

TILE, GAP, CAPTION, LETTERS = 320, 8, 22, 15
TRUTH, MAPPED = (60, 220, 90), (255, 60, 170)
COLOURS = ("#2a6f97", "#c1121f", "#588157", "#e09f3e", "#6a4c93", "#0096c7", "#9c6644", "#111111", "#f28482")


def save_distribution(path: Path, errors: dict[str, np.ndarray], baseline: np.ndarray, protocol: str) -> None:
    """Share of keypoints whose error stays below a distance; `errors` (M, K) in % of the image side, by model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axis = figure.subplots()
    reach = np.nanpercentile(baseline, 99) * 1.2
    for (name, values), colour in zip(errors.items(), COLOURS * len(errors), strict=False):
        label = name.replace("$", r"\$")
        label = f" {label}" if label.startswith("_") else label  # legends leave out what begins so
        axis.plot(*cumulative(values), label=label, color=colour, linewidth=1.8)
    axis.plot(*cumulative(baseline), label="mean pose", color="#888888", linestyle="--", linewidth=1.5)
    axis.set(xlabel=f"error of {protocol} in % of the image side", ylabel="% of keypoints")
    axis.set(xlim=(0, max(reach, 1e-6)), ylim=(0, 100))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=9)
    save_png(path, figure)


def cumulative(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.sort(errors[np.isfinite(errors)])
    return np.concatenate(([0], values)), 100 * np.arange(len(values) + 1) / max(len(values), 1)


def save_sweep(path: Path, labels: list[str], values: np.ndarray, whole: float, unit: str) -> None:
    """One curve of error against iteration for each occlusion; `values` (occlusions, iterations + 1)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    kinds = list(dict.fromkeys(label.split()[0] for label in labels))
    figure = Figure(figsize=(5 * len(kinds) + 0.5, 4.2), layout="constrained")
    axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axis, kind in zip(axes, kinds, strict=True):
        rows = [row for row, label in enumerate(labels) if label.split()[0] == kind]
        for place, row in enumerate(rows):
            colour = COLOURS[place % len(COLOURS)]
            axis.plot(values[row], marker="o", markersize=4, label=labels[row], color=colour, linewidth=1.6)
        axis.axhline(whole, color="#888888", linestyle="--", linewidth=1.2, label="whole images")
        axis.set(xlabel="iteration", title={"random": "random patches hidden", "center": "centre hidden"}.get(kind, kind))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set_ylabel(f"error ({unit})")
    save_png(path, figure)


def save_cases(
    path: Path, rows: list[tuple[str, list[tuple[Image.Image, np.ndarray, np.ndarray, str]]]], protocol: str
) -> None:
    """Rows (title, images) of one length; each image with its truth and prediction (K, 2), as the protocol of that name maps
    it, in pixels, and a caption.
    """
    tiles = [
        captioned(case(image, truth, mapped), f"{title}: {caption}", CAPTION, (0, 0), LETTERS)
        for title, images in rows
        for image, truth, mapped, caption in images
    ]
    cases = grid(tiles, len(tiles) // len(rows), GAP)
    sheet = Image.new("RGB", (cases.width + 2 * GAP, cases.height + 34 + GAP), "white")
    sheet.paste(cases, (GAP, 34))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=LETTERS)
    draw.text((GAP, 7), "truth: ring", fill=(30, 140, 60), font=font)
    draw.text((GAP + 110, 7), f"prediction, mapped by {protocol}: dot", fill=(200, 30, 130), font=font)
    save_png(path, sheet)


def case(image: Image.Image, truth: np.ndarray, mapped: np.ndarray) -> Image.Image:
    zoom = TILE / max(image.size)
    picture = Image.new("RGB", (TILE, TILE), (240, 240, 240))
    picture.paste(image.resize([max(1, round(side * zoom)) for side in image.size], Image.Resampling.BICUBIC), (0, 0))
    pixels = np.array(picture)
    for true, found in zip((truth + 0.5) * zoom - 0.5, (mapped + 0.5) * zoom - 0.5, strict=True):
        if np.isfinite((true, found)).all():
            line = (true, found, [(0.8, (255, 255, 255), 0.86)])
            ring, dot = [(6, TRUTH, 1), (4, TRUTH, 0)], [(3.5, (20, 20, 20), 1), (3.2, MAPPED, 1)]
            paint(pixels, [line, (true, true, ring), (found, found, dot)])
    return Image.fromarray(pixels)
