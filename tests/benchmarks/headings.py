"""How well headings are found without learning: of drawn lizards over a still floor, and of mice turned at random.

    python -m tests.benchmarks.headings [--seeds 0,1,2]

Each row: the share of annotated images that head within 60 degrees of the most common heading once they are turned as
`ppl_cli.data.headings` says, and the seconds it took.
"""

import argparse
import json
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.headings import find_quarter_turns
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.warp import random_affine, warp_images
from tests.benchmarks import from_above
from tests.benchmarks.learning import SHARED
from tests.training_images import open_dataset

MICE = SHARED / "data" / "open_field_mouse"
SIZE = 64


def open_lizards(folder: Path, seed: int) -> tuple[ImageSet, np.ndarray]:
    """The 240 training frames, and headings in radians."""
    from_above.write_video(folder, seed)
    images = open_dataset(DataConfig(kind="video_frames", path=str(folder / "train")), SIZE, 0)
    return images, np.array([from_above.heading(int(Path(name).stem), seed) for name in images.names])


def open_mice(folder: Path, seed: int, most: int) -> tuple[ImageSet, np.ndarray]:
    """At most so many training frames and the 116 annotated ones, each turned at random; headings of the last."""
    files, headings = sorted((MICE / "train").glob("*.jpg")), []
    files = files[:: max(1, len(files) // most)][:most]
    for part in ("fit", "test"):
        content = json.loads((MICE / f"{part}.json").read_text())
        names = {image["id"]: image["file_name"] for image in content["images"]}
        for annotation in content["annotations"]:
            keypoints = np.reshape(annotation["keypoints"], (-1, 3))[:, :2]
            files.append(MICE / names[annotation["image_id"]])
            headings.append(math.atan2(*(keypoints[0] - keypoints[-1])[::-1]))  # from the tail to the snout
    warps = random_affine(len(files), torch.Generator().manual_seed(seed), 0, rotate=True)
    for number, (file, warp) in enumerate(zip(files, warps, strict=True)):
        pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)[None].float()
        turned = warp_images(pixels, warp[None])[0].round().byte().permute(1, 2, 0)
        Image.fromarray(turned.numpy()).save(folder / f"{number:05}.png")
    images = open_dataset(DataConfig(kind="video_frames", path=str(folder)), SIZE, 0)
    return images, np.array(headings) - torch.atan2(warps[:, 1, 0], warps[:, 0, 0]).numpy()[-len(headings) :]


def measure(what: str, images: ImageSet, headings: np.ndarray) -> None:
    begun = time.perf_counter()
    turns = find_quarter_turns(images)
    seconds = time.perf_counter() - begun
    if turns is None:
        print(f"{what}: images stay as they are ({seconds:.1f} s)")
        return
    left = np.exp(1j * (headings - np.pi / 2 * np.array(turns[-len(headings) :])))
    alike = (np.abs(np.angle(left * left.mean().conj())) < math.pi / 3).mean()
    print(f"{what}: {100 * alike:.0f} % of {len(headings)} head alike ({len(images)} images, {seconds:.1f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    for seed in map(int, parser.parse_args().seeds.split(",")):
        with TemporaryDirectory() as folder:
            measure(f"lizards, seed {seed}", *open_lizards(Path(folder), seed))
        for most in (10, 100, 2000) if MICE.is_dir() else ():
            with TemporaryDirectory() as folder:
                measure(f"mice, seed {seed}", *open_mice(Path(folder), seed, most))


if __name__ == "__main__":
    main()
