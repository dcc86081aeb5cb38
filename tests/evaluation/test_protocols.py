"""Every protocol on hand-made numbers with a known answer, and against a second computation."""

import numpy as np
import pytest

from ppl_cli.data.listing import Listing
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.human36m import FEW, Human36m, swap_table
from ppl_cli.evaluation.matching import Matching, assign
from ppl_cli.evaluation.protocols import Pck, Regression, Sample, Taichi, distances

RNG = np.random.default_rng(0)


def sample(found, truth, sides=101.0) -> Sample:
    found, truth = np.asarray(found, float), np.asarray(truth, float)
    names = [str(m) for m in range(len(found))]
    return Sample(names, found, truth, np.full((len(found), 2), sides))


def scored(protocol, fit, test):
    fitted = protocol.fit(fit, test)
    return protocol.score(fitted.predict(test.found), test), fitted


def along_x(*values):
    return np.array(values, float).reshape(-1, 1, 1) * np.array([1.0, 0])


def test_distance_is_percent_of_the_image_side():
    assert distances(np.array([[[0.0, 0.0]]]), np.array([[[0.3, 0.4]]])) == pytest.approx(50)


def test_regression_known_answer():
    # Least squares of (0, 1, 5) on (0, 1, 2): 2.5 x - 0.5, residuals 0.5, 1, 0.5; the mean is 2.
    both = sample(along_x(0, 1, 2), along_x(0, 1, 5))
    score, fitted = scored(Regression(), both, both)
    assert score.value == pytest.approx(100 * 2 / 3)
    assert Regression().score(fitted.mean_pose, both).value == pytest.approx(100 * (2 + 1 + 3) / 3)


def test_regression_without_bias_known_answer():
    # Through the origin: (0*0 + 1*1 + 2*5) / (0 + 1 + 4) = 2.2, residuals 0, 1.2, 0.6.
    both = sample(along_x(0, 1, 2), along_x(0, 1, 5))
    assert scored(Regression(bias=False), both, both)[0].value == pytest.approx(100 * 1.8 / 3)


def test_origin_matters_only_without_bias():
    data = sample(RNG.random((40, 3, 2)), RNG.random((40, 2, 2)))
    corner, centre = (scored(Regression(bias=False, origin=o), data, data)[0].value for o in ("corner", "centre"))
    assert abs(corner - centre) > 0.1
    corner, centre = (scored(Regression(origin=o), data, data)[0].value for o in ("corner", "centre"))
    assert corner == pytest.approx(centre, abs=1e-9)


def test_a_linear_relation_is_found_exactly():
    found = RNG.normal(size=(60, 4, 2))
    truth = np.einsum("mnc,nckd->mkd", found, RNG.normal(size=(4, 2, 3, 2))) + 0.3
    score, fitted = scored(Regression(), sample(found[:40], truth[:40]), sample(found[40:], truth[40:]))
    assert score.value < 1e-9
    assert Regression().score(fitted.mean_pose, sample(found[40:], truth[40:])).value > 10


def test_useless_keypoints_score_as_the_mean_pose():
    truth = RNG.normal(size=(50, 3, 2))
    fit, test = sample(np.zeros((30, 4, 2)), truth[:30]), sample(np.zeros((20, 4, 2)), truth[30:])
    expected = np.linalg.norm(truth[30:] - truth[:30].mean(0), axis=-1).mean() * 100
    assert scored(Regression(), fit, test)[0].value == pytest.approx(expected)


def test_missing_annotations_count_nowhere():
    found = RNG.normal(size=(40, 2, 2))
    truth = np.einsum("mnc,nckd->mkd", found, RNG.normal(size=(2, 2, 2, 2)))
    truth[::3, 0] = np.nan
    score, _ = scored(Regression(), sample(found, truth), sample(found, truth))
    assert score.value < 1e-9
    # CUB: the mean over all visible keypoints, not the mean of the keypoints' means.
    test = sample(np.zeros((2, 1, 2)), [[[1, 0], [3, 0]], [[np.nan] * 2, [5, 0]]])
    assert Regression(bias=False).score(np.zeros((2, 2, 2)), test).value == pytest.approx(100 * (1 + 3 + 5) / 3)


def test_taichi_known_answer():
    # Errors of 1 and 3 pixels in x and 2 in y of the first keypoint, 5 of the second's x (once missing).
    truth = np.zeros((2, 2, 2))
    truth[1, 1] = np.nan
    predicted = np.zeros((2, 2, 2))
    predicted[:, 0] = [[1, 2], [3, 2]]
    predicted[:, 1, 0] = 5
    data = sample(np.zeros((2, 1, 2)), truth, sides=256.0)
    score = Taichi().score(predicted / 256, data)
    assert score.value == pytest.approx(2 + 2 + 5)
    assert score.per_keypoint == pytest.approx([4, 5])
    halved = sample(np.zeros((2, 1, 2)), truth, sides=128.0)  # the same pixels in images of half the size
    assert Taichi().score(predicted / 128, halved).value == pytest.approx(9 * 255 / 127)


def test_taichi_agrees_with_its_formula():
    found, truth = RNG.random((50, 3, 2)), RNG.random((50, 4, 2))
    score, _ = scored(Taichi(), sample(found[:30], truth[:30], 256.0), sample(found[30:], truth[30:], 256.0))
    inputs = np.hstack([found.reshape(50, -1), np.ones((50, 1))])
    pixels = truth.reshape(50, -1) * 256 - 0.5
    normal = np.linalg.solve(inputs[:30].T @ inputs[:30], inputs[:30].T @ pixels[:30])
    assert score.value == pytest.approx(np.abs(inputs[30:] @ normal - pixels[30:]).mean(0).sum(), abs=1e-9)


def test_pck_known_answer():
    truth = np.zeros((4, 1, 2))
    predicted = np.array([0.01, 0.05, 0.06, 0.2]).reshape(4, 1, 1) * np.array([1.0, 0])
    data = sample(np.zeros((4, 1, 2)), truth, sides=100.0)
    assert Pck(threshold=0.05).score(predicted, data).value == 50
    assert Pck(threshold=6, pixels=True).score(predicted, data).value == 75
    assert Pck(threshold=6, pixels=True).score(predicted, sample(np.zeros((4, 1, 2)), truth, sides=500.0)).value == 25
    data.truth[0] = np.nan
    assert Pck(threshold=0.05).score(predicted, data).value == pytest.approx(100 / 3)


def test_the_corrected_swap_table_is_a_permutation_and_the_published_is_not():
    corrected, published = swap_table("corrected"), swap_table("published")
    assert np.array_equal(corrected[corrected], np.arange(32))
    assert corrected[21] == 29
    assert len(set(published.tolist())) < 32
    assert not np.array_equal(published[published], np.arange(32))
    assert published[21] == 28
    assert published[29] == 29


def people(count, linear, noise=0.0):
    found = RNG.random((count, 6, 2)) + 0.1
    return found, np.einsum("mi,ikc->mkc", found.reshape(count, -1), linear) + noise * RNG.normal(size=(count, 32, 2))


def test_human36m_undoes_swapped_annotations_and_drops_outliers():
    linear = RNG.normal(size=(12, 32, 2))
    found, truth = people(300, linear, 1e-3)
    swapped = RNG.random(300) < 0.25
    truth[swapped] = truth[swapped][:, swap_table("corrected")]
    truth[5] += 50  # an annotation gone wrong
    fit = sample(found, truth)
    found, truth = people(50, linear)
    truth[::2] = truth[::2][:, swap_table("corrected")]
    test = sample(found, truth)
    score, fitted = scored(Human36m(), fit, test)
    assert score.value < 0.5
    assert fitted.details["dropped_fit_images"] >= 1
    assert fitted.details["swap_table"] == "corrected"
    right = swapped.sum()
    assert abs(fitted.details["swapped_fit_images"] - right) <= FEW + 1
    assert scored(Regression(bias=False), fit, test)[0].value > 10 * score.value
    assert fitted.details["bias"] is False
    assert scored(Human36m(table="published"), fit, test)[1].details["swap_table"] == "published"


def test_human36m_agrees_with_its_procedure_written_again():
    linear = RNG.normal(size=(12, 32, 2))
    (found, truth), table = people(80, linear, 0.4), swap_table("corrected")
    truth[::3] = truth[::3][:, table]
    fit, test = sample(found[:60], truth[:60]), sample(found[60:], truth[60:])
    x, y, z = found[:60].reshape(60, -1), truth[:60], found[60:].reshape(20, -1)

    def fitted(inputs, targets):
        flat = targets.reshape(len(targets), -1)
        return np.linalg.solve(inputs.T @ inputs, inputs.T @ flat)

    def errors(inputs, weights, targets):
        away = (inputs @ weights).reshape(targets.shape) - targets
        return np.sqrt((away**2).sum(-1)).mean(1)

    mirrored = np.zeros(60, bool)
    while True:
        now = np.where(mirrored[:, None, None], y[:, table], y)
        weights = fitted(x, now)
        again = errors(x, weights, y[:, table]) < errors(x, weights, y)
        changed, mirrored = int((again != mirrored).sum()), again
        if changed <= 10:
            break
    now = np.where(mirrored[:, None, None], y[:, table], y)
    miss = errors(x, fitted(x, now), now)
    keep = miss <= miss.mean() + 3 * miss.std()
    weights = fitted(x[keep], now[keep])
    best = np.minimum(errors(z, weights, truth[60:]), errors(z, weights, truth[60:][:, table]))
    assert scored(Human36m(), fit, test)[0].value == pytest.approx(100 * best.mean(), abs=1e-9)


def test_human36m_wants_its_32_joints():
    with pytest.raises(UsageError, match="this data has 7 keypoints"):
        Human36m().check(Listing([], None, keypoint_names=list("abcdefg")))


def test_the_swap_loop_ends(monkeypatch):
    """Annotations without any relation to what is found swap for ever."""
    monkeypatch.setattr("ppl_cli.evaluation.human36m.FEW", -1)
    data = sample(RNG.random((40, 3, 2)), RNG.random((40, 32, 2)))
    assert "still swap" in " ".join(Human36m().fit(data, data).warnings)


def test_matching_known_answer():
    # Found keypoints 0.1 beside annotated ones, in another order; one of them is to spare.
    truth = RNG.random((20, 3, 2))
    found = np.stack([truth[:, 2] + [0.1, 0], RNG.random((20, 2)) + 9, truth[:, 0] + [0, 0.1], truth[:, 1] - [0.1, 0]], 1)
    data = sample(found, truth)
    score, fitted = scored(Matching(), data, data)
    assert score.value == pytest.approx(10)
    assert fitted.details["found_keypoint_of"] == {"0": 2, "1": 3, "2": 0}
    squared, _ = scored(Matching(name="matching_squared", squared=True), data, data)
    assert squared.value == pytest.approx(0.2**2)  # between coordinates in [-1, 1]


def test_matching_is_the_cheapest_of_all_assignments():
    from itertools import permutations

    found, truth = RNG.random((30, 5, 2)), RNG.random((30, 3, 2))
    truth[::4, 1] = np.nan
    for squared in (False, True):
        away = np.linalg.norm(found[:, None] - truth[:, :, None], axis=-1) ** (2 if squared else 1)
        costs = np.nansum(away, 0)
        cheapest = min(permutations(range(5), 3), key=lambda places: sum(costs[k, n] for k, n in enumerate(places)))
        assert tuple(assign(found, truth, squared)) == cheapest


def test_matching_leaves_out_what_no_image_has_and_says_what_the_mean_pose_lacks():
    truth = RNG.random((20, 3, 2))
    found = truth[:, [2, 0, 1]] + RNG.normal(0, 0.1, (20, 3, 2))
    before, _ = scored(Matching(), sample(found, truth), sample(found, truth))
    ghost = np.concatenate((truth[:, :1], np.full((20, 1, 2), np.nan), truth[:, 1:]), 1)
    score, fitted = scored(Matching(), sample(found, ghost), sample(found, ghost))
    assert score.value == pytest.approx(before.value)
    assert (fitted.details["found_keypoint_of"], fitted.warnings) == ({"0": 1, "2": 2, "3": 0}, [])
    fit = truth.copy()
    fit[:, 2] = np.nan
    _, fitted = scored(Matching(), sample(found, fit), sample(found, truth))
    assert fitted.warnings == ["keypoints 2 are annotated on no fit image: the mean pose leaves them out"]


def test_matching_with_fewer_found_than_annotated():
    truth = RNG.random((10, 4, 2))
    data = sample(truth[:, [3, 1]], truth)
    score, fitted = scored(Matching(), data, data)
    assert score.value == pytest.approx(0, abs=1e-12)
    assert fitted.details["found_keypoint_of"] == {"1": 1, "3": 0}
    assert "0, 2 have no partner" in fitted.warnings[0]


def test_keypoints_that_cannot_be_fitted_are_named():
    truth = RNG.random((10, 3, 2))
    truth[:, 0] = np.nan
    data = sample(RNG.random((10, 8, 2)), truth)
    data.keypoint_names = ["nose", "tail", "paw"]
    score, fitted = scored(Regression(), data, data)
    assert "nose are annotated on no fit image" in fitted.warnings[0]
    assert "tail, paw: 17 unknowns, 10 fit images" in fitted.warnings[1]
    assert np.isnan(score.per_keypoint[0])
    assert np.isfinite(score.value)
