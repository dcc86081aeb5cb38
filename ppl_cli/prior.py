"""The prior as a file: keypoints, links, nothing that needs this package to read."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl_cli.files import replacing

FORMAT_VERSION = 1


@dataclass
class Prior:
    """`keypoints` (N, 2) (x, y) in [-1, 1]; `links` (N, N) symmetric, >= 0, zero on the diagonal."""

    keypoints: np.ndarray
    links: np.ndarray

    def strong_links(self, share: float = 0.5) -> list[tuple[int, int]]:
        """Pairs i < j whose weight is at least `share` of the strongest: the skeleton that is drawn and exported."""
        if self.links.max(initial=0) <= 0:
            return []
        i, j = np.nonzero(np.triu(self.links, 1) >= share * self.links.max())
        return list(zip(i.tolist(), j.tolist(), strict=True))


def save_prior(path: Path, prior: Prior) -> None:
    content = {
        "format_version": FORMAT_VERSION,
        "coordinates": "(x, y) in [-1, 1]: centres of the first and last pixel of the square input",
        "keypoints": [{"name": f"k{i}", "x": x, "y": y} for i, (x, y) in enumerate(prior.keypoints.tolist())],
        "links": prior.links.tolist(),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
