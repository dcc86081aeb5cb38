"""Poses found in occluded annotated images."""

import numpy as np
import torch

from ppl_cli.data.datasets import list_part
from ppl_cli.data.occlusion import Occlusion
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.collect import Reader, collect_occluded
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.refine import Options
from ppl_cli.model.finder import OcclusionFinder
from tests.conftest import lively_model


def test_before_refinement_every_method_has_the_pose_that_is_found_without(tiny, monkeypatch):
    """A finder that takes half of the picture for hidden must not look better by what it has hidden itself."""
    half = torch.ones(1, 1, 1, 32)
    half[..., :16] = 0
    monkeypatch.setattr(OcclusionFinder, "find_visible", lambda finder, images: half.expand(len(images), 1, 32, 32))
    estimator = Estimator(lively_model(tiny), choose_compute("cpu", "fp32"), occlusions=OcclusionFinder())
    listing = list_part(tiny.data, "test", 0, 32).take([0, 1, 2])
    found, known = (
        [sample.found for sample in collect_occluded(estimator, reader, [Occlusion("center", 8)], Options(1, method), 0)[0]]
        for method in ("found", "visible")
        for reader in [Reader(listing, 32, tiny.data.resize, 2, False, "")]
    )
    assert np.array_equal(found[0], known[0])
    assert not np.allclose(found[1], known[1])
