"""Linear maps from found keypoints to annotated ones: least squares and ridge regression, float64.

Never through an inverse: least squares by `numpy.linalg.lstsq`, ridge by the singular values of its inputs. Keypoints
that are annotated on the same images share one decomposition.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

PENALTIES = 10.0 ** np.arange(-7, 2.5, 0.5)  # tried by `loo` and `stretches`, in squared image sides
STRETCHES = 7
ROUNDING = 1e-6  # relative to the largest singular value: found keypoints are float32, smaller ones are noise
Penalty = float | Literal["loo", "stretches"]


@dataclass(frozen=True)
class LinearMap:
    """`weights` (2 N, K, 2) and `offset` (K, 2): NaN for keypoints that were never annotated."""

    weights: np.ndarray
    offset: np.ndarray
    origin: float  # subtracted from all coordinates, so that without an offset this point maps to itself
    penalty: float
    singular: list[int] = field(default_factory=list)  # keypoints whose images do not determine the map

    def __call__(self, found: np.ndarray) -> np.ndarray:
        """(M, N, 2) -> (M, K, 2)."""
        flat = found.reshape(len(found), -1).astype(np.float64) - self.origin
        return np.einsum("mi,ikc->mkc", flat, self.weights) + self.offset + self.origin


def fit_linear(
    found: np.ndarray, truth: np.ndarray, bias: bool = True, origin: float = 0.0, penalty: Penalty = 0.0
) -> LinearMap:
    """The map that errs least (squared) on the images where a keypoint is annotated.

    found (M, N, 2); truth (M, K, 2), NaN where missing; `penalty` of the ridge (0: plain least squares), or how to
    choose it: `loo` leaves out one image after another, `stretches` one of seven stretches of the images in their order
    (neighbouring video frames are too alike for `loo`).
    """
    x = found.reshape(len(found), -1).astype(np.float64) - origin
    y = truth.astype(np.float64) - origin
    if penalty == "loo":
        penalty = choose_penalty(lambda value: leave_one_out_errors(x, y, bias, value))
    elif penalty == "stretches":
        penalty = choose_penalty(lambda value: stretch_errors(x, y, bias, value))
    weights, offset, singular = solve(x, y, bias, penalty)
    return LinearMap(weights, offset, origin, float(penalty), singular)


def choose_penalty(compute_errors: Callable[[float], np.ndarray]) -> float:
    """The penalty with the smallest mean distance; the largest where no image can be left out."""
    found = [compute_errors(value) for value in PENALTIES]
    known = [np.isfinite(errors) for errors in found]
    means = [errors[there].mean() if there.any() else np.inf for errors, there in zip(found, known, strict=True)]
    return float(PENALTIES[-1] if np.isinf(means).all() else PENALTIES[int(np.argmin(means))])


def groups(y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(images, keypoints) for each set of keypoints annotated on the same images; empty sets are left out."""
    seen = np.isfinite(y).all(-1)
    patterns, member = np.unique(seen, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        images = np.flatnonzero(patterns[:, number])
        if len(images):
            yield images, np.flatnonzero(member.ravel() == number)


def solve(x: np.ndarray, y: np.ndarray, bias: bool, penalty: float) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """x (M, I), y (M, K, 2) -> weights (I, K, 2), offset (K, 2), keypoints whose map is not determined."""
    weights = np.full((x.shape[1], *y.shape[1:]), np.nan)
    offset = np.full(y.shape[1:], np.nan)
    singular: list[int] = []
    for images, keypoints in groups(y):
        inputs, targets = x[images], y[images][:, keypoints]
        middle_x, middle_y = (inputs.mean(0), targets.mean(0)) if bias else (np.zeros(x.shape[1]), np.zeros(targets.shape[1:]))
        flat = (targets - middle_y).reshape(len(images), -1)
        if penalty:
            u, s, vt = np.linalg.svd(inputs - middle_x, full_matrices=False)
            solution = vt.T @ ((s / (s**2 + penalty))[:, None] * (u.T @ flat))
        else:
            solution, _, rank, _ = np.linalg.lstsq(inputs - middle_x, flat, rcond=ROUNDING)
            if rank < x.shape[1]:
                singular += keypoints.tolist()
        weights[:, keypoints] = solution.reshape(x.shape[1], -1, 2)
        offset[keypoints] = middle_y - np.einsum("i,ikc->kc", middle_x, weights[:, keypoints])
    return weights, offset, sorted(singular)


def leave_one_out_errors(x: np.ndarray, y: np.ndarray, bias: bool, penalty: float) -> np.ndarray:
    """(M, K) distance at each image of the map fitted on all others, from one fit: residual / (1 - leverage)."""
    errors = np.full(y.shape[:2], np.nan)
    for images, keypoints in groups(y):
        inputs, targets = x[images], y[images][:, keypoints]
        if bias:
            inputs, targets = inputs - inputs.mean(0), targets - targets.mean(0)
        u, s, _ = np.linalg.svd(inputs, full_matrices=False)
        shrunk = u * (s**2 / (s**2 + penalty))
        leverage = (shrunk * u).sum(1) + (1 / len(images) if bias else 0)
        residual = targets - (shrunk @ (u.T @ targets.reshape(len(images), -1))).reshape(targets.shape)
        distance = np.linalg.norm(residual, axis=-1) / np.maximum(1 - leverage, 1e-12)[:, None]
        errors[np.ix_(images, keypoints)] = distance
    return errors


def stretch_errors(x: np.ndarray, y: np.ndarray, bias: bool, penalty: float) -> np.ndarray:
    """(M, K) distance at each image of the map fitted without its stretch."""
    errors = np.full(y.shape[:2], np.nan)
    for stretch in np.array_split(np.arange(len(x)), STRETCHES):
        others = np.setdiff1d(np.arange(len(x)), stretch)
        if len(stretch) and len(others):
            weights, offset, _ = solve(x[others], y[others], bias, penalty)
            predicted = np.einsum("mi,ikc->mkc", x[stretch], weights) + offset
            errors[stretch] = np.linalg.norm(predicted - y[stretch], axis=-1)
    return errors
