"""What a training leaves in the model file about its images."""

import torch

from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.units import to_unit
from ppl_cli.model.calibration import calibrate, read_signs
from ppl_cli.prior.links import find_useful
from ppl_cli.training.save import know
from tests.conftest import lively_model


def test_what_is_usual_is_measured_on_images_moved_as_training_moves_them(tiny):
    """On a trained mouse that halves the images of other days that are named as foreign (docs/results.md)."""
    model, size = lively_model(tiny), tiny.model.image_size
    images = open_listing(list_part(tiny.data, "train", tiny.seed, size), tiny.data, size)
    still, moved = (
        know(model, images, tiny.model_copy(update={"train": tiny.train.model_copy(update={"warp": warp})}))
        for warp in (0.0, 0.4)
    )
    with torch.no_grad():
        estimate = model.estimate(to_unit(images.fetch(torch.arange(len(images)))))
        recall = model.recall(estimate.keypoints)
        useful = torch.from_numpy(find_useful(model.link_weights().numpy()))
        as_they_are = calibrate(read_signs(estimate, recall.keypoints), useful)
    for known in (still, moved):
        assert torch.equal(known.tokens, recall.indices)
    torch.testing.assert_close(still.calibration.doubts, as_they_are.doubts, rtol=1e-3, atol=1e-3)
    assert (moved.calibration.doubts - as_they_are.doubts).abs().max() > 0.05
