"""Drawn figures in motion before a background that pans: videos of a moving camera with exact keypoints.

    python -m tests.benchmarks.moving_camera OUT [--seed 0]

OUT/train/ holds 120 frames, OUT/test/ the next 60, annotated in OUT/train.json and OUT/test.json (COCO). The camera pans
over a landscape of three picture widths and zooms by 10 %; the figure stays in the middle, and each of its angles swings with
a period of its own, so that no pose comes twice.
"""

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.data.figures import KEYPOINT_NAMES, body, paint_capsule, pose, stack_keypoints, stream

FIT, TEST = 120, 60  # frames
SIZE, HEIGHT = 96, 128  # pixels of a frame's side, of the landscape's height
PAN = 200  # pixels that the camera travels over all frames


class Swing:
    """In place of a random generator: each number asked for swings slowly, with its own period, around its middle."""

    def __init__(self, seed: int, frame: int):
        self.random, self.frame = stream(1, seed), frame

    def swing(self) -> float:
        """Between -1 and 1."""
        period, phase = self.random.uniform(14, 45), self.random.uniform(0, 2 * math.pi)
        return math.sin(2 * math.pi * self.frame / period + phase)

    def uniform(self, low: float, high: float, count: int = 1) -> np.ndarray | float:
        values = [(low + high) / 2 + (high - low) / 2 * self.swing() for _ in range(count)]
        return np.array(values) if count > 1 else values[0]

    def normal(self, mean: float, deviation: float) -> float:
        return mean + 1.5 * deviation * self.swing()


def landscape(random: np.random.Generator) -> Image.Image:
    """Sky and ground with texture of several sizes, trees and huts."""
    width = SIZE + PAN + 40
    picture = np.zeros((HEIGHT, width, 3))
    horizon = int(0.55 * HEIGHT)
    picture[:horizon], picture[horizon:] = random.uniform(110, 190, 3), random.uniform(80, 150, 3)
    for cell, strength in ((32, 0.35), (12, 0.3), (5, 0.25)):
        noise = random.uniform(0, 255, (HEIGHT // cell + 2, width // cell + 2, 3))
        noise = (0.3 * noise + 0.7 * noise[..., :1]).astype(np.uint8)
        picture += strength * (np.asarray(Image.fromarray(noise).resize((width, HEIGHT), Image.BICUBIC)) - 127.5)
    for left in np.arange(0, width, 24) + random.uniform(0, 14, len(range(0, width, 24))):
        wide, top = random.uniform(3, 16), random.uniform(0.05, 0.5) * HEIGHT
        bottom = horizon + random.uniform(0, 0.25) * HEIGHT
        picture[int(top) : int(bottom), int(left) : int(left + wide)] = random.uniform(20, 235, 3)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def view(frame: int, seed: int) -> tuple[float, float, float]:
    """Left and top corner and side, in pixels of the landscape, of what the camera sees."""
    swing, done = Swing(seed + 1, frame), frame / (FIT + TEST)
    side = SIZE * (1 + 0.1 * swing.swing())
    return PAN * done + 10 * (1 + swing.swing()), (HEIGHT - side) / 2 + 4 * swing.swing(), side


def limbs(frame: int, seed: int) -> tuple[list[tuple], np.ndarray]:
    """Capsules (start, end, radius, colour) of the figure, from back to front; keypoints (11, 2); normalised to [-1, 1]."""
    joints = pose(Swing(seed, frame))
    return list(body(stream(0, seed), joints, np.full(3, 128.0))), stack_keypoints(joints)


def draw_frame(frame: int, seed: int, scene: Image.Image) -> Image.Image:
    left, top, side = view(frame, seed)
    picture = np.array(scene.resize((SIZE, SIZE), Image.BICUBIC, (left, top, left + side, top + side)), float)
    for start, end, radius, colour in limbs(frame, seed)[0]:
        paint_capsule(picture, start, end, radius, colour)
    picture += stream(frame, seed + 2).normal(0, 3, picture.shape)
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def write_video(out: Path, seed: int) -> Path:
    """The folder `out`, unless it is there."""
    scene = landscape(stream(2, seed))
    for part, frames in (("train", range(FIT)), ("test", range(FIT, FIT + TEST))):
        drawn = ((draw_frame(frame, seed, scene), limbs(frame, seed)[1]) for frame in frames)
        write_annotated(out, part, frames, drawn, KEYPOINT_NAMES)
    return out


def write_annotated(out: Path, part: str, frames: Sequence[int], drawn: Iterable[tuple], names: Sequence[str]) -> None:
    """OUT/PART/FRAME.png and OUT/PART.json from pairs (square image, keypoints (K, 2) normalised to [-1, 1])."""
    (out / part).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (frame, (picture, points)) in enumerate(zip(frames, drawn, strict=True), 1):
        name, side = f"{part}/{frame:05}.png", picture.width
        picture.save(out / name)
        keypoints = np.c_[(points + 1) / 2 * (side - 1), np.full(len(points), 2)].round(2).ravel().tolist()
        images.append({"id": number, "file_name": name, "width": side, "height": side})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints})
    category = {"id": 1, "name": "drawn", "keypoints": list(names)}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (out / f"{part}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_video(arguments.out, arguments.seed)
