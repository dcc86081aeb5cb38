"""A training step, inference and refinement on a pretended GPU: nothing mixes devices, a step waits for nothing."""

import numpy as np
import pytest
import torch

from ppl_cli.config.sections import Config
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.frame import Frame
from ppl_cli.device import Compute
from ppl_cli.distributed import ALONE
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.refine import Options, refine
from ppl_cli.model.skeleton import SkeletonMap
from ppl_cli.training.averaging import Average
from ppl_cli.training.batches import make_batch, split_batch
from ppl_cli.training.prepare import make_optimiser, prepare_model, prepare_step
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.step import draw_chance, take_step
from ppl_cli.training.uncover import learn_to_uncover, try_finder
from tests.conftest import lively_model
from tests.model.test_doubling_triton import plain_spread
from tests.pretend_cuda import CUDA, DeviceMixError, PretendedKernel, pretend_cuda

EVERYTHING = {"ema": 0.9, "warp": 0.4, "jitter": 0.03, "light": True, "ghosts": 0.4, "accumulate": 2}

kernels = pytest.importorskip("ppl_cli.model.skeleton_triton")
doubling = pytest.importorskip("ppl_cli.model.doubling_triton")


@pytest.fixture
def waits(monkeypatch):
    monkeypatch.setattr(kernels, "draw_kernel", PretendedKernel(kernels.draw_kernel, "values", "winners"))
    monkeypatch.setattr(kernels, "pull_kernel", PretendedKernel(kernels.pull_kernel, "pulls"))
    monkeypatch.setattr(kernels, "gather_kernel", PretendedKernel(kernels.gather_kernel, "to_keypoints", "to_weights"))
    monkeypatch.setattr(doubling, "spread", plain_spread)
    with pretend_cuda() as waits:
        yield waits


def everything(tiny: Config) -> Config:
    """All that a step can do, but for what is compiled."""
    return tiny.with_fields("train", **EVERYTHING, compile=False).with_fields("loss", relevance=0.2)


def train(config: Config, compute: Compute, steps: int, waits: list[str]):
    """As the loop does between logged steps. `waits` are those after the first step."""
    size = config.model.image_size
    images = open_listing(list_part(config.data, "train", config.seed, size), config.data, size)
    if config.reference.kind == "video":
        images.groups = np.arange(len(images)) // 3
    images.move_cache(compute.device)
    model = prepare_model(config, compute)
    optimiser, average = make_optimiser(model, config), Average(model, config.train.ema)
    learn = prepare_step(model, reconstruction_loss(config.loss), config, compute, ALONE)
    model.train()
    for step in range(steps):
        for part in split_batch(config.train.batch, config.train.accumulate):
            batch = make_batch(images, step, config, compute.device, part=part)
            outcome = take_step(learn, batch, draw_chance(config, step, part, compute.device))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        model.memory.update(outcome.tokens, outcome.indices, config.memory.revive)
        average.update(step + 1)
        if not step:
            waits.clear()  # what is tried once
    return model, outcome


@pytest.mark.parametrize("mix", [
    lambda gpu: gpu + torch.zeros(3),
    lambda gpu: gpu[:, None] @ torch.zeros(1, 3),
    lambda gpu: torch.cat((gpu, torch.zeros(3))),
    lambda gpu: torch.zeros(3).index_fill_(0, gpu.long(), 1),
    lambda gpu: torch.where(torch.ones(3) > 0, gpu, gpu),
    lambda gpu: torch.rand(3, generator=torch.Generator("cpu"), device=gpu.device),
    lambda gpu: gpu.numpy(),
])  # fmt: skip
def test_a_mix_of_devices_is_refused(waits, mix):
    with pytest.raises(DeviceMixError):
        mix(torch.ones(3, device="cuda"))


def test_waits_are_noticed(waits):
    gpu = torch.ones(3).pin_memory().to("cuda", non_blocking=True)
    assert (gpu * 2 + torch.tensor(1.0)).device == CUDA
    assert not waits
    assert gpu.sum().item() == 3
    assert gpu.cpu().device.type == "cpu"
    assert len(gpu[gpu > 0]) == 3
    assert [text.split()[0] for text in waits] == [
        "aten._local_scalar_dense.default",
        "aten._to_copy.default",
        "aten.index.Tensor",
    ]


@pytest.mark.parametrize(("precision", "reference"), [("fp32", "mask"), ("bf16", "mask"), ("bf16", "video")])
def test_a_training_step_mixes_no_devices(tiny, waits, precision, reference):
    config = everything(tiny).with_fields("reference", kind=reference)
    model, outcome = train(config, Compute(CUDA, precision, ""), 2, waits)
    assert not waits
    # Where a first try of the kernels fails, links are drawn without them.
    assert min(kernels.draw_kernel.launches, kernels.pull_kernel.launches) >= 2 * config.train.accumulate
    assert all(loss.isfinite() for loss in outcome.losses.values())
    assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}


def test_a_training_step_with_a_backbone_mixes_no_devices(tiny, waits):
    config = everything(tiny).with_fields("model", backbone="mobilenetv3_small_050", encoder="fine")
    _, outcome = train(config, Compute(CUDA, "bf16", ""), 2, waits)
    assert not waits
    assert all(loss.isfinite() for loss in outcome.losses.values())


def test_a_training_step_that_turns_looks_mixes_no_devices(tiny, waits):
    config = (
        everything(tiny)
        .with_fields("train", rotate=True, cover=0.5)
        .with_fields("loss", equivariance=1.0, bend=0.5, turn_from=1)
    )
    _, outcome = train(config, Compute(CUDA, "bf16", ""), 2, waits)
    assert not waits
    assert outcome.losses["equivariance"].isfinite()


def test_links_drawn_without_triton_wait_for_nothing(waits):
    keypoints = torch.rand(2, 3, 2).pin_memory().to("cuda", non_blocking=True).requires_grad_()
    i, j = torch.triu_indices(3, 3, 1, device="cuda")
    weights = torch.ones(3, device="cuda")
    waits.clear()
    SkeletonMap.apply(keypoints, weights, i, j, 8, 0.01).sum().backward()
    assert not waits
    assert keypoints.grad.isfinite().all()


def test_learning_to_find_what_hides_and_finding_it_mix_no_devices(tiny, waits):
    compute, size = Compute(CUDA, "fp32", ""), tiny.model.image_size
    images = open_listing(list_part(tiny.data, "train", tiny.seed, size), tiny.data, size)
    images.move_cache(CUDA)
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"uncover": 2})})
    finder, model = learn_to_uncover(images, config, CUDA), compute.place(lively_model(tiny))
    assert try_finder(model, finder, images, config, CUDA).covered > 0
    estimator = Estimator(model, compute, occlusions=finder)
    squares = torch.rand(2, 3, size, size).to(CUDA)
    assert refine(estimator, squares, None, Options(1, "found"), frames=[Frame(64, 48, size), None]).visible.is_cuda


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_inference_mixes_no_devices(tiny, waits, precision):
    squares = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = Estimator(lively_model(tiny), Compute(torch.device("cpu"), precision, ""))(squares)
    found = Estimator(lively_model(tiny), Compute(CUDA, precision, ""))(squares)
    np.testing.assert_allclose(found, expected, atol=1e-5 if precision == "fp32" else 5e-3)


@pytest.mark.parametrize("options", [Options(3), Options(2, until_px=1e-2), Options(2, method="paper")])
def test_refinement_mixes_no_devices(tiny, waits, options):
    estimator = Estimator(lively_model(tiny), Compute(CUDA, "fp32", ""))
    images = torch.rand(3, 3, 32, 32).to(CUDA) * 2 - 1
    visible = torch.ones(3, 1, 32, 32)
    visible[1:, :, 8:16, 8:16] = 0
    waits.clear()
    refined = refine(estimator, images, visible.to(CUDA), options)
    assert len(waits) <= options.iterations + 3, waits
    assert refined.keypoints.shape == (options.iterations + 1, 3, 5, 2)
    assert refined.keypoints.isfinite().all()
