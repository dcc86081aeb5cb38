import numpy as np

from ppl_cli.prior.useful import find_useful, link_strengths


def test_idle_keypoints_have_weak_links_only():
    weights = np.zeros((4, 4))
    for i, j, weight in ((0, 1, 2.0), (1, 2, 0.7), (2, 3, 0.5)):
        weights[i, j] = weights[j, i] = weight
    np.testing.assert_allclose(link_strengths(weights), [1, 1, 0.35, 0.25])
    assert find_useful(weights).tolist() == [True, True, True, False]


def test_without_links_nothing_is_idle():
    assert find_useful(np.zeros((3, 3))).all()
