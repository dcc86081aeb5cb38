"""The pictures of README: a run's prior, then its poses on some images, in a row.

python -m tests.benchmarks.readme_pictures RUN OUT.jpg IMAGE...
python -m tests.benchmarks.readme_pictures RUN OUT.jpg figures      # held-out drawn figures
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.data.figures import figure
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import decode
from ppl_cli.device import choose_compute
from ppl_cli.drawing.overlay import overlay
from ppl_cli.inference.estimate import Estimator

TILE, GAP = 220, 6


def row(run: str, images: list[Image.Image]) -> Image.Image:
    checkpoint = load_model(run)
    estimator = Estimator(checkpoint.model, choose_compute("cpu", "fp32"))
    links = checkpoint.model.link_weights().detach().numpy()
    size, resize = checkpoint.config.model.image_size, checkpoint.config.data.resize

    grey = Image.new("RGB", (TILE, TILE), (40, 40, 40))
    tiles = [overlay(grey, Frame(TILE, TILE, size, "squash").to_pixels(estimator.prior.numpy()), links)]
    for image in images:
        frame = Frame(*image.size, size, resize)
        keypoints = frame.to_pixels(estimator(frame.apply_image(image)[None])[0])
        tiles.append(overlay(image, keypoints, links, labels=False))
    picture = Image.new("RGB", (len(tiles) * (TILE + GAP) - GAP, TILE), "white")
    for number, tile in enumerate(tiles):
        picture.paste(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), (number * (TILE + GAP), 0))
    return picture


if __name__ == "__main__":
    run, out, *names = sys.argv[1:]
    if names == ["figures"]:
        pictures = [Image.fromarray(np.asarray(figure(k, 220, 10**6)[0])) for k in range(6)]
    else:
        pictures = [decode(Path(name)) for name in names]
    row(run, pictures).save(out, quality=88)
