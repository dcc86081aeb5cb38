"""The average of the weights over the last steps, which is what a run keeps (Polyak averaging, as an exponential mean).

Single steps move keypoints to and fro; the average does not. Running statistics of batch norm and the vectors of the
memory are averaged alike, so that all parts fit together. Statistics are first averaged over the processes.
"""

import copy

import torch

from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.processes import average_statistics


class Average:
    """`model` is the averaged model in evaluation mode; with `decay` 0 it is the trained model itself."""

    def __init__(self, trained: PosePriorLearner, decay: float):
        self.trained, self.decay = trained, decay
        self.model = copy.deepcopy(trained).eval().requires_grad_(False) if decay else trained
        pairs = list(zip(self.model.state_dict().values(), trained.state_dict().values(), strict=True))
        self.averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self.copied = [pair for pair in pairs if not pair[0].is_floating_point()]  # counters of batch norm

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number `step`, counted from 1. The mean is short at first, so that the start is soon forgotten."""
        average_statistics(self.trained)
        if not self.decay:
            return
        decay = min(self.decay, step / (step + 9))
        ours, theirs = zip(*self.averaged, strict=True)
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        ours, theirs = zip(*self.copied, strict=True)
        torch._foreach_copy_(ours, theirs)

    def state(self) -> dict[str, torch.Tensor] | None:
        """What training.pt keeps; None where there is nothing beside the trained model."""
        return self.model.state_dict() if self.decay else None

    def load(self, state: dict[str, torch.Tensor] | None) -> None:
        if self.decay:
            self.model.load_state_dict(self.trained.state_dict() if state is None else state)
