"""A whole training step, its batch included, as `ppl train` makes it: how long it takes, and what of it takes how long."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ppl_cli.api.train import RELEVANCE
from ppl_cli.cli.train import parse_settings
from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.images import decode
from ppl_cli.data.listing import Listing
from ppl_cli.data.names import list_names
from ppl_cli.device import Compute
from ppl_cli.distributed import ALONE
from ppl_cli.heap import keep_freed_memory
from ppl_cli.training import batches, graph, prepare
from ppl_cli.training.progress import peak_memory_gib
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.step import draw_chance, take_step
from tests.benchmarks.plain import as_written
from tests.benchmarks.timing import peak_flops, timed

WEIGHTS = "weights/vgg19_conv4_4_normed.safetensors"


def make_step(
    ours: bool, compute: Compute, config: str, folder: Path, shared: Path, batch: int, more: tuple = ()
) -> tuple[Callable[[], None], nn.Module, nn.Module, Config]:
    """One step of training on the images of `folder`; also its model, its `TrainingStep` and its configuration.

    On a GPU ours is compiled, and fails where it cannot be. The plain path decodes every image when it is asked for.
    """
    settings = {"train.batch": batch, "train.compile": ours and compute.device.type == "cuda"}
    settings |= {} if config == "quickstart" else {"loss.weights": str(shared / WEIGHTS)}
    chosen = load_config(config, settings | parse_settings(list(more)))
    if chosen.loss.relevance == "auto":
        chosen = chosen.with_fields("loss", relevance=RELEVANCE)
    paths = [folder / name for name in list_names(folder)]
    listing = Listing([path.name for path in paths], lambda index: decode(paths[index]))
    images = ImageSet(listing, chosen.model.image_size, chosen.data.resize)
    if ours:
        keep_freed_memory()
    model = prepare.prepare_model(chosen, compute).train()
    optimiser = prepare.make_optimiser(model, chosen)
    learn = prepare.prepare_step(model, reconstruction_loss(chosen.loss), chosen, compute, ALONE)
    if ours:
        images.fill_cache()
        images.move_cache(compute.device)
    else:
        images.pool.map = lambda function, indices: map(function, indices)
    (part,) = batches.split_batch(batch, 1)
    replayed = graph.can_replay(chosen, compute, ALONE)
    take = graph.ReplayedStep(learn, raise_problem) if replayed else partial(take_step, learn)
    number = 0

    def step() -> None:
        nonlocal number
        batch = batches.make_batch(images, number, chosen, compute.device, part=part)
        outcome = take(batch, draw_chance(chosen, number, part, compute.device))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        model.memory.update(outcome.tokens, outcome.indices, chosen.memory.revive)
        number += 1

    return step, model, learn, chosen


def raise_problem(line: str) -> None:
    raise RuntimeError(line)


def measure_step(
    ours: bool, compute: Compute, steps: int, batch: int, model: Path | None = None, **settings
) -> dict[str, float]:
    step, trained, learn, config = make_step(ours, compute, batch=batch, **settings)
    seconds = timed(step, compute, steps, together=5 if compute.device.type == "cuda" else 1, first=graph.FIRST + 2)
    peak = peak_memory_gib(compute.device)
    with as_written(), FlopCounterMode(display=False) as counted:
        size, (part,) = config.model.image_size, batches.split_batch(batch, 1)
        images = torch.zeros(batch, 3, size, size, device=compute.device)
        take_step(learn, batches.Batch(images, images), draw_chance(config, 0, part, compute.device))
    return {
        "seconds": seconds,
        "items": batch,
        "flops": counted.get_total_flops(),
        "parts": parts_in_gflop(trained, learn, config, compute),
        "floor": counted.get_total_flops() / peak_flops(compute),
        "gib": peak,
    }


def profile_step(
    ours: bool, compute: Compute, out: Path, steps: int, model: Path | None = None, **settings
) -> dict[str, float]:
    """Writes a table of one step to the file `out`: on a GPU by kernel, on a CPU by operation."""
    step, *_ = make_step(ours, compute, **settings)
    seconds = timed(step, compute, steps, first=graph.FIRST + 2)
    gpu = compute.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as recorded:
        step()
        if gpu:
            torch.cuda.synchronize()
    order = "self_device_time_total" if gpu else "self_cpu_time_total"
    out.write_text(recorded.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=90))
    return {"seconds": seconds}


def parts_in_gflop(model, learn, config: Config, compute: Compute) -> dict[str, float]:
    """Forward operations of each part for one image, in GFLOP."""
    size, n = config.model.image_size, config.model.keypoints
    image = torch.zeros(2, 3, size, size, device=compute.device)
    points, skeleton = torch.zeros(2, n, 2, device=compute.device), torch.zeros(2, 1, size, size, device=compute.device)
    parts = {
        "encoder": lambda: model.estimate(image),
        "decoder": lambda: model.reconstruct(image, skeleton),
        "memory": lambda: model.recall(points),
        "loss, both images": lambda: learn.reconstruction_loss(image, image),
    }
    found = {}
    for name, part in parts.items():
        with torch.no_grad(), as_written(), FlopCounterMode(display=False) as counted:
            part()
        found[name] = counted.get_total_flops() / 2 / 1e9
    return found | {"skeleton": size**2 * 10 * n * (n - 1) / 2 / 1e9}
