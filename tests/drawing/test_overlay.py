import numpy as np
import pytest
from PIL import Image

from ppl_cli.drawing.overlay import keypoint_colours, overlay

LINKS = np.array([[0, 1.0, 0.05], [1, 0, 0], [0.05, 0, 0]])


def test_draws_each_keypoint_in_its_colour_where_it_is():
    points = np.array([[50.0, 100], [300, 250], [320, 60]])
    drawn = overlay(Image.new("RGB", (400, 300)), points, LINKS, labels=False)
    assert drawn.size == (400, 300)
    for (x, y), colour in zip(points.astype(int), keypoint_colours(3), strict=True):
        assert np.abs(np.array(drawn.getpixel((int(x), int(y)))) - colour).max() < 40


def test_strong_links_show_and_weak_ones_do_not():
    points = np.array([[50.0, 100], [300, 100], [50, 250]])
    drawn = np.asarray(overlay(Image.new("RGB", (400, 300)), points, LINKS, labels=False)).astype(int)
    assert drawn[100, 175].min() > 180
    assert drawn[175, 50].max() == 0


def test_missing_keypoints_are_not_drawn():
    points = np.full((3, 2), np.nan)
    image = Image.new("RGB", (400, 300), "navy")
    assert np.array_equal(np.asarray(overlay(image, points, LINKS)), np.asarray(image))


@pytest.mark.parametrize(("size", "expected"), [((30, 20), 320), ((5000, 100), 1024), ((1, 1), 320), ((640, 480), 640)])
def test_pictures_are_neither_tiny_nor_huge(size, expected):
    drawn = overlay(Image.new("RGB", size), np.array([[0.0, 0], [1, 1], [2, 2]]), LINKS)
    assert max(drawn.size) == expected


def test_colours_differ():
    colours = np.array(keypoint_colours(16))
    gaps = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(16)
    assert gaps.min() > 25
