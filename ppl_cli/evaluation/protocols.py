"""How well found keypoints explain annotated ones (method.md, "Evaluation protocols in this field").

All errors are mean L2 distances divided by the side of the image, x 100, as the field's tables give them. Keypoints
are normalised, so the side of the image is 2. Everything is float64 numpy.
"""

from dataclasses import dataclass

import numpy as np

IMAGE_SIDE = 2.0  # of normalised coordinates


@dataclass(frozen=True)
class Regression:
    error: float  # of the linear map, on the test images
    mean_pose: float  # of always answering the mean annotated pose of the fit images
    per_keypoint: np.ndarray  # (K,) error of each annotated keypoint

    @property
    def ratio(self) -> float:
        return self.error / self.mean_pose


def distances(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(M, K, 2) twice -> (M, K) in percent of the image side; NaN where the truth is missing."""
    return np.linalg.norm(predicted - truth, axis=-1) * 100 / IMAGE_SIDE


def linear_map(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Least squares from all found coordinates and 1 to each annotated keypoint, on the images where it is annotated.

    found (M, N, 2), truth (M, K, 2) with NaN where missing -> (2 N + 1, K, 2).
    """
    inputs = with_bias(found)
    solution = np.zeros((inputs.shape[1], *truth.shape[1:]))
    for k in range(truth.shape[1]):
        seen = np.isfinite(truth[:, k]).all(-1)
        solution[:, k] = np.linalg.lstsq(inputs[seen], truth[seen, k], rcond=None)[0]
    return solution


def with_bias(found: np.ndarray) -> np.ndarray:
    flat = found.reshape(len(found), -1).astype(np.float64)
    return np.concatenate((flat, np.ones((len(flat), 1))), 1)


def regression(found_fit: np.ndarray, truth_fit: np.ndarray, found_test: np.ndarray, truth_test: np.ndarray) -> Regression:
    """Fit ONE linear map on the fit images, measure it on the test images, beside the mean pose of the fit images.

    found (M, N, 2) and truth (M, K, 2), normalised; NaN in truth where not annotated.
    """
    predicted = np.einsum("mi,ikc->mkc", with_bias(found_test), linear_map(found_fit, truth_fit))
    errors = distances(predicted, truth_test)
    baseline = distances(np.broadcast_to(np.nanmean(truth_fit, 0), truth_test.shape), truth_test)
    return Regression(float(np.nanmean(errors)), float(np.nanmean(baseline)), np.nanmean(errors, 0))
