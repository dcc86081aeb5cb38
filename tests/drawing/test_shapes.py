import numpy as np
import pytest

from ppl_cli.drawing.shapes import paint

WHITE = (255, 255, 255)
SEGMENTS = [  # the first two are discs
    ((20, 20), (20, 20)),
    ((8.3, 9.7), (30.2, 21.1)),
    ((30.2, 31), (26.5, 7.25)),
    ((7, 30.5), (33, 30.5)),
    ((9, 9), (9, 29)),
]


def painted(start, end, layers, width=41, height=40, ground=0):
    picture = np.full((height, width, 3), ground, np.uint8)
    paint(picture, [(start, end, layers)])
    return picture


def distance_to(start, end, width=41, height=40):
    """Of every pixel to a segment, by its definition: the nearest of many points on it."""
    points = np.linspace(start, end, 2000)
    y, x = np.mgrid[:height, :width]
    return np.sqrt(((np.stack([x, y], -1)[:, :, None] - points) ** 2).sum(-1).min(-1))


@pytest.mark.parametrize(("start", "end"), SEGMENTS)
@pytest.mark.parametrize("radius", [0.2, 0.5, 1.3, 4.0, 6.7])
def test_covers_as_much_as_the_shape_has_area(start, end, radius):
    length = np.hypot(*np.subtract(end, start))
    area = painted(start, end, [(radius, WHITE, 1)])[..., 0].sum() / 255
    if length:
        assert area == pytest.approx(2 * radius * length + np.pi * radius**2, rel=0.04, abs=1)
    elif radius >= 1:
        assert area == pytest.approx(np.pi * radius**2, rel=0.12 / radius)


@pytest.mark.parametrize(("start", "end"), SEGMENTS)
def test_full_inside_nothing_outside_and_one_pixel_of_edge_between(start, end):
    drawn, distance = painted(start, end, [(3, (200, 100, 50), 1)], ground=10), distance_to(start, end)
    assert (drawn[distance < 2.45] == (200, 100, 50)).all()
    assert (drawn[distance > 3.55] == 10).all()
    edge = (distance > 2.6) & (distance < 3.4)
    assert np.abs(drawn[edge][:, 0] - (10 + 190 * (3.5 - distance[edge]))).max() < 3


def test_layers_lie_over_each_other_and_no_opacity_is_a_hole():
    ring = painted((20, 20), (20, 20), [(8, (1, 2, 3), 1), (6, WHITE, 1), (3, WHITE, 0)], ground=90)
    assert [tuple(ring[20, 20 + x]) for x in (0, 2, 4, 5, 7, 9)] == [(90,) * 3] * 2 + [WHITE] * 2 + [(1, 2, 3), (90,) * 3]


def test_half_opaque_is_half_way():
    assert painted((20, 20), (20, 20), [(4, (200, 100, 0), 0.5)], ground=100)[20, 20].tolist() == [150, 100, 50]


@pytest.mark.parametrize(("start", "end"), [*SEGMENTS, ((-9, -4), (52, 44)), ((3, -30), (5, 80)), ((-5, 20), (-5, 20))])
def test_what_lies_beyond_the_edge_is_cut_off(start, end):
    start, end = np.array(start), np.array(end)
    whole = painted(start + 100, end + 100, [(5.5, WHITE, 1)], 241, 240)
    assert np.array_equal(painted(start, end, [(5.5, WHITE, 1)]), whole[100:140, 100:141])


def test_turns_with_the_picture():
    (x, y), (u, v) = start, end = (8.3, 9.7), (30.2, 21.1)
    drawn = painted(start, end, [(2, WHITE, 1)], 40)
    assert np.array_equal(painted((y, x), (v, u), [(2, WHITE, 1)], 40), drawn.swapaxes(0, 1))
    assert np.abs(painted((39 - x, y), (39 - u, v), [(2, WHITE, 1)], 40)[:, ::-1].astype(int) - drawn).max() <= 1


@pytest.mark.parametrize("far", [1e9, -1e9, 1e30])
def test_far_away_is_nothing(far):
    with np.errstate(invalid="ignore"):
        assert not painted((far, 20), (far, 20), [(5, WHITE, 1)]).any()


def test_many_are_as_if_painted_one_after_another():
    capsules = [
        ((5.5, 6), (20, 9.25), [(2.2, WHITE, 0.7), (1.2, (9, 8, 7), 1)]),
        ((5, 30), (30, 3.5), [(2.0, (9, 80, 7), 1)]),
        ((np.nan, 3), (3, 3), [(1.0, WHITE, 1)]),
        ((12, 20), (12, 20), [(6, WHITE, 1), (4, WHITE, 0), (0.3, (1, 2, 3), 0.5)]),
    ]
    capsules += [((x, 2), (40 - x, 38), [(0.7, (x, 200, 7), 0.9)]) for x in range(40)]  # more than are computed at once
    picture, expected = np.full((40, 41, 3), 90, np.uint8), np.full((40, 41, 3), 90, np.uint8)
    paint(picture, capsules)
    for capsule in capsules:
        paint(expected, [capsule])
    assert np.array_equal(picture, expected)
    assert not np.array_equal(picture, np.full_like(picture, 90))
    paint(picture, [])
    assert np.array_equal(picture, expected)
