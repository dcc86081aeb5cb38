import numpy as np

from ppl_cli.data.figures import KEYPOINT_NAMES, figure

CHECK_POINTS = [-0.122965, -0.702381, 0.271176, -0.795145, -0.348097, 0.611166]  # of figure(0, 32)
CHECK_MEAN = [123.872, 147.799, 131.284]


def test_same_numbers_same_picture():
    first, points = figure(3, 64, seed=5)
    again, same_points = figure(3, 64, seed=5)
    assert np.array_equal(first, again)
    assert np.array_equal(points, same_points)
    assert not np.array_equal(first, figure(4, 64, seed=5)[0])


def test_is_the_same_on_every_machine():
    picture, points = figure(0, 32)
    assert np.allclose(points[[0, 4, 10]].round(6).ravel(), CHECK_POINTS, atol=2e-6)
    assert np.abs(picture.reshape(-1, 3).mean(0) - CHECK_MEAN).max() < 0.05


def test_poses_and_places_vary_and_stay_in_the_picture():
    points = np.stack([figure(i, 16)[1] for i in range(300)])
    assert np.abs(points).max() < 1
    assert (points.std(0) > 0.05).all()


def test_keypoints_lie_on_the_figure():
    """The same figure at two sizes has the same keypoints, and its head and hands are where they are said to be."""
    skin_like = 0
    for i in range(30):
        picture, points = figure(i, 128)
        assert np.allclose(points, figure(i, 48)[1])
        x, y = np.rint((points[KEYPOINT_NAMES.index("head")] + 1) / 2 * 127).astype(int)
        inside = picture[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).astype(float)
        skin_like += inside.std(0).max() < 12  # one colour all around the centre of the head
    assert skin_like >= 28
