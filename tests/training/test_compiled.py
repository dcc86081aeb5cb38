"""The compiler's view of a training step, without a code generator: how many graphs it takes, and whether it starts again."""

import pytest
import torch
from torch import nn

from ppl_cli.config.sections import Config
from ppl_cli.device import choose_compute
from ppl_cli.distributed import ALONE
from ppl_cli.training.averaging import Average
from ppl_cli.training.batches import Batch, split_batch
from ppl_cli.training.health import Watch
from ppl_cli.training.prepare import prepare_model, prepare_step
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.step import draw_chance, take_step
from tests.conftest import TINY


@pytest.fixture
def graphs(monkeypatch):
    """How many graphs were made so far."""
    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile(module, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


def take_steps(config: Config, count: int):
    """Losses and all gradients of the last of `count` steps; and what else they took."""
    compute, loss = choose_compute("cpu", "fp32"), reconstruction_loss(config.loss)
    model = prepare_model(config, compute).train()
    average = Average(model, config.train.ema)
    learn = prepare_step(model, loss, config, compute, ALONE)
    (part,) = split_batch(config.train.batch, 1)
    random = torch.Generator().manual_seed(0)
    for step in range(count):
        model.zero_grad()
        images = torch.rand(config.train.batch, 3, 32, 32, generator=random) * 2 - 1
        images = images.contiguous(memory_format=torch.channels_last)
        losses = take_step(learn, Batch(images, images), draw_chance(config, step, part, compute.device)).losses
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    return torch.stack(list(losses.values())), gradients, (average, loss, images)


def test_a_step_is_three_graphs_made_once_and_computes_the_same(graphs):
    sections = TINY | {"train": TINY["train"] | {"ema": 0.0, "steps": 1000}}
    config, compiled = (
        Config.model_validate(sections | {"train": sections["train"] | {"compile": wish}}) for wish in (False, True)
    )
    expected, wanted, _ = take_steps(config, 3)
    assert graphs() == 0
    losses, gradients, (average, loss, images) = take_steps(compiled, 3)
    assert graphs() <= 3
    assert not torch._dynamo.utils.counters["recompiles"]
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch.allclose(losses, expected, rtol=1e-4)
    assert (gradients - wanted).norm() < 1e-4 * wanted.norm()

    # What looks at other batches, in evaluation mode, stays eager.
    made = graphs()
    twice = torch.cat((images, images))
    Watch(compiled, print).decoder(900, average.model, twice, twice, loss)
    assert graphs() == made
