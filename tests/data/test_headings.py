"""Headings that are known: drawn animals seen from above, and sets whose images must stay as they are."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.figures import figure, paint_capsule
from ppl_cli.data.headings import SAMPLE, find_quarter_turns, oppose
from tests.benchmarks import from_above
from tests.data.test_camera import film
from tests.training_images import open_dataset

HANDS = Path(__file__).parents[3] / "shared" / "data" / "hand" / "train"


def open_folder(folder, **how):
    return open_dataset(DataConfig(kind="video_frames", path=str(folder), **how), 64, 0)


def save_lizards(folder, frames: range, seed: int, rows: int = 96) -> np.ndarray:
    """Over a floor that stands still -> (M,) true headings, radians."""
    ground = from_above.floor(np.random.default_rng(seed))
    for frame in frames:
        picture = from_above.draw_frame(frame, seed, ground)
        picture.crop((0, 48 - rows // 2, 96, 48 + rows // 2)).save(folder / f"{frame:04}.png")
    return np.array([from_above.heading(frame, seed) for frame in frames])


def save_mice(folder, headings: np.ndarray, tails: int = 1) -> None:
    """Dark drops, each before noise of its own, with `tails` tails: 2 make both ends alike."""
    random = np.random.default_rng(0)
    for number, heading in enumerate(headings):
        noise = Image.fromarray(random.integers(120, 255, (9, 9, 3), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
        picture, middle = np.asarray(noise, float).copy(), random.uniform(-0.15, 0.15, 2)
        ahead = np.array([math.cos(heading), math.sin(heading)])
        paint_capsule(picture, middle - 0.25 * ahead, middle + 0.25 * ahead, 0.22, np.array([30.0, 25, 20]))
        for side in (-1, 1)[:tails]:
            paint_capsule(picture, middle + side * 0.4 * ahead, middle + side * 0.7 * ahead, 0.04, np.array([90.0, 60, 50]))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04}.png")


def share_alike(turns: list[int], headings: np.ndarray) -> float:
    """Of objects that head within 60 degrees of the most common heading once images are turned."""
    left = np.exp(1j * (headings - np.pi / 2 * np.array(turns)))
    return float((np.abs(np.angle(left * left.mean().conj())) < math.pi / 3).mean())


@pytest.mark.parametrize(("seed", "rows"), [(0, 96), (1, 64)])
def test_lizards_over_a_still_floor_are_turned_to_head_one_way(tmp_path, seed, rows):
    """Also with padding above and below."""
    headings = save_lizards(tmp_path, range(1000, 1150), seed, rows)
    assert share_alike([0] * 150, headings) < 0.6
    images = open_folder(tmp_path)
    turns = find_quarter_turns(images)
    assert share_alike(turns, headings) > 0.9
    images.turn(turns)
    assert np.mean(np.array(find_quarter_turns(images)) == 0) > 0.9


@pytest.mark.parametrize("count", [60, 200])
def test_animals_in_photographs_too(tmp_path, count):
    headings = np.random.default_rng(1).uniform(-math.pi, math.pi, count)
    save_mice(tmp_path, headings)
    assert share_alike(find_quarter_turns(open_folder(tmp_path)), headings) > 0.95


def test_most_images_stay_about_as_they_are(tmp_path):
    """Of the two ways along the axis, the one that most head already."""
    headings = np.random.default_rng(1).normal(0.3, 1.0, 120)
    save_mice(tmp_path, headings)
    turns = find_quarter_turns(open_folder(tmp_path))
    assert share_alike(turns, headings) > 0.9
    assert np.mean(np.array(turns) == 0) > 0.5


def test_of_objects_with_two_like_ends_the_axis_is_turned(tmp_path):
    headings = np.random.default_rng(1).uniform(-math.pi, math.pi, 120)
    save_mice(tmp_path, headings, tails=2)
    left = headings - np.pi / 2 * np.array(find_quarter_turns(open_folder(tmp_path)))
    axes = np.exp(2j * left)
    assert (np.abs(np.angle(axes * axes.mean().conj())) / 2 < math.pi / 3).mean() > 0.95


def test_animals_that_head_left_or_right_stay_as_they_are(tmp_path):
    save_mice(tmp_path, np.random.default_rng(1).normal(0, 0.15, 120) + math.pi * (np.arange(120) % 2))
    assert find_quarter_turns(open_folder(tmp_path)) is None


@pytest.mark.skipif(not HANDS.is_dir(), reason="needs the hands of ../shared")
def test_hands_of_two_signs_that_are_upright_stay_as_they_are(tmp_path):
    """A fist and a hand with one finger up lie on top of each other best when one of them is turned a little."""
    for sign, part in (("0", slice(60)), ("9", slice(-60, None))):
        for file in sorted(HANDS.glob(f"{sign}_*"))[part]:
            shutil.copy(file, tmp_path / file.name)
    assert find_quarter_turns(open_dataset(DataConfig(kind="folder", path=str(tmp_path)), 64, 0)) is None


def test_figures_stay_as_they_are(tmp_path):
    for number in range(150):
        Image.fromarray(figure(number, 64, 0)[0]).save(tmp_path / f"{number}.png")
    assert find_quarter_turns(open_folder(tmp_path)) is None


def test_what_passes_by_stays_as_it_is(tmp_path):
    film(tmp_path / "film", 60, 6, 0)
    assert find_quarter_turns(open_folder(tmp_path)) is None


@pytest.mark.parametrize("what", ["noise", "spots", "one colour", "few"])
def test_images_without_a_common_object_stay_as_they_are(tmp_path, what):
    random = np.random.default_rng(0)
    for number in range(20 if what == "few" else 80):
        side = {"spots": 5, "one colour": 1}.get(what, 40)
        noise = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        noise.resize((40, 40), Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    assert find_quarter_turns(open_folder(tmp_path)) is None


def test_images_that_are_read_again_for_every_batch_are_turned_alike(tmp_path):
    save_mice(tmp_path, np.random.default_rng(1).uniform(-math.pi, math.pi, 60))
    kept, read_again = open_folder(tmp_path), open_folder(tmp_path, cache_gib=0)
    turns = find_quarter_turns(kept)
    assert turns == find_quarter_turns(read_again) == find_quarter_turns(kept)
    before = kept.fetch(torch.arange(60)).clone()
    for images in (kept, read_again):
        images.turn(turns)
    assert read_again.cache is None
    chosen = torch.tensor([3, 59, 0, 3])
    assert torch.equal(kept.fetch(chosen), read_again.fetch(chosen))
    quarter = turns.index(1)
    assert torch.equal(kept.fetch(torch.tensor([quarter]))[0, :, 0], before[quarter, :, :, -1])  # its right side is on top


def test_many_images_are_each_told_by_what_some_show(tmp_path):
    headings = np.random.default_rng(1).uniform(-math.pi, math.pi, 3 * SAMPLE)
    save_mice(tmp_path, headings)
    assert share_alike(find_quarter_turns(open_folder(tmp_path)), headings) > 0.97


def test_two_opposite_values_are_found_among_patterns_of_any_size():
    random = torch.Generator().manual_seed(0)
    patterns = torch.randn(500, 6, generator=random, dtype=torch.float64)
    signs = torch.randint(2, (500,), generator=random).double() * 2 - 1
    patterns[:, 2] = signs + 0.2 * patterns[:, 2]
    mixed = torch.linalg.qr(patterns @ torch.randn(6, 6, generator=random, dtype=torch.float64))[0] * math.sqrt(500)
    agree = ((mixed @ oppose(mixed)).sign() == signs).double().mean()
    assert max(agree, 1 - agree) > 0.99
