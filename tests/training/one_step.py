"""Gradients and buffers after one training step in float64, for test_distributed.py; under torchrun, of every process."""

import sys

import torch

from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.device import choose_compute
from ppl_cli.distributed import World, processes
from ppl_cli.training.averaging import Average
from ppl_cli.training.batches import Batch, make_batch, split_batch
from ppl_cli.training.prepare import prepare_model, prepare_step
from ppl_cli.training.step import draw_chance, take_step


def one_step(config: Config, world: World) -> dict[str, dict[str, torch.Tensor]]:
    compute = choose_compute("cpu")
    listing = list_part(config.data, "train", config.seed, config.model.image_size)
    images = open_listing(listing, config.data, config.model.image_size)
    model = prepare_model(config, compute).double()
    learn = prepare_step(model, torch.nn.MSELoss(), config, compute, world)
    parts = split_batch(config.train.batch, config.train.accumulate, world.rank, world.size)
    outcomes = []
    for part in parts:
        batch = Batch(*(tensor.double() for tensor in make_batch(images, 0, config, compute.device, part=part)))
        outcomes.append(take_step(learn, batch, draw_chance(config, 0, part, compute.device), len(parts)))
    tokens, indices = torch.cat([o.tokens for o in outcomes]), torch.cat([o.indices for o in outcomes])
    model.memory.update(tokens, indices, config.memory.revive)
    Average(model, 0.0).update(1)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"gradients": gradients, "buffers": dict(model.named_buffers())}


if __name__ == "__main__":
    with processes(choose_compute("cpu")) as world:
        torch.save(one_step(load_config(sys.argv[1]), world), f"{sys.argv[2]}.{world.rank}")
