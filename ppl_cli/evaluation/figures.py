"""Held-out error of a model trained on drawn figures: the one data set whose truth ppl always knows."""

import numpy as np

from ppl_cli.config import Config
from ppl_cli.data.datasets import drawn_figures
from ppl_cli.evaluation.protocols import Regression, regression
from ppl_cli.inference.estimate import Estimator

FIT, TEST = 1000, 500  # figures; the first were trained on, the others never seen
HELD_OUT_SEED = 10**6  # added to the seed of training


def held_out_figures(estimator: Estimator, config: Config) -> Regression:
    """A linear map fitted on training figures, measured on figures of another seed."""
    size = config.model.image_size
    fit = drawn_figures(min(FIT, config.data.figures), size, config.seed)
    test = drawn_figures(TEST, size, config.seed + HELD_OUT_SEED)
    found = [find_all(estimator, np.stack([images.load(i) for i in range(len(images))])) for images in (fit, test)]
    return regression(found[0], fit.keypoints, found[1], test.keypoints)


def find_all(estimator: Estimator, squares: np.ndarray, batch: int = 100) -> np.ndarray:
    """(M, S, S, 3) uint8 -> (M, N, 2) normalised."""
    return np.concatenate([estimator(squares[i : i + batch])[0] for i in range(0, len(squares), batch)])
