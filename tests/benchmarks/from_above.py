"""A drawn lizard seen from above, which heads anywhere: frames of a camera that stands still, with exact keypoints.

    python -m tests.benchmarks.from_above OUT [--one-way] [--seed 0]

OUT/fit/ holds 240 frames and OUT/test/ the next 120, annotated in OUT/fit.json and OUT/test.json (COCO); OUT/train/ 240 later
ones. The lizard walks over a floor of sand and stones, turns in loops, bends its spine and tail, and swings its legs.
"""

import argparse
import math
from itertools import count, islice
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.data.figures import paint_capsule, stream
from tests.benchmarks.moving_camera import Swing, write_annotated

TRAIN, FIT, TEST = 240, 240, 120  # frames
LATER = 1000  # the first frame that may be one of training
SIZE = 96  # pixels of a frame's side
SPINE = ("nose", "neck", "chest", "hip", "tail_base", "tail_middle", "tail_tip")
FEET = ("left_front_foot", "right_front_foot", "left_hind_foot", "right_hind_foot")
JOINTS = (*SPINE, *FEET)
LENGTHS = (0.18, 0.2, 0.3, 0.13, 0.2, 0.23)  # of the spine's parts, from the nose on; half of a frame's side is 1
BACK, LEGS, FEET_COLOUR = np.array([70.0, 110, 60]), np.array([95.0, 125, 70]), np.array([170.0, 150, 90])


def floor(random: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3) float."""
    picture = np.zeros((SIZE, SIZE, 3)) + random.uniform(150, 200, 3)
    for cell, strength in ((24, 0.25), (8, 0.2), (3, 0.15)):
        noise = random.uniform(0, 255, (SIZE // cell + 2, SIZE // cell + 2)).astype(np.uint8)
        picture += strength * (np.asarray(Image.fromarray(noise).resize((SIZE, SIZE), Image.BICUBIC), float)[..., None] - 127.5)
    for _ in range(9):
        at = random.uniform(-1, 1, 2)
        paint_capsule(picture, at, at + random.uniform(-0.08, 0.08, 2), random.uniform(0.02, 0.06), random.uniform(60, 220, 3))
    return picture


def towards(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


def pose(frame: int, seed: int) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Joint name -> (x, y), normalised to [-1, 1]; the four shoulders and hips that the legs begin at."""
    swing = Swing(seed, frame)
    centre, bend = 0.2 * np.array([swing.swing(), swing.swing()]), 0.35 * swing.swing()
    # Once round in about 90 frames, now faster, now slower: every heading comes, in train and in test.
    heading = 2 * math.pi * frame / 90 + 0.8 * swing.swing()
    angles = (
        heading
        + math.pi
        + bend * np.array([-0.5, -0.2, 0.4, 0.8, 1.3, 2.2])
        + 0.3 * swing.swing() * np.array([1, 0, 0, 0, 1, 2])
    )
    steps = np.array([length * towards(angle) for length, angle in zip(LENGTHS, angles, strict=True)])
    points = np.vstack(([0, 0], np.cumsum(steps, 0)))
    points += centre - points[2:4].mean(0)
    joints = dict(zip(SPINE, points, strict=True))
    starts = []
    for name in FEET:
        sign, front = (-1 if name.startswith("left") else 1), "front" in name
        start, along = joints["chest" if front else "hip"], angles[1 if front else 2]
        out = along - sign * (math.pi / 2 - (-0.5 if front else 0.4) - 0.5 * swing.swing())
        starts.append(start + 0.08 * towards(along - sign * math.pi / 2))
        joints[name] = start + 0.32 * towards(out)
    return joints, starts


def stack(joints: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([joints[name] for name in JOINTS])


def limbs(frame: int, seed: int) -> list[tuple]:
    """Capsules (start, end, radius, colour), from back to front."""
    joints, starts = pose(frame, seed)
    drawn = []
    for name, start in zip(FEET, starts, strict=True):
        drawn += [(start, joints[name], 0.045, LEGS), (joints[name], joints[name], 0.065, FEET_COLOUR)]
    radii = (0.085, 0.105, 0.125, 0.09, 0.065, 0.045)
    spine = [joints[name] for name in SPINE]
    drawn += [(*part, radius, BACK) for *part, radius in zip(spine[:-1], spine[1:], radii, strict=True)][::-1]
    return [*drawn, (spine[0], spine[0], 0.06, BACK * 0.6)]


def draw_frame(frame: int, seed: int, ground: np.ndarray) -> Image.Image:
    picture = ground.copy()
    for start, end, radius, colour in limbs(frame, seed):
        paint_capsule(picture, start, end, radius, colour)
    picture += stream(frame, seed + 2).normal(0, 3, picture.shape)
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def heading(frame: int, seed: int) -> float:
    """From hips to nose, in radians, 0 to the right."""
    joints = pose(frame, seed)[0]
    return math.atan2(*(joints["nose"] - joints["hip"])[::-1])


def write_video(out: Path, seed: int, within: float = math.pi) -> Path:
    """The folder `out`, unless it is there. In training frames the lizard heads left, but for at most `within` radians."""
    ground = floor(stream(2, seed))
    left = (frame for frame in count(LATER) if abs(heading(frame, seed)) >= math.pi - within)
    parts = {"train": list(islice(left, TRAIN)), "fit": range(FIT), "test": range(FIT, FIT + TEST)}
    for part, frames in parts.items():
        drawn = ((draw_frame(frame, seed, ground), stack(pose(frame, seed)[0])) for frame in frames)
        write_annotated(out, part, frames, drawn, JOINTS)
    (out / "train.json").unlink()
    return out


def write_one_way(out: Path, seed: int) -> Path:
    return write_video(out, seed, math.radians(50))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one-way", action="store_true", help="in training frames it heads left, within 50 degrees")
    arguments = parser.parse_args()
    (write_one_way if arguments.one_way else write_video)(arguments.out, arguments.seed)
