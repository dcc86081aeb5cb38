"""Drawn articulated figures with exact keypoints: data that needs no download.

Each figure is a function of (seed, index): pose, proportions, clothing, background, place and size in the picture
vary; the same numbers give the same picture on every machine. Everything is drawn as capsules (segments with round
ends) with smooth edges.
"""

import math

import numpy as np
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.frame import Frame
from ppl_cli.data.listing import Listing, Part

FIT, TEST = 1000, 500  # figures to fit and to measure on: the first were trained on, the others never seen
HELD_OUT_SEED = 10**6  # added to the seed of training
KEYPOINT_NAMES = (
    *("head", "neck", "pelvis"),
    *("left_elbow", "left_hand", "right_elbow", "right_hand"),
    *("left_knee", "left_foot", "right_knee", "right_foot"),
)


def drawn_figures(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    """Pictures of `size` pixels, so that nothing needs to be resized; all parts know their keypoints."""
    count = {"train": config.figures, "fit": min(FIT, config.figures), "test": TEST}[part]
    drawn_with = seed + HELD_OUT_SEED if part == "test" else seed
    return Listing(
        [f"figure {index}" for index in range(count)],
        lambda index: Image.fromarray(figure(index, size, drawn_with)[0]),
        keypoints=Frame(size, size, size).to_pixels(np.stack([figure_keypoints(index, drawn_with) for index in range(count)])),
        keypoint_names=list(KEYPOINT_NAMES),
    )


def figure(index: int, size: int, seed: int = 0, time: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Picture (size, size, 3) uint8 and keypoints (11, 2) (x, y), normalised to [-1, 1].

    With a `time` the figure moves: from 0 to 1 through many poses, smoothly, and back to the first.
    """
    rng = stream(index, seed)
    joints = pose(rng if time is None else Swaying(rng, time))
    picture = background(rng, size)
    behind = picture.mean((0, 1))
    for start, end, radius, colour in body(rng, joints, behind):
        paint_capsule(picture, start, end, radius, colour)
    picture += rng.normal(0, 3.0, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), stack_keypoints(joints)


def figure_keypoints(index: int, seed: int = 0) -> np.ndarray:
    """Keypoints of `figure(index, any size, seed)` without drawing it."""
    return stack_keypoints(pose(stream(index, seed)))


def stream(index: int, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, index]))


class Swaying:
    """Numbers for `pose` that go to and fro as `time` passes, within the ranges of those that it usually draws."""

    def __init__(self, rng: np.random.Generator, time: float):
        self.rng, self.time = rng, time

    def uniform(self, low: float, high: float, size: int | None = None) -> float | np.ndarray:
        return self.normal((low + high) / 2, (high - low) / 2, size)

    def normal(self, centre: float, reach: float, size: int | None = None) -> float | np.ndarray:
        turns, phase = self.rng.integers(1, 4, size), self.rng.random(size)
        return centre + reach * np.sin(2 * math.pi * (turns * self.time + phase))


def stack_keypoints(joints: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([joints[name] for name in KEYPOINT_NAMES])


def pose(rng: "np.random.Generator | Swaying") -> dict[str, np.ndarray]:
    """Joint name -> (x, y); the figure faces us, so its left is on the right of the picture."""
    scale = rng.uniform(0.85, 1.1)
    lean = rng.normal(0, 0.12)
    bob = rng.uniform(-0.12, 0.12, 2)

    def limb(start, lengths, angles):
        points = [start]
        for length, angle in zip(lengths, np.cumsum(angles), strict=True):
            points.append(points[-1] + scale * length * np.array([math.sin(angle), math.cos(angle)]))
        return points[1:]  # angle 0 points down, positive to the right

    pelvis = np.array([bob[0], 0.12 + bob[1]])
    up = np.array([math.sin(lean), -math.cos(lean)])
    neck = pelvis + scale * 0.5 * up
    head = neck + scale * 0.2 * np.array([math.sin(lean * 1.5), -math.cos(lean * 1.5)])
    across = np.array([-up[1], up[0]]) * scale
    joints = {"head": head, "neck": neck, "pelvis": pelvis}
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, hip = neck + sign * 0.13 * across + 0.04 * scale * -up, pelvis + sign * 0.08 * across
        upper, bend = rng.uniform(0.15, 2.3), rng.uniform(-0.2, 1.3)
        elbow, hand = limb(shoulder, (0.25, 0.25), (sign * upper, sign * bend))
        swing, fold = rng.uniform(-0.05, 0.75), rng.uniform(-0.7, 0.15)
        knee, foot = limb(hip, (0.33, 0.33), (sign * swing, sign * fold))
        joints |= {f"{side}_shoulder": shoulder, f"{side}_hip": hip, f"{side}_elbow": elbow}
        joints |= {f"{side}_hand": hand, f"{side}_knee": knee, f"{side}_foot": foot}
    return joints


def colour_against(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """(3,) a colour of cloth that can be told from the background."""
    while True:
        colour = rng.uniform(20, 245, 3)
        if np.abs(colour - behind).sum() > 200:
            return colour


def body(rng: np.random.Generator, joints: dict[str, np.ndarray], behind: np.ndarray):
    """Capsules (start, end, radius, colour) from back to front, before a background of mean colour `behind`."""
    build = rng.uniform(0.9, 1.15)
    skin = np.array([225.0, 180, 150]) * rng.choice((rng.uniform(0.35, 0.55), rng.uniform(0.95, 1.1)))
    shirt, trousers, shoes = (colour_against(rng, behind) for _ in range(3))
    sleeves = shirt if rng.random() < 0.6 else skin
    for side in ("left", "right"):
        yield joints[f"{side}_hip"], joints[f"{side}_knee"], 0.085 * build, trousers
        yield joints[f"{side}_knee"], joints[f"{side}_foot"], 0.075 * build, trousers * 0.9
        yield joints[f"{side}_foot"], joints[f"{side}_foot"], 0.085 * build, shoes
    yield joints["neck"], joints["pelvis"], 0.15 * build, shirt
    for side in ("left", "right"):
        yield joints[f"{side}_shoulder"], joints[f"{side}_elbow"], 0.075 * build, shirt * 0.9
        yield joints[f"{side}_elbow"], joints[f"{side}_hand"], 0.065 * build, sleeves * 0.95
        yield joints[f"{side}_hand"], joints[f"{side}_hand"], 0.08 * build, skin
    yield joints["head"], joints["head"], 0.13 * build, skin


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float: two colours blended across the picture, and a floor."""
    first, second = (rng.uniform(90, 165) + rng.uniform(-25, 25, 3) for _ in range(2))
    angle = rng.uniform(0, 2 * math.pi)
    side = np.linspace(-1, 1, size)
    blend = (side[None, :] * math.cos(angle) + side[:, None] * math.sin(angle)) / 2.83 + 0.5
    picture = first + (second - first) * blend[..., None]
    horizon = rng.uniform(0.45, 0.95)
    picture[side > horizon] *= rng.uniform(0.6, 0.9)
    return picture


def paint_capsule(picture: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, colour: np.ndarray) -> None:
    """Paint one capsule in place, only where it can reach; its edge is one pixel wide."""
    size = len(picture)
    pixel = 2 / (size - 1)
    low = np.floor((np.minimum(start, end) - radius + 1) / pixel).astype(int) - 1
    high = np.ceil((np.maximum(start, end) + radius + 1) / pixel).astype(int) + 2
    (x0, y0), (x1, y1) = np.clip(low, 0, size), np.clip(high, 0, size)
    if x0 >= x1 or y0 >= y1:
        return
    x = np.arange(x0, x1) * pixel - 1 - start[0]
    y = (np.arange(y0, y1) * pixel - 1 - start[1])[:, None]
    step = end - start
    along = np.clip((x * step[0] + y * step[1]) / max(step @ step, 1e-12), 0, 1)
    distance = np.hypot(x - along * step[0], y - along * step[1])
    cover = np.clip((radius - distance) / pixel + 0.5, 0, 1)[..., None]
    # A little shade towards the edge, as on a round body.
    shade = 1 - 0.25 * np.clip(distance / radius, 0, 1)[..., None] ** 2
    picture[y0:y1, x0:x1] += cover * (colour * shade - picture[y0:y1, x0:x1])
