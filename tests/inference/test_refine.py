"""The refinement loop: the paper's procedure step by step, and the properties of ours."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ppl_cli.data.frame import Frame
from ppl_cli.device import choose_compute
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.refine import Options, believe, refine, seen
from tests.conftest import lively_model, measured


@pytest.fixture
def estimator(tiny):
    return Estimator(lively_model(tiny), choose_compute("cpu", "fp32"))


@pytest.fixture
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def visible():
    mask = torch.ones(4, 1, 32, 32)
    mask[:3, :, 8:20, 8:24] = 0
    return mask  # the last image is whole


def by_hand(model, images, visible, iterations, keep):
    """The loop written again, without shortcuts."""
    occluded = images * visible
    current, poses = occluded, []
    with torch.no_grad():
        for _ in range(iterations):
            keypoints = model.estimate(current).keypoints
            poses.append(keypoints)
            recalled = model.recall(keypoints).keypoints
            reconstruction = model.reconstruct(occluded, model.draw(recalled))
            current = visible * occluded + (1 - visible) * reconstruction.clamp(-1, 1) if keep else reconstruction
        poses.append(model.estimate(current).keypoints)
    return torch.stack(poses), current


@pytest.mark.parametrize("method", ["paper", "visible"])
def test_it_is_the_procedure_step_by_step(estimator, images, visible, method):
    record = []
    refined = refine(estimator, images, visible, Options(3, method), record)
    expected, last = by_hand(estimator.model, images, visible, 3, method == "visible")
    assert torch.allclose(refined.keypoints, expected, atol=1e-5)
    assert torch.allclose(record[-1].image[:3], last[:3], atol=1e-5)
    assert not torch.allclose(refined.keypoints[0, :3], refined.keypoints[-1, :3], atol=1e-3)


def test_the_paper_without_a_mask_takes_the_whole_image_as_visible(estimator, images):
    expected, _ = by_hand(estimator.model, images, torch.ones(4, 1, 32, 32), 2, False)
    assert torch.allclose(refine(estimator, images, None, Options(2, "paper")).keypoints, expected, atol=1e-5)


class Found:
    """Takes what is white for hidden."""

    def find_visible(self, images):
        return (images.amin(1, keepdim=True) < 1).float()


def test_what_is_found_hidden_is_completed_as_if_it_had_been_said(estimator, images, visible):
    covered = torch.where(visible > 0, images, 1.0)
    estimator.occlusions = Found()
    expected = refine(estimator, covered, visible, Options(3, "visible"))
    refined = refine(estimator, covered, None, Options(3, "found"))
    assert torch.equal(refined.visible, visible)
    assert torch.equal(refined.keypoints, expected.keypoints)
    assert refined.used.tolist() == [3, 3, 3, 0]
    more = visible.clone()
    more[:, :, :4] = 0  # what is said is hidden too
    assert torch.equal(refine(estimator, covered, more, Options(1, "found")).visible, more * visible)


@pytest.mark.parametrize(("completed", "believed"), [(0.6, True), (0.5, False), (0.4, False), (torch.nan, False)])
def test_what_is_found_counts_where_the_pose_is_surer_by_it(tiny, images, visible, monkeypatch, completed, believed):
    model = lively_model(tiny)
    estimator = Estimator(model, choose_compute("cpu", "fp32"), measured(model, tiny).calibration)
    covered, said = torch.where(visible > 0, images, 1.0), torch.ones_like(visible)
    said[:, :, 30:] = 0
    look, looked = estimator.look, []

    def sure(squares):
        looked.append(squares)
        return look(squares)._replace(confidence=torch.full((len(squares), 5), {2: completed}.get(len(looked), 0.5)))

    with monkeypatch.context() as patched:
        patched.setattr(estimator, "look", sure)
        found = believe(estimator, covered, said, visible * said)
    assert torch.equal(found, visible * said if believed else said)
    assert [len(squares) for squares in looked] == [3, 3, 3]  # nothing was found in the last
    assert torch.equal(looked[2], (covered * said)[:3])
    assert torch.equal(looked[1] * (visible * said)[:3], (covered * visible * said)[:3])
    assert not torch.equal(looked[1], looked[0])


def test_without_a_calibration_all_that_is_found_counts(estimator, images, visible):
    assert torch.equal(believe(estimator, images, torch.ones_like(visible), visible), visible)


def test_padding_hides_nothing_and_the_picture_s_mirror_image_is_looked_at_in_its_place(estimator, images):
    seen, finds = [], Found()
    estimator.occlusions = SimpleNamespace(find_visible=lambda images: seen.append(images) or finds.find_visible(images))
    frame = Frame(64, 32, 32)
    images[:, :, :8] = images[:, :, 24:] = 1  # looks like what hides
    images[:2, :, 8:10, 5] = 1
    visible = refine(estimator, images, None, Options(1, "found"), frames=[frame, None, frame, frame]).visible
    assert torch.equal(seen[0][0, :, 8:24], images[0, :, 8:24])
    assert torch.equal(seen[0][0, :, :8], images[0, :, 8:16].flip(1))
    assert torch.equal(seen[0][0, :, 24:], images[0, :, 16:24].flip(1))
    assert (visible == 0).nonzero()[:2].tolist() == [[0, 0, 8, 5], [0, 0, 9, 5]]
    assert (visible == 0).sum((1, 2, 3)).tolist() == [2, 16 * 32 + 2, 0, 0]


def test_what_is_hidden_does_not_matter(estimator, images, visible):
    """Whatever colour the occluder has."""
    other = torch.where(visible > 0, images, torch.rand_like(images))
    first, second = (refine(estimator, pixels, visible).keypoints for pixels in (images, other))
    assert torch.equal(first, second)


def test_whole_images_stay_as_they_are_found(estimator, images, visible):
    refined = refine(estimator, images, visible)
    assert refined.used.tolist() == [4, 4, 4, 0]
    assert (refined.keypoints[:, 3] == refined.keypoints[0, 3]).all()
    plain = estimator.estimate(images[3:]).keypoints
    assert torch.allclose(refined.keypoints[-1, 3:], plain, atol=1e-5)


def test_no_iteration_is_plain_inference(estimator, images):
    refined = refine(estimator, images, None, Options(0))
    assert refined.keypoints.shape == (1, 4, 5, 2)
    assert torch.equal(refined.keypoints[0], estimator.estimate(images).keypoints)


def test_an_image_is_refined_alike_alone_and_in_a_batch(estimator, images, visible):
    together = refine(estimator, images, visible).keypoints
    for k in range(4):
        alone = refine(estimator, images[k : k + 1], visible[k : k + 1]).keypoints
        assert torch.allclose(alone[:, 0], together[:, k], atol=1e-5)


def test_converged_images_stop_and_keep_their_pose(estimator, images, visible):
    whole = refine(estimator, images, visible, Options(6)).keypoints
    moves = (whole[1:] - whole[:-1]).norm(dim=-1).amax(-1)  # (iterations, B)
    until = 0.99 * float(moves[0, :3].median())  # well above rounding, which is not the same in smaller batches
    refined = refine(estimator, images, visible, Options(6, until_px=until * 31 / 2))
    for k in range(3):
        stops = next((t + 1 for t in range(6) if moves[t, k] <= until), 6)
        assert refined.used[k] == stops
        assert torch.allclose(refined.keypoints[: stops + 1, k], whole[: stops + 1, k], atol=1e-5)
        assert (refined.keypoints[stops:, k] == refined.keypoints[stops, k]).all()
    assert len(set(refined.used.tolist())) > 1


@pytest.mark.parametrize("method", ["visible", "paper"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_reconstruction_that_is_not_finite_costs_only_its_image(estimator, images, visible, monkeypatch, value, method):
    real = type(estimator.model).reconstruct
    calls = []

    def broken(model, reference, skeleton):
        calls.append(1)
        result = real(model, reference, skeleton)
        if len(calls) == 2:
            result[1, 0, 10, 10] = value
        return result

    options = Options(4, method)
    fine = refine(estimator, images, visible, options)
    monkeypatch.setattr(type(estimator.model), "reconstruct", broken)
    refined = refine(estimator, images, visible, options)
    assert refined.failed.tolist() == [-1, 2, -1, -1]
    assert refined.used.tolist() == [4, 1, 4, 0 if method == "visible" else 4]
    assert torch.allclose(refined.keypoints[:, [0, 2, 3]], fine.keypoints[:, [0, 2, 3]], atol=1e-5)
    assert torch.equal(refined.keypoints[2:, 1], refined.keypoints[1, 1].expand(3, -1, -1))


def test_nothing_of_the_model_is_changed(estimator, images, visible):
    before = {name: tensor.clone() for name, tensor in estimator.model.state_dict().items()}
    refine(estimator, images, visible)
    assert all(torch.equal(before[name], tensor) for name, tensor in estimator.model.state_dict().items())


def test_confidence_is_that_of_what_an_iteration_looks_at(tiny, images, visible):
    model = lively_model(tiny)
    estimator = Estimator(model, choose_compute("cpu", "fp32"), measured(model, tiny).calibration)
    steps = []
    refined = refine(estimator, images, visible, record=steps)
    first = estimator.look(images * visible)
    assert torch.allclose(refined.confidence[0], first.confidence, atol=1e-5)
    assert refined.confidence.isfinite().all()
    last = estimator.look(steps[-1].image)
    assert torch.allclose(refined.strangeness[steps[-1].rows], last.strangeness, atol=1e-5)


def test_what_lies_under_a_keypoint():
    visible = torch.zeros(1, 1, 5, 5)
    visible[0, 0, 1, 4] = 1  # row 1, column 4: (x, y) = (1, -0.5)
    points = torch.tensor([[[1.0, -0.5], [-0.5, 1.0], [1.4, -0.5], [0.8, -0.4]]])
    assert seen(points, visible).tolist() == [[True, False, True, True]]


class Waits(TorchDispatchMode):
    """Counts the operations whose result a GPU's program waits for: those of unknown size, and looking at a value."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        name = function.overloadpacket.__name__
        by_mask = name.startswith(("index", "_index")) and any(i is not None and i.dtype == torch.bool for i in arguments[1])
        self.count += by_mask or name in ("nonzero", "_local_scalar_dense", "masked_select", "equal")
        return function(*arguments, **(settings or {}))


@pytest.mark.parametrize(
    ("options", "most"),
    [(Options(4, "paper"), 0), (Options(4), 1), (Options(4, "paper", until_px=1e-9), 4), (Options(4, until_px=1e-9), 5)],
)
def test_it_waits_for_the_device_only_to_see_what_is_done(estimator, images, visible, options, most):
    with Waits() as waits:
        refine(estimator, images, visible, options)
    assert waits.count <= most
