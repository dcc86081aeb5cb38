"""Regression error of a trained run on an annotated data set of ../shared/data, beside the mean pose.

    python -m tests.benchmarks.real_images RUN ../shared/data/tiger [train.json test.json]

Fits one linear map from all found keypoints to the annotated ones on the fit file's images and measures it on the
test file's. Prints the error in percent of the image side, its ratio to the mean pose, and the worst keypoints.
"""

import sys
from pathlib import Path

import numpy as np

from ppl_cli.checkpoint import load_model
from ppl_cli.data.coco import read_coco
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.protocols import Regression, regression
from ppl_cli.inference.estimate import Estimator, estimate_poses


def score(run: str, folder: Path, fit: str, test: str) -> tuple[Regression, float, list[str]]:
    checkpoint = load_model(run)
    estimator = Estimator(checkpoint.model, choose_compute("auto", "fp32"))
    found, truth = [], []
    for file in (fit, test):
        annotated = read_coco(folder / file)
        # These sets have square images; in units of half a side an error of 2 is the whole image.
        unit = np.array(annotated.widths)[:, None, None] / 2
        poses = estimate_poses(estimator, [folder / name for name in annotated.names], checkpoint.config.data.resize, 32)
        found.append(np.stack([pose.keypoints_px for pose in poses]) / unit)
        truth.append(annotated.keypoints_px / unit)
    on_fit = regression(found[0], truth[0], found[0], truth[0]).error
    return regression(found[0], truth[0], found[1], truth[1]), on_fit, annotated.keypoint_names


if __name__ == "__main__":
    run, folder, *files = sys.argv[1:]
    fit, test = files or ("train.json", "test.json")
    result, on_fit, names = score(run, Path(folder), fit, test)
    print(f"error {result.error:.2f} %  mean pose {result.mean_pose:.2f} %  ratio {result.ratio:.2f}", end="  ")
    print(f"(on the fit images {on_fit:.2f} %)")
    for k in np.argsort(-result.per_keypoint):
        print(f"  {names[k]:20s} {result.per_keypoint[k]:.2f}")
