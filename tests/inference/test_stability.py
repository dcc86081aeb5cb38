import torch

from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.device import choose_compute
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.stability import known_warp, measure_shifts
from ppl_cli.model.encoder import Estimate


class Marks:
    """Finds the mean position of each colour channel: it moves as the image does."""

    def estimate(self, images):
        size = images.shape[-1]
        line = torch.linspace(-1, 1, size)
        weights = (images + 1).flatten(2)
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
        return Estimate(weights @ grid / weights.sum(-1, keepdim=True), None, None, None)


def draw_blobs(size=65):
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = torch.tensor([[0.2, -0.3], [-0.4, 0.1], [0.0, 0.3]])
    return torch.stack([torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.01) for a, b in places])[None] * 2 - 1, places


def test_what_moves_with_the_image_is_stable():
    images, places = draw_blobs()
    keypoints = Marks().estimate(images).keypoints
    torch.testing.assert_close(keypoints[0], places, atol=1e-3, rtol=0)
    assert measure_shifts(Marks(), images, keypoints).max() < 2e-3


def test_what_stays_in_its_place_is_not():
    images, _ = draw_blobs()
    keypoints = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])

    class Fixed:
        def estimate(self, images):
            return Estimate(keypoints, None, None, None)

    shifts = measure_shifts(Fixed(), images, keypoints)
    moved = keypoints @ known_warp()[..., :2].mT - keypoints
    torch.testing.assert_close(shifts, moved.norm(dim=-1))
    assert shifts[0, 0] > 0.1


def test_shifts_of_an_image_do_not_depend_on_its_batch(tiny):
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    estimator = Estimator(build_model(tiny), choose_compute("cpu"))
    keypoints = estimator.estimate(images).keypoints
    together = measure_shifts(estimator, images, keypoints)
    alone = torch.cat([measure_shifts(estimator, images[i : i + 1], keypoints[i : i + 1]) for i in (3, 0, 2, 1)])
    torch.testing.assert_close(together[[3, 0, 2, 1]], alone, atol=1e-5, rtol=0)
