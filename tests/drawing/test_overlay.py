import numpy as np
import pytest
from PIL import Image

from ppl_cli.drawing.overlay import draw_numbers, draw_over, keypoint_colours, overlay

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


@pytest.mark.parametrize(("size", "expected"), [((30, 20), 240), ((5000, 100), 1024), ((1, 1), 240), ((640, 480), 640)])
def test_pictures_are_neither_tiny_nor_huge(size, expected):
    drawn = overlay(Image.new("RGB", size), np.array([[0.0, 0], [1, 1], [2, 2]]), LINKS)
    assert max(drawn.size) == expected


def test_colours_differ():
    colours = np.array(keypoint_colours(16))
    gaps = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(16)
    assert gaps.min() > 25


def test_a_hollow_keypoint_shows_what_is_below_it():
    picture, points = np.full((300, 400, 3), 90, np.uint8), np.array([[50.0, 100], [300, 250], [320, 60]])
    draw_over(picture, points, LINKS, labels=False, hollow=np.array([True, False, False]), trail=[points - [10, 0]])
    assert (picture[100, 50] == 90).all()
    assert np.abs(picture[100, 54].astype(int) - keypoint_colours(3)[0]).max() < 3
    assert (picture[250, 300] == keypoint_colours(3)[1]).all()


def test_an_inferred_keypoint_is_a_cross_also_where_it_is_doubtful():
    picture, points = np.full((300, 400, 3), 90, np.uint8), np.array([[50.0, 100], [300, 250], [320, 60]])
    first = np.array([True, False, False])
    draw_over(picture, points, 0 * LINKS, labels=False, hollow=first, inferred=first)
    colour = keypoint_colours(3)[0]
    for x, y in ((50, 100), (53, 103), (47, 103), (53, 97)):
        assert (picture[y, x] == colour).all()
    assert (picture[[94, 106, 100, 100], [50, 50, 44, 56]] == 90).all()  # between its arms
    assert (picture[250, 303] == keypoint_colours(3)[1]).all()


def test_a_ring_shows_nothing_of_what_leads_to_it_and_may_be_missing():
    rings, points = np.ones(3, bool), np.array([[50.0, 100], [300, 250], [np.nan, 60]])
    linked, alone = np.full((2, 300, 400, 3), 90, np.uint8)
    draw_over(linked, points, LINKS, labels=False, hollow=rings)
    draw_over(alone, points, 0 * LINKS, labels=False, hollow=rings)
    assert (linked != alone).any()
    assert np.array_equal(linked[98:103, 48:53], alone[98:103, 48:53])


@pytest.mark.parametrize(("x", "y"), [(0, 0), (399, 0), (399, 299), (0, 299), (399, 150), (200, 3), (385, 12)])
def test_the_number_of_a_keypoint_inside_is_whole(x, y):
    def count(*point: float) -> int:
        picture = np.full((300, 400, 3), 90, np.uint8)
        draw_numbers(picture, np.array([[np.nan] * 2] * 10 + [point]), 4)
        column, row = (slice(max(0, place - 2), place + 3) for place in point)
        assert (picture[row, column] == 90).all()  # the keypoint itself stays free
        return (picture != 90).sum()

    assert count(x, y) == count(200, 150)
    assert count(410, y) == 0


def test_a_trail_leads_to_the_keypoint_and_grows_thinner_backwards():
    trail = [np.array([[50.0 + 20 * step, 100]]) for step in range(10)]
    picture = np.zeros((300, 400, 3), np.uint8)
    draw_over(picture, np.array([[250.0, 100]]), np.zeros((1, 1)), labels=False, trail=trail)
    width = (picture > 0).any(-1)[:, 55:240].sum(0)
    assert (np.diff(width) >= 0).all()
    assert width[-1] > width[0] > 0


def test_a_trail_has_a_gap_where_the_keypoint_was_missing():
    trail = [np.array([[x, 100.0]]) for x in (50, np.nan, 150)]
    picture = np.zeros((300, 400, 3), np.uint8)
    draw_over(picture, np.array([[200.0, 100]]), np.zeros((1, 1)), labels=False, trail=trail)
    assert not picture[:, :140].any()
    assert picture[100, 175].any()


def test_draws_only_where_the_pose_is():
    """Of a picture of noise everything else stays as it is, bit for bit."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    picture = noise.copy()
    draw_over(picture, np.array([[50.0, 100], [90, 120], [70, 60]]), LINKS)
    assert np.array_equal(picture[150:], noise[150:])
    assert np.array_equal(picture[:, 130:], noise[:, 130:])
