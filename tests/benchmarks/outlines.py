"""Which keypoints lie on the mouse of mirror_mouse, by outlines that were drawn by eye (outlines.yaml).

Its annotated keypoints are paws, nose and tail: their hull leaves out the back, and takes in what lies between the legs.
"""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

from ppl_cli.evaluation.protocols import Sample

OUTLINES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
SIZE = 500  # pixels of the mask that an outline is filled into
LIMB = 3.5  # % of the side: the width of a limb


def on_outline(test: Sample, near: float) -> float:
    """Share of found keypoints on the mouse, or nearer to it than `near` (a share of the side), in the images that have an
    outline."""
    inside = []
    for name, found in zip(test.names, test.found, strict=True):
        if Path(name).stem in OUTLINES:
            gaps = distance_transform_edt(~fill(Path(name).stem)) / SIZE
            columns, rows = np.clip(found * SIZE, 0, SIZE - 1).astype(int).T
            inside.append(gaps[rows, columns] <= near)
    return float(np.mean(inside))


def fill(name: str) -> np.ndarray:
    """(SIZE, SIZE) bool: True on the mouse."""
    mask = Image.new("1", (SIZE, SIZE))
    draw, outline = ImageDraw.Draw(mask), OUTLINES[name]
    for corners in outline["bodies"]:
        draw.polygon(to_pixels(corners), fill=1)
    for corners in outline["limbs"]:
        draw.line(to_pixels(corners), fill=1, width=round(LIMB / 100 * SIZE))
    return np.asarray(mask)


def to_pixels(corners: str) -> list[tuple[float, ...]]:
    return [tuple(float(number) / 100 * SIZE for number in corner.split(",")) for corner in corners.split()]
