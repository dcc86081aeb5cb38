"""Linear maps against a second computation, written from the formula with other means (normal equations, refits)."""

import numpy as np
import pytest

from ppl_cli.evaluation.linear import PENALTIES, fit_linear, leave_one_out_errors, solve, stretch_errors

RNG = np.random.default_rng(0)
FOUND, TRUTH = RNG.random((60, 4, 2)), RNG.random((60, 3, 2))
HOLES = TRUTH.copy()
HOLES[RNG.random((60, 3)) < 0.3] = np.nan


def by_normal_equations(found, truth, bias, origin, penalty):
    """(K, 2, inputs + 1): for each coordinate of each keypoint its weights and offset."""
    x = found.reshape(len(found), -1) - origin
    columns = np.hstack([x, np.ones((len(x), 1))]) if bias else x
    shrink = penalty * np.eye(columns.shape[1])
    if bias:
        shrink[-1, -1] = 0  # the offset is not penalised
    result = np.zeros((*truth.shape[1:], columns.shape[1]))
    for k in range(truth.shape[1]):
        seen = np.isfinite(truth[:, k, 0])
        for c in range(2):
            a, b = columns[seen], truth[seen, k, c] - origin
            result[k, c] = np.linalg.solve(a.T @ a + shrink, a.T @ b)
    return result


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("origin", [0.0, 0.5])
@pytest.mark.parametrize("penalty", [0.0, 1e-3, 2.0])
@pytest.mark.parametrize("truth", [TRUTH, HOLES], ids=["all", "holes"])
def test_agrees_with_the_normal_equations(bias, origin, penalty, truth):
    mapped = fit_linear(FOUND[:45], truth[:45], bias, origin, penalty)(FOUND[45:])
    weights = by_normal_equations(FOUND[:45], truth[:45], bias, origin, penalty)
    x = FOUND[45:].reshape(15, -1) - origin
    x = np.hstack([x, np.ones((15, 1))]) if bias else x
    assert np.abs(mapped - (np.einsum("mi,kci->mkc", x, weights) + origin)).max() < 1e-9


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("penalty", [1e-3, 0.5])
def test_leave_one_out_is_what_refitting_without_each_image_gives(bias, penalty):
    x = FOUND.reshape(60, -1)
    errors = leave_one_out_errors(x, HOLES, bias, penalty)
    for m in range(60):
        others = np.arange(60) != m
        for k in range(3):
            if np.isfinite(HOLES[m, k, 0]):
                weights = by_normal_equations(FOUND[others], HOLES[others][:, [k]], bias, 0.0, penalty)[0]
                inputs = np.append(x[m], 1) if bias else x[m]
                assert errors[m, k] == pytest.approx(np.linalg.norm(weights @ inputs - HOLES[m, k]), abs=1e-9)
            else:
                assert np.isnan(errors[m, k])


def test_stretches_leave_out_neighbours():
    x = FOUND.reshape(60, -1)
    errors = stretch_errors(x, TRUTH, True, 0.1)
    first = np.array_split(np.arange(60), 7)[0]
    others = np.arange(60) >= len(first)
    weights, offset, _ = solve(x[others], TRUTH[others], True, 0.1)
    expected = np.linalg.norm(np.einsum("mi,ikc->mkc", x[first], weights) + offset - TRUTH[first], axis=-1)
    assert np.allclose(errors[first], expected, atol=1e-12)


def test_the_penalty_is_chosen_without_test_images_and_helps_where_images_are_few():
    true = RNG.normal(size=(30, 2, 2)) * (np.arange(30) < 2)[:, None, None]
    found = RNG.random((400, 15, 2))
    truth = np.einsum("mi,ikc->mkc", found.reshape(400, -1), true) + RNG.normal(size=(400, 2, 2)) * 0.5
    errors = {}
    for penalty in (0.0, "loo", "stretches"):
        linear = fit_linear(found[:40], truth[:40], penalty=penalty)
        errors[penalty] = np.linalg.norm(linear(found[40:]) - truth[40:], axis=-1).mean()
        assert penalty == 0 or linear.penalty in PENALTIES
    assert errors["loo"] < 0.8 * errors[0.0]
    assert errors["stretches"] < 0.8 * errors[0.0]


def test_a_singular_fit_is_named_and_stays_finite():
    few = HOLES[:9].copy()
    few[:, 1] = np.nan
    few[0, 1] = 0.3
    few[:, 0] = np.nan
    linear = fit_linear(FOUND[:9], few)
    assert linear.singular == [1, 2]
    assert np.isnan(linear(FOUND)[:, 0]).all()
    assert np.isfinite(linear(FOUND)[:, 1:]).all()
    constant = fit_linear(np.full((20, 4, 2), 0.5), TRUTH[:20])
    assert constant.singular == [0, 1, 2]
    assert np.allclose(constant(np.full((1, 4, 2), 0.5))[0], TRUTH[:20].mean(0))


def test_directions_that_are_only_rounding_are_left_out():
    """Found keypoints are float32: two that move as one differ by rounding, which must not be amplified."""
    found = FOUND.copy()
    found[:, 3] = (found[:, 0] * 0.7 + 0.1).astype(np.float32)
    found = found.astype(np.float32)
    linear = fit_linear(found[:45], TRUTH[:45])
    assert linear.singular == [0, 1, 2]
    assert np.abs(linear.weights).max() < 10
    without = fit_linear(found[:45, :3], TRUTH[:45])
    assert np.allclose(linear(found), without(found[:, :3]), atol=1e-4)
