"""What changes over the steps of a run, each a function of the configuration and the step alone: nothing to store."""

import math

import torch

from ppl_cli.config.sections import Config


def learning_rates(config: Config, step: int) -> tuple[float, float]:
    """(of the network, of the links) at step `step`, counted from 0: a rise in a line, then constant or a half cosine to 0.

    A finished cosine run that is made longer goes on with the rates of the longer run.
    """
    train = config.train
    factor = min(1.0, (step + 1) / (train.warmup + 1))
    if train.schedule == "cosine":
        factor *= (1 + math.cos(math.pi * min(step / train.steps, 1))) / 2
    return train.learning_rate * factor, train.learning_rate * train.link_rate * factor


def set_learning_rates(optimiser: torch.optim.Optimizer, config: Config, step: int) -> None:
    """The groups are those of `make_optimiser`: network, links."""
    for group, rate in zip(optimiser.param_groups, learning_rates(config, step), strict=True):
        group["lr"] = rate


def between(first: float, last: float, step: int, start: int, end: int) -> float:
    """`first` up to step `start`, `last` from step `end`, in a line between them."""
    done = min(max((step - start) / max(end - start, 1), 0.0), 1.0)
    return first + (last - first) * done


def eased(config: Config, step: int) -> float:
    """Factor of the two losses that only lead the way: 1, then falling in a line to `loss.eased`."""
    loss = config.loss
    return between(1.0, loss.eased, step, loss.ease_from, loss.ease_to) if loss.ease_to else 1.0


def missing_share(config: Config, step: int) -> float:
    """Share of hidden cells of the reference image: from `missing_start`, where given, to `missing`."""
    reference = config.reference
    if reference.missing_start is None:
        return reference.missing
    return between(reference.missing_start, reference.missing, step, 0, reference.missing_until)
