import numpy as np

from ppl_cli.prior.links import find_skeleton, find_useful, link_strengths


def link(count: int, *links: tuple[int, int, float]) -> np.ndarray:
    weights = np.zeros((count, count))
    for i, j, weight in links:
        weights[i, j] = weights[j, i] = weight
    return weights


def test_idle_keypoints_have_weak_links_only():
    weights = link(4, (0, 1, 2.0), (1, 2, 0.7), (2, 3, 0.5))
    np.testing.assert_allclose(link_strengths(weights), [1, 1, 0.35, 0.25])
    assert find_useful(weights).tolist() == [True, True, True, False]


def test_without_links_nothing_is_idle_and_there_is_no_skeleton():
    assert find_useful(np.zeros((3, 3))).all()
    assert not find_skeleton(np.zeros((3, 3))).any()


def test_the_skeleton_has_strong_links_and_holds_every_useful_keypoint():
    """Of a tangle: 0-1 and 1-2 are strong, 2-3 is the best of 3, 4 is idle, and 0-3 is neither."""
    weights = link(5, (0, 1, 2.0), (1, 2, 1.1), (2, 3, 0.8), (0, 3, 0.7), (0, 4, 0.5), (0, 2, 0.9))
    skeleton = find_skeleton(weights)
    assert np.argwhere(np.triu(skeleton)).tolist() == [[0, 1], [1, 2], [2, 3]]
    assert (skeleton == skeleton.T).all()
    generator = np.random.default_rng(0)
    for _ in range(20):
        weights = np.triu(generator.random((12, 12)), 1)
        weights += weights.T
        skeleton = find_skeleton(weights)
        assert (skeleton.any(1) == find_useful(weights)).all()
        assert skeleton[weights >= 0.5 * weights.max()].all()
