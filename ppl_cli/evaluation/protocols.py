"""How well found keypoints explain annotated ones (docs/method.md, "Evaluation protocols in this field").

A protocol first fits a `Map`, which turns found keypoints (M, N, 2) into annotated ones (M, K, 2), and then
scores what it predicts. All coordinates are (x, y) as shares of the image side: 0 is the outer edge of the first pixel,
1 of the last. Everything is float64 numpy.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ppl_cli.data.listing import Listing
from ppl_cli.evaluation.linear import LinearMap, Penalty, fit_linear
from ppl_cli.text import counted

PERCENT = "% of the image side"
TAICHI_SIDE = 255.0  # pixels between the centres of the first and last pixel of the field's Taichi images

Map = Callable[[np.ndarray], np.ndarray]


@dataclass
class Sample:
    """M images: keypoints found in them (M, N, 2), annotated ones (M, K, 2), NaN where missing, and sides (M, 2) in pixels."""

    names: list[str]
    found: np.ndarray
    truth: np.ndarray
    sides: np.ndarray
    keypoint_names: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def listed(self, keypoints: list[int], most: int = 6) -> str:
        """Names of annotated keypoints, for a message."""
        names = [self.keypoint_names[k] if self.keypoint_names else str(k) for k in keypoints]
        return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass
class Score:
    value: float  # in the protocol's unit
    per_keypoint: np.ndarray  # (K,) in the protocol's unit
    errors: np.ndarray  # (M, K) distances in % of the image side, NaN where not annotated


@dataclass
class Fitted:
    predict: Map
    mean_pose: np.ndarray  # (K, 2) of the annotated poses: answered for every image, it is the baseline
    details: dict[str, object] = field(default_factory=dict)  # for the report
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Regression:
    """ONE linear map from all found coordinates to each annotated keypoint, fitted where it is annotated."""

    name: str = "regression"
    bias: bool = True
    origin: str = "corner"  # without bias: which point of the image maps to itself, corner or centre
    penalty: Penalty = 0.0
    unit: str = PERCENT
    better: str = "lower"

    def check(self, test: Listing) -> None:
        """UsageError where the protocol does not fit the data, before anything is computed."""

    def fit(self, fit: Sample, test: Sample) -> Fitted:
        linear = fit_linear(fit.found, fit.truth, self.bias, 0.5 if self.origin == "centre" else 0.0, self.penalty)
        return Fitted(linear, mean(fit.truth, 0), self.describe(linear), singular_warnings(linear, fit, self.bias))

    def describe(self, linear: LinearMap) -> dict[str, object]:
        details: dict[str, object] = {"bias": self.bias}
        if not self.bias:
            details["origin"] = self.origin
        if self.penalty:
            details |= {
                "penalty": linear.penalty,
                "penalty_chosen_by": self.penalty if isinstance(self.penalty, str) else "given",
            }
        return details

    def score(self, predicted: np.ndarray, test: Sample) -> Score:
        errors = distances(predicted, test.truth)
        return Score(mean(errors), mean(errors, 0), errors)


@dataclass(frozen=True)
class Taichi(Regression):
    """Per coordinate, with bias; mean absolute errors in 255-pixel units, summed over keypoints and coordinates."""

    name: str = "taichi"
    unit: str = "px, summed over keypoints"

    def score(self, predicted: np.ndarray, test: Sample) -> Score:
        pixels = np.abs(predicted - test.truth) * (test.sides / np.maximum(test.sides - 1, 1))[:, None] * TAICHI_SIDE
        per_keypoint = np.nansum(mean(pixels, 0), -1)
        per_keypoint[np.isnan(pixels).all((0, 2))] = np.nan
        return Score(float(np.nansum(per_keypoint)), per_keypoint, distances(predicted, test.truth))


@dataclass(frozen=True)
class Pck(Regression):
    """Share of keypoints within a threshold of the truth (percentage of correct keypoints), after the regression."""

    name: str = "pck"
    threshold: float = 0.05  # of the image side, or with `pixels` in pixels of the image
    pixels: bool = False
    unit: str = "% correct"
    better: str = "higher"

    def describe(self, linear: LinearMap) -> dict[str, object]:
        return super().describe(linear) | {"threshold": self.threshold, "threshold_unit": "px" if self.pixels else "image side"}

    def score(self, predicted: np.ndarray, test: Sample) -> Score:
        scale = test.sides[:, None] if self.pixels else 1.0
        far = np.linalg.norm((predicted - test.truth) * scale, axis=-1)
        correct = np.where(np.isnan(far), np.nan, 100.0 * (far <= self.threshold + 1e-12))
        return Score(mean(correct), mean(correct, 0), distances(predicted, test.truth))


def distances(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(M, K, 2) twice -> (M, K) in % of the image side; NaN where the truth is missing."""
    return np.linalg.norm(predicted - truth, axis=-1) * 100


def mean(values: np.ndarray, axis: int | None = None) -> np.ndarray | float:
    """Mean over what is not NaN; NaN, without a complaint, where nothing is."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0).sum(axis), known.sum(axis)
    result = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return float(result) if axis is None else result


def singular_warnings(linear: LinearMap, fit: Sample, bias: bool) -> list[str]:
    """A line for keypoints whose map their images do not determine, one for those that were never annotated."""
    lines = []
    never = np.flatnonzero(np.isnan(fit.truth).any(-1).all(0)).tolist()
    if never:
        lines.append(f"keypoints {fit.listed(never)} are annotated on no fit image: they have no map and are left out")
    if linear.singular:
        unknowns = fit.found.shape[1] * 2 + bias
        fewest = int(np.isfinite(fit.truth[:, linear.singular]).all(-1).sum(0).min())
        lines.append(
            f"singular fit of keypoints {fit.listed(linear.singular)}: {unknowns} unknowns, "
            f"{counted(fewest, 'fit image')} at the least (or found keypoints that move as one); of the maps that fit, the "
            "smallest is taken. Look at ridge instead"
        )
    return lines
