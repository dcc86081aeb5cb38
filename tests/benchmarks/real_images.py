"""Regression error of a trained run on an annotated data set of ../shared/data, beside the mean pose.

    python -m tests.benchmarks.real_images RUN ../shared/data/tiger [train.json test.json]

Fits one linear map from all found keypoints to the annotated ones on the fit file's images and measures it on the
test file's: by plain least squares, the field's protocol, and by ridge regression. With the frames of one video, plain
least squares also fits what keypoints do by chance; the penalty of the ridge is the one that errs least when each of seven
stretches of the video is left out in turn, so it is chosen without the test images.
"""

import sys
from pathlib import Path

import numpy as np

from ppl_cli.checkpoint import load_model
from ppl_cli.data.coco import read_coco
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.protocols import distances, regression
from ppl_cli.inference.estimate import Estimator, estimate_poses

PENALTIES = 10.0 ** np.arange(-6, 2, 0.5)
STRETCHES = 7


def find(run: str, folder: Path, file: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Found (M, N, 2) and annotated (M, K, 2) keypoints, in units of half the side of the (square) image."""
    checkpoint = load_model(run)
    estimator = Estimator(checkpoint.model, choose_compute("auto", "fp32"))
    annotated = read_coco(folder / file)
    half = np.array(annotated.widths)[:, None, None] / 2
    poses = estimate_poses(estimator, [folder / name for name in annotated.names], checkpoint.config.data.resize, 32)
    return np.stack([pose.keypoints_px for pose in poses]) / half, annotated.keypoints_px / half, annotated.keypoint_names


def ridge_errors(found_fit, truth_fit, found_test, truth_test, penalty: float) -> np.ndarray:
    """(M, K) errors on the test images; NaN where not annotated."""
    x, z = (found.reshape(len(found), -1) - found_fit.mean(0).ravel() for found in (found_fit, found_test))
    predicted = np.empty_like(truth_test)
    for k in range(truth_fit.shape[1]):
        seen = np.isfinite(truth_fit[:, k]).all(-1)
        middle = truth_fit[seen, k].mean(0)
        gram = x[seen].T @ x[seen] + penalty * np.eye(x.shape[1])
        predicted[:, k] = z @ np.linalg.solve(gram, x[seen].T @ (truth_fit[seen, k] - middle)) + middle
    return distances(predicted, truth_test)


def choose_penalty(found: np.ndarray, truth: np.ndarray) -> float:
    errors = []
    for penalty in PENALTIES:
        left_out = []
        for stretch in np.array_split(np.arange(len(found)), STRETCHES):
            fit = np.setdiff1d(np.arange(len(found)), stretch)
            left_out.append(np.nanmean(ridge_errors(found[fit], truth[fit], found[stretch], truth[stretch], penalty)))
        errors.append(np.mean(left_out))
    return float(PENALTIES[int(np.argmin(errors))])


if __name__ == "__main__":
    run, folder, *files = sys.argv[1:]
    fit, test = files or ("train.json", "test.json")
    found_fit, truth_fit, names = find(run, Path(folder), fit)
    found_test, truth_test, _ = find(run, Path(folder), test)
    plain = regression(found_fit, truth_fit, found_test, truth_test)
    on_fit = regression(found_fit, truth_fit, found_fit, truth_fit).error
    penalty = choose_penalty(found_fit, truth_fit)
    ridge = ridge_errors(found_fit, truth_fit, found_test, truth_test, penalty)
    print(f"mean pose {plain.mean_pose:.2f} %")
    print(f"plain least squares {plain.error:.2f} % (on the fit images {on_fit:.2f} %)")
    print(f"ridge {np.nanmean(ridge):.2f} % (penalty {penalty:.2g})")
    print(f"{'keypoint':20s} {'plain':>7s} {'ridge':>7s} {'mean':>7s}")
    mean = distances(np.broadcast_to(np.nanmean(truth_fit, 0), truth_test.shape), truth_test)
    for k in np.argsort(np.nanmean(ridge, 0)):
        row = (plain.per_keypoint[k], np.nanmean(ridge[:, k]), np.nanmean(mean[:, k]))
        print(f"{names[k]:20s} " + " ".join(f"{value:7.2f}" for value in row))
