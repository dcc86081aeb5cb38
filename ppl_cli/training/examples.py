"""What a run of drawn figures leaves to try its model on: figures that it has never seen, as images and as a video."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from PIL import Image

from ppl_cli.data.figures import HELD_OUT_SEED, figure
from ppl_cli.drawing.save import save_png
from ppl_cli.drawing.video import writing_video
from ppl_cli.files import make_folder

FOLDER, VIDEO = "try", "moving-figure.mp4"
IMAGES, FRAMES, RATE = 20, 150, 25
SIDE = 240  # pixels


def save_examples(run: Path, seed: int) -> None:
    """RUN/try; `seed` is that of the training. PPLError if it cannot be written."""
    folder, unseen = run / FOLDER, seed + HELD_OUT_SEED
    make_folder(folder)
    for index in range(IMAGES):
        save_png(folder / f"figure-{index:02}.png", Image.fromarray(figure(index, SIDE, unseen)[0]))
    with writing_video(folder / VIDEO, (SIDE, SIDE), Fraction(1, RATE), Fraction(RATE)) as add:
        for frame in range(FRAMES):
            add(figure(IMAGES, SIDE, unseen, frame / FRAMES)[0], frame)


def remove_examples(run: Path) -> None:
    """And nothing else that lies there."""
    for file in [*(run / FOLDER).glob("figure-*.png"), run / FOLDER / VIDEO]:
        file.unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or not empty
        (run / FOLDER).rmdir()
