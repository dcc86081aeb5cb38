import numpy as np
import pytest

from ppl_cli.evaluation.protocols import distances, linear_map, regression

RNG = np.random.default_rng(0)


def test_distance_is_percent_of_the_image_side():
    assert distances(np.array([[[0.0, 0.0]]]), np.array([[[0.6, 0.8]]])) == pytest.approx(50)


def test_a_linear_relation_is_found_exactly():
    found = RNG.normal(size=(60, 4, 2))
    truth = np.einsum("mnc,nckd->mkd", found, RNG.normal(size=(4, 2, 3, 2))) + 0.3
    result = regression(found[:40], truth[:40], found[40:], truth[40:])
    assert result.error < 1e-9
    assert result.mean_pose > 10
    assert result.ratio < 1e-9


def test_useless_keypoints_score_as_the_mean_pose():
    truth = RNG.normal(size=(50, 3, 2))
    result = regression(np.zeros((30, 4, 2)), truth[:30], np.zeros((20, 4, 2)), truth[30:])
    assert result.error == pytest.approx(result.mean_pose)
    expected = np.linalg.norm(truth[30:] - truth[:30].mean(0), axis=-1).mean() * 50
    assert result.mean_pose == pytest.approx(expected)


def test_known_answer_on_hand_made_numbers():
    found = np.array([0.0, 1, 2]).reshape(3, 1, 1) * np.array([1.0, 0])  # one keypoint moving along x
    truth = np.array([0.0, 1, 5]).reshape(3, 1, 1) * np.array([1.0, 0])
    # Least squares of (0, 1, 5) on (0, 1, 2): 2.5 x - 0.5; residuals 0.5, 1, 0.5.
    result = regression(found, truth, found, truth)
    assert result.error == pytest.approx((0.5 + 1 + 0.5) / 3 * 50)


def test_missing_annotations_are_left_out_per_keypoint():
    found = RNG.normal(size=(40, 2, 2))
    truth = np.einsum("mnc,nckd->mkd", found, RNG.normal(size=(2, 2, 2, 2)))
    holes = truth.copy()
    holes[::3, 0] = np.nan
    assert np.allclose(linear_map(found, holes), linear_map(found, truth))
    assert regression(found, holes, found, holes).error < 1e-9
