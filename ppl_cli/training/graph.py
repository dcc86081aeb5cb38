"""A training step, forward and backward, as one CUDA graph: recorded once, then replayed.

A step is 1,800 small launches. On the machine of an H100 they kept a core of the CPU busy for 83 ms, and the GPU for 53
(docs/performance.md): it waited for the CPU. A replay is one launch.
"""

from collections.abc import Callable

import torch
from torch import nn

from ppl_cli.config.sections import Config
from ppl_cli.device import Compute, is_out_of_memory
from ppl_cli.distributed import World
from ppl_cli.text import in_one_line
from ppl_cli.training.batches import Batch
from ppl_cli.training.step import Chance, Outcome, take_step

FIRST = 3  # steps before recording: they compile, choose the fastest convolutions and take workspaces


def can_replay(config: Config, compute: Compute, world: World) -> bool:
    """On one GPU, where a step is a whole batch: a replay sets gradients, it does not add to them."""
    return compute.device.type == "cuda" and world.size == 1 and config.train.accumulate == 1


class ReplayedStep:
    """Called like `take_step` on `step`. Where recording fails it says so once, and goes on without."""

    def __init__(self, step: nn.Module, say: Callable[[str], None]):
        self.step, self.say = step, say
        self.stream = torch.cuda.Stream()  # graphs are not recorded on the default one
        self.calls = 0
        self.kind: tuple[bool, ...] | None = None  # of the recorded step: which inputs it has
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[torch.Tensor | None] = []  # that it reads,
        self.outcome: Outcome | None = None  # and that it writes,
        self.gradients: list[tuple[nn.Parameter, torch.Tensor]] = []  # and the gradients that it sets
        self.failed = False

    def __call__(self, batch: Batch, chance: Chance) -> Outcome:
        self.calls += 1
        if self.calls <= FIRST or self.failed:
            return self.take(batch, chance)
        inputs = (*batch, *chance)
        kind = tuple(tensor is None for tensor in inputs)
        if kind != self.kind:
            self.record(inputs)
            if self.failed:
                return self.take(batch, chance)
            self.kind = kind
        for fixed, tensor in zip(self.inputs, inputs, strict=True):
            if fixed is not None:
                fixed.copy_(tensor)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        losses, *rest = self.outcome  # the next replay writes over them
        return Outcome({name: loss.clone() for name, loss in losses.items()}, *(tensor.clone() for tensor in rest))

    def take(self, batch: Batch, chance: Chance) -> Outcome:
        """Takes a step without a graph, on the stream of the recording, where gradients then belong."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outcome = take_step(self.step, batch, chance)
        torch.cuda.current_stream().wait_stream(self.stream)
        return outcome

    def record(self, inputs: tuple[torch.Tensor | None, ...]) -> None:
        self.graph, self.outcome, self.gradients = None, None, []
        self.inputs = [None if tensor is None else tensor.clone() for tensor in inputs]
        parameters = list(self.step.parameters())
        graph, outside = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            for parameter in parameters:
                parameter.grad = None  # gradients then lie in the memory of the graph
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.outcome = take_step(self.step, Batch(*self.inputs[:2]), Chance(*self.inputs[2:]))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            torch.cuda.set_stream(outside)  # a recording that fails leaves its own behind
            for parameter in parameters:
                parameter.grad = None
            self.failed, reason = True, in_one_line(error.__context__ or error)
            self.say(f"steps are launched kernel by kernel: no CUDA graph could be recorded ({reason})")
            return
        self.graph = graph
        self.gradients = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
