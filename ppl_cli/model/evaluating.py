"""A look at a model in the midst of training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode and without gradients while the block runs; then in the mode that it was in.

    It runs as written: what is compiled is compiled for training batches, and another size or mode would be once more.
    """
    training = model.training
    # Nothing is compiled where the compiler is not even imported, and asking for the stance would import it (170 MiB).
    as_written = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    model.eval()
    try:
        with torch.no_grad(), as_written:
            yield
    finally:
        model.train(training)
