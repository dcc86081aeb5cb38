"""docs/uncover.jpg: covered images, what a model takes for hidden, and poses before and after refinement.

python -m tests.benchmarks.covered_pictures RUN OUT.jpg COVER.jpg IMAGE...
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ppl_cli.api.predictor import load
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import decode
from ppl_cli.drawing.overlay import keypoint_colours, overlay
from ppl_cli.drawing.sheets import captioned
from ppl_cli.inference.refine import Options, refine

TILE, GAP, SIDE = 230, 5, 480
TITLES = ("something in the way", "taken for hidden (grey)", "pose found", "repaired", "pose of the whole image")
WOOD, GREY = (181, 147, 91), 128


def bars(image: np.ndarray, at: float) -> None:
    for left in (at, at + 0.2):
        image[:, round(left * SIDE) : round((left + 0.08) * SIDE)] = WOOD


def card(image: np.ndarray, cover: np.ndarray) -> None:
    image[round(0.57 * SIDE) :, round(0.57 * SIDE) :][: len(cover), : cover.shape[1]] = cover


def chequers(image: np.ndarray) -> None:
    colours = keypoint_colours(35)
    for number, colour in enumerate(colours):
        top, left = (round(SIDE * (0.4 + 0.052 * part)) for part in divmod(number, 7))
        image[top : top + 25, left : left + 25] = colour


def row(model, whole: Image.Image, covered: Image.Image) -> list[Image.Image]:
    size = model.config.model.image_size
    frame = Frame(*covered.size, size, model.config.data.resize)
    square = model.estimator.to_images(np.array(frame.apply_image(covered))[None])
    visible = refine(model.estimator, square, None, Options(method="found"), None, [frame]).visible[0, 0]
    hidden = Image.fromarray(np.uint8(255 * (visible.numpy() == 0))).resize(covered.size, Image.Resampling.NEAREST)
    seen = covered.copy()
    seen.paste((GREY, GREY, GREY), mask=hidden)
    refined = model.refine(covered).refined.keypoints
    poses = ((covered, refined[0]), (covered, refined[-1]), (whole, model(whole).keypoints))
    return [covered, seen, *(overlay(image, points, model.bare_prior.weights, labels=False) for image, points in poses)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    run, out, cover, *names = sys.argv[1:]
    model = load(run, device="cpu")
    small = np.asarray(decode(Path(cover)).resize((round(SIDE / 3), round(SIDE / 3))))
    covers = (lambda image: bars(image, 0.47), lambda image: card(image, small), lambda image: bars(image, 0.2), chequers)
    rows = []
    for name, hide in zip(names, covers, strict=True):
        whole = decode(Path(name)).resize((SIDE, SIDE))
        covered = np.array(whole)
        hide(covered)
        tiles = [tile.resize((TILE, TILE), Image.Resampling.LANCZOS) for tile in row(model, whole, Image.fromarray(covered))]
        if not rows:
            tiles = [captioned(tile, title, 22, (2, 1), 15) for tile, title in zip(tiles, TITLES, strict=True)]
        rows.append(tiles)
    height = sum(tiles[0].height + GAP for tiles in rows) - GAP
    picture, top = Image.new("RGB", (len(TITLES) * (TILE + GAP) - GAP, height), "white"), 0
    for tiles in rows:
        for column, tile in enumerate(tiles):
            picture.paste(tile, (column * (TILE + GAP), top))
        top += tiles[0].height + GAP
    picture.save(out, quality=88)
