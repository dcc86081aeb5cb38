"""Matching: each annotated keypoint is assigned one found keypoint, at the smallest total cost over the whole test set.

No map is fitted. Any number of found and annotated keypoints: what is left over on either side stays without a partner.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ppl_cli.data.listing import Listing
from ppl_cli.errors import PPLError
from ppl_cli.evaluation.protocols import PERCENT, Fitted, Sample, Score, distances, mean


@dataclass(frozen=True)
class Matching:
    """Mean distance. With `squared`, what the original implementation reports: the mean squared distance, between
    coordinates in [-1, 1], assigned by squared distance too."""

    name: str = "matching"
    unit: str = PERCENT
    better: str = "lower"
    squared: bool = False

    def check(self, test: Listing) -> None:
        assignment_solver()

    def fit(self, fit: Sample, test: Sample) -> Fitted:
        assigned = assign(test.found, test.truth, self.squared)
        partners = {str(k): int(n) for k, n in enumerate(assigned) if n >= 0}
        alone = np.flatnonzero((assigned < 0) & seen_somewhere(test.truth)).tolist()
        warnings = [f"annotated keypoints {test.listed(alone)} have no partner (fewer are found)"] if alone else []
        unknown = np.flatnonzero((assigned >= 0) & ~seen_somewhere(fit.truth)).tolist()
        if unknown:
            warnings.append(f"keypoints {test.listed(unknown)} are annotated on no fit image: the mean pose leaves them out")

        mean_pose = np.where((assigned >= 0)[:, None], mean(fit.truth, 0), np.nan)  # over the same keypoints
        details = {"found_keypoint_of": partners, "keypoints_compared": len(partners)}
        return Fitted(partial(take_partners, assigned), mean_pose, details, warnings)

    def score(self, predicted: np.ndarray, test: Sample) -> Score:
        errors = distances(predicted, test.truth)
        values = (2 * errors / 100) ** 2 if self.squared else errors
        return Score(mean(values), mean(values, 0), errors)


def assign(found: np.ndarray, truth: np.ndarray, squared: bool = False) -> np.ndarray:
    """found (M, N, 2), truth (M, K, 2) -> (K,) number of the found keypoint, -1 where none is left or nothing is annotated."""
    annotated = np.flatnonzero(seen_somewhere(truth))
    costs = np.zeros((len(annotated), found.shape[1]))
    for row, k in enumerate(annotated):
        seen = np.isfinite(truth[:, k]).all(-1)
        away = np.linalg.norm(found[seen].astype(np.float64) - truth[seen, k, None], axis=-1)
        costs[row] = (away**2 if squared else away).sum(0)
    rows, columns = assignment_solver()(costs)
    assigned = np.full(truth.shape[1], -1)
    assigned[annotated[rows]] = columns
    return assigned


def take_partners(assigned: np.ndarray, found: np.ndarray) -> np.ndarray:
    """found (M, N, 2) -> (M, K, 2): the found keypoint `assigned` to each annotated one, NaN where none is."""
    return np.where((assigned >= 0)[:, None], found[:, np.maximum(assigned, 0)].astype(np.float64), np.nan)


def seen_somewhere(truth: np.ndarray) -> np.ndarray:
    """truth (M, K, 2) -> (K,) whether a keypoint is annotated on any image."""
    return np.isfinite(truth).all(-1).any(0)


def assignment_solver() -> Callable:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise PPLError("the matching protocol needs scipy: pip install scipy") from error
    return linear_sum_assignment
