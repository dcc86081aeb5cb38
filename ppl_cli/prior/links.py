"""What the links of a model say: which of them make its skeleton, and which keypoints are idle.

Links are drawn to reconstruct the image; a keypoint without a strong one draws nothing, so nothing holds it to the object.
"""

import numpy as np

FAINTEST = 1e-5  # links at or below it count as no link
STRONG = 0.5  # of the strongest of all links: the skeleton has these
IDLE_BELOW = 0.3  # of the strongest of all: a keypoint whose own strongest link is weaker is idle (docs/results.md)


def link_strengths(weights: np.ndarray) -> np.ndarray:
    """weights (N, N) >= 0 of links -> (N,) in [0, 1]: each keypoint's strongest link, as a share of the strongest of all.

    1 for all where nothing is linked: then links tell nothing.
    """
    strongest = weights.max(initial=0)
    return weights.max(1) / strongest if strongest > FAINTEST else np.ones(len(weights))


def find_useful(weights: np.ndarray) -> np.ndarray:
    """weights (N, N) of links -> (N,) bool: which keypoints are not idle; at least two of them are."""
    return link_strengths(weights) >= IDLE_BELOW


def find_skeleton(weights: np.ndarray) -> np.ndarray:
    """weights (N, N) of links, symmetric -> (N, N) bool: the links that are drawn and exported.

    Those at least `STRONG` times as strong as the strongest, and the strongest link of each keypoint that is not idle: every
    pair has some weight, and all of them drawn would be a tangle.
    """
    strongest = weights.max(initial=0)
    if strongest <= FAINTEST:
        return np.zeros(weights.shape, bool)
    own = (weights == weights.max(1, keepdims=True)) & (weights >= IDLE_BELOW * strongest)
    return (weights >= STRONG * strongest) | own | own.T
