"""docs/any_heading.jpg: training frames, the same turned to head one way, and a run's prior and poses in test frames.

python -m tests.benchmarks.heading_pictures RUN OUT.jpg FOLDER     # FOLDER: of tests.benchmarks.from_above
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.headings import find_quarter_turns
from ppl_cli.data.images import decode
from tests.benchmarks.headings import SIZE
from tests.benchmarks.readme_pictures import GAP, TILE, row
from tests.training_images import open_dataset

COLUMNS = 6


def choose(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir())
    return files[len(files) // 12 :: len(files) // COLUMNS][:COLUMNS]


if __name__ == "__main__":
    run, out, folder = sys.argv[1:]
    training = choose(Path(folder) / "train")
    images = open_dataset(DataConfig(kind="video_frames", path=str(Path(folder) / "train")), SIZE, 0)
    turns = dict(zip(images.names, find_quarter_turns(images), strict=True))
    frames = [decode(file).resize((TILE, TILE)) for file in training]
    turned = [Image.fromarray(np.rot90(frame, turns[file.name])) for frame, file in zip(frames, training, strict=True)]
    poses = row(run, [decode(file) for file in choose(Path(folder) / "test")])
    picture = Image.new("RGB", (poses.width, 3 * (TILE + GAP) - GAP), "white")
    for line, tiles in enumerate((frames, turned)):
        for column, tile in enumerate(tiles, 1):
            picture.paste(tile, (column * (TILE + GAP), line * (TILE + GAP)))
    picture.paste(poses, (0, 2 * (TILE + GAP)))
    picture.save(out, quality=88)
