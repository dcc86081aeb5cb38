import torch

from ppl_cli.checkpoint import build_model
from ppl_cli.device import choose_compute
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.refine import refine


def test_it_is_the_procedure_of_the_paper_step_by_step(tiny):
    torch.manual_seed(0)
    model = build_model(tiny).eval()
    estimator = Estimator(model, choose_compute("cpu", "fp32"))
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    images[:, :, 8:16, 8:16] = 0
    refined = refine(estimator, images, 2)
    with torch.no_grad():
        current, expected = images, []
        for _ in range(2):
            keypoints = model.estimate(current).keypoints
            expected.append(keypoints)
            current = model.reconstruct(images, model.draw(model.recall(keypoints).keypoints))
        expected.append(model.estimate(current).keypoints)
    assert torch.allclose(refined.keypoints, torch.stack(expected), atol=1e-6)
    assert torch.allclose(refined.reconstruction, current, atol=1e-6)


def test_no_iteration_is_plain_inference_and_nothing_is_changed(tiny):
    model = build_model(tiny).eval()
    estimator = Estimator(model, choose_compute("cpu", "fp32"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(refine(estimator, images, 0).keypoints[0], estimator.estimate(images).keypoints)
    first = refine(estimator, images, 3).keypoints
    assert first.shape == (4, 2, 5, 2)
    assert torch.equal(refine(estimator, images[1:], 3).keypoints, first[:, 1:]) or torch.allclose(
        refine(estimator, images[1:], 3).keypoints, first[:, 1:], atol=1e-5
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
