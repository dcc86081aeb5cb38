"""What a training leaves in the model file about its images."""

import torch

from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.units import to_unit
from ppl_cli.model.calibration import Signs, calibrate, read_signs
from ppl_cli.prior.links import find_useful
from ppl_cli.training.save import LOOKS, know
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
        signs = read_signs(estimate, recall.keypoints)
        as_they_are = calibrate(
            Signs(*(sign.repeat(LOOKS // len(images) + 1, *[1] * (sign.ndim - 1)) for sign in signs)), useful
        )
    for known in (still, moved):
        assert torch.equal(known.tokens, recall.indices)
    torch.testing.assert_close(still.calibration.doubts, as_they_are.doubts, rtol=1e-3, atol=1e-3)
    assert (moved.calibration.doubts - as_they_are.doubts).abs().max() > 0.05


def test_few_images_are_like_themselves(tiny):
    few = tiny.model_copy(update={"data": tiny.data.model_copy(update={"figures": 3})})
    model, size = lively_model(few), few.model.image_size
    images = open_listing(list_part(few.data, "train", few.seed, size), few.data, size)
    known = know(model, images, few.model_copy(update={"train": few.train.model_copy(update={"warp": 0.4})}))
    with torch.no_grad():
        estimate = model.estimate(to_unit(images.fetch(torch.arange(len(images)))))
        _, strange = known.calibration.judge(read_signs(estimate, model.recall(estimate.keypoints).keypoints))
    assert (strange < known.calibration.limit).all()
