import copy

import pytest
import torch

from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.training.averaging import Average


def moved(model, by: float):
    for tensor in model.state_dict().values():
        tensor.add_(int(by) if not tensor.is_floating_point() else by)


def test_off_it_is_the_trained_model_itself(tiny):
    model = build_model(tiny)
    average = Average(model, 0.0)
    average.update(1)
    assert average.model is model
    assert average.state() is None


def test_weights_and_buffers_follow_slowly_and_counters_at_once(tiny):
    model = build_model(tiny)
    start = copy.deepcopy(model.state_dict())
    average = Average(model, 0.9)
    moved(model, 1.0)
    average.update(1000)
    for name, tensor in average.model.state_dict().items():
        far = 0.1 if tensor.is_floating_point() else 1
        assert torch.allclose(tensor - start[name], torch.full_like(tensor, far), atol=1e-4), name
    names = average.model.state_dict()
    assert any("running_mean" in name for name in names)
    assert "memory.vectors" in names
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert model.raw_links.requires_grad


def test_it_reaches_a_model_that_stands_still_and_soon_forgets_the_start(tiny):
    model = build_model(tiny)
    average = Average(model, 0.99)
    moved(model, 1.0)
    average.update(1)
    assert (average.model.alpha - model.alpha).abs().item() == pytest.approx(0.1, abs=1e-5)
    for step in range(2, 3000):
        average.update(step)
    assert torch.allclose(average.model.raw_links, model.raw_links, atol=1e-5)


def test_its_state_comes_back(tiny):
    model = build_model(tiny)
    average = Average(model, 0.9)
    moved(model, 1.0)
    average.update(50)
    other = Average(model, 0.9)
    other.load(copy.deepcopy(average.state()))
    assert torch.equal(other.model.raw_links, average.model.raw_links)
    other.load(None)  # a training.pt from before averages were kept
    assert torch.equal(other.model.raw_links, model.raw_links)
