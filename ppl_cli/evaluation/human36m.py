"""The Human3.6M protocol: one linear map without bias, blind to which side of a body is its left.

Unsupervised keypoints cannot know left from right of a person, so the annotation of an image may be swapped where that
lowers its error. Fitting: fit, swap, fit again until at most 10 images swap; then images beyond mean + 3 standard
deviations are dropped and the map is fitted once more. Testing: each image's better side.
"""

from dataclasses import dataclass

import numpy as np

from ppl_cli.data.listing import Listing
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.linear import fit_linear
from ppl_cli.evaluation.protocols import Fitted, Regression, Sample, Score, distances, mean, singular_warnings

JOINTS = 32
PAIRS = [(leg, leg + 5) for leg in range(1, 6)] + [(arm, arm + 8) for arm in range(16, 24)]  # left and right
FEW, MOST_ROUNDS, SIGMAS = 10, 100, 3.0


def swap_table(which: str) -> np.ndarray:
    """(32,) which joint stands at each place after a swap. `corrected` or `published`.

    The published table pairs 21 with 28, where 29 is meant: 28 then stands in two places and 29 stays, so that swapping
    twice does not give back what was there.
    """
    pairs = [(21, 28) if which == "published" and pair == (21, 29) else pair for pair in PAIRS]
    table = np.arange(JOINTS)
    for left, right in pairs:
        table[left], table[right] = right, left
    return table


@dataclass(frozen=True)
class Human36m(Regression):
    name: str = "h36m"
    bias: bool = False
    table: str = "corrected"

    def check(self, test: Listing) -> None:
        count = len(test.keypoint_names)
        if count != JOINTS:
            raise UsageError(f"protocol h36m swaps the {JOINTS} joints of Human3.6M, this data has {count} keypoints")

    def fit(self, fit: Sample, test: Sample) -> Fitted:
        origin = 0.5 if self.origin == "centre" else 0.0
        truth, rounds, swapped = align_sides(fit.found, fit.truth, swap_table(self.table), self.bias, origin)
        linear = fit_linear(fit.found, truth, self.bias, origin)
        per_image = mean(distances(linear(fit.found), truth), 1)
        kept = per_image <= np.nanmean(per_image) + SIGMAS * np.nanstd(per_image)
        linear = fit_linear(fit.found[kept], truth[kept], self.bias, origin)
        details = self.describe(linear) | {
            "swap_table": self.table,
            "swap_rounds": rounds,
            "swapped_fit_images": int(swapped.sum()),
            "dropped_fit_images": int((~kept).sum()),
        }
        warnings = singular_warnings(linear, fit, self.bias)
        if rounds == MOST_ROUNDS:
            warnings.append(f"left and right still swap on more than {FEW} fit images after {MOST_ROUNDS} rounds")
        return Fitted(linear, mean(truth[kept], 0), details, warnings)

    def score(self, predicted: np.ndarray, test: Sample) -> Score:
        as_is, swapped = (distances(predicted, truth) for truth in (test.truth, test.truth[:, swap_table(self.table)]))
        errors = np.where((mean(swapped, 1) < mean(as_is, 1))[:, None], swapped, as_is)
        return Score(mean(errors), mean(errors, 0), errors)


def align_sides(
    found: np.ndarray, truth: np.ndarray, table: np.ndarray, bias: bool, origin: float
) -> tuple[np.ndarray, int, np.ndarray]:
    """Annotations (M, K, 2) with left and right swapped where the fit is then better; rounds; which images are swapped."""
    swapped = np.zeros(len(truth), bool)
    rounds = 0
    while rounds < MOST_ROUNDS:
        rounds += 1
        sides = np.where(swapped[:, None, None], truth[:, table], truth)
        predicted = fit_linear(found, sides, bias, origin)(found)
        better = mean(distances(predicted, truth[:, table]), 1) < mean(distances(predicted, truth), 1)
        changed = int((better != swapped).sum())
        swapped = better
        if changed <= FEW:
            break
    return np.where(swapped[:, None, None], truth[:, table], truth), rounds, swapped
