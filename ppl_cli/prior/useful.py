"""Which keypoints of a model carry the pose, and which are idle: those that it never learned to link.

Links are drawn to reconstruct the image; a keypoint without a strong one draws nothing, so nothing holds it to the object.
"""

import numpy as np

from ppl_cli.prior.prior import FAINTEST

IDLE_BELOW = 0.3  # of the strongest of all links: a keypoint whose own strongest one is weaker is idle (docs/results.md)


def link_strengths(weights: np.ndarray) -> np.ndarray:
    """weights (N, N) >= 0 of links -> (N,) in [0, 1]: each keypoint's strongest link, as a share of the strongest of all.

    1 for all where nothing is linked: then links tell nothing.
    """
    strongest = weights.max(initial=0)
    return weights.max(1) / strongest if strongest > FAINTEST else np.ones(len(weights))


def find_useful(weights: np.ndarray) -> np.ndarray:
    """weights (N, N) of links -> (N,) bool: which keypoints are not idle; at least two of them are."""
    return link_strengths(weights) >= IDLE_BELOW
