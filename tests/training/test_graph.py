"""Replaying steps; what only a GPU can show is in test_cuda.py."""

from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest
import torch

from ppl_cli.device import Compute
from ppl_cli.distributed import ALONE, World
from ppl_cli.training.batches import Batch, split_batch
from ppl_cli.training.graph import ReplayedStep, can_replay
from ppl_cli.training.prepare import prepare_model, prepare_step
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.step import draw_chance, take_step

CPU = torch.device("cpu")


@pytest.fixture
def refusing(monkeypatch):
    """A GPU that records no graphs; calls how often it was asked."""
    asked = []

    def refuse(*arguments, **settings):
        asked.append(arguments)
        raise RuntimeError("operation not permitted when stream is capturing")

    for name in ("Stream", "current_stream", "set_stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    return asked


def test_goes_on_without_a_graph_and_says_so_once(tiny, refusing):
    model = prepare_model(tiny, Compute(CPU, "fp32", "")).train()
    learn = prepare_step(model, reconstruction_loss(tiny.loss), tiny, Compute(CPU, "fp32", ""), ALONE)
    said = []
    take, (part,) = ReplayedStep(learn, said.append), split_batch(4, 1)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for step in range(6):
        gradients = []
        for one in (take, lambda *given: take_step(learn, *given)):
            model.zero_grad()
            one(Batch(images, images), draw_chance(tiny, step, part, CPU))
            gradients.append(model.raw_links.grad)
        assert torch.equal(*gradients)
    assert len(refusing) == 1
    (line,) = said
    assert "no CUDA graph could be recorded (operation not permitted" in line


@pytest.mark.parametrize(
    ("device", "world", "pieces", "expected"),
    [("cuda", ALONE, 1, True), ("cpu", ALONE, 1, False), ("cuda", World(0, 2), 1, False), ("cuda", ALONE, 2, False)],
)
def test_only_whole_steps_of_one_gpu_are_replayed(tiny, device, world, pieces, expected):
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"accumulate": pieces})})
    assert can_replay(config, Compute(torch.device(device), "bf16", ""), world) == expected
