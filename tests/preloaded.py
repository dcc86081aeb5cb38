"""What tests/forks.py imports before it forks: all that a command needs."""

import gc
import importlib

import torch

import ppl_cli.data.figures

COMMANDS = [f"ppl_cli.{name}" for name in ("cli.app", "api.evaluate", "api.export", "api.predictor", "api.train")]
for module in ("matplotlib.figure", "torch.distributed", *COMMANDS):
    importlib.import_module(module)
torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much at its first use
ppl_cli.data.figures.TEST = 40  # as the fixture few_figures has it
gc.freeze()  # or every fork copies what the collector touches
