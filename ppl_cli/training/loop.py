"""Training, from a configuration to a run folder: one procedure, to be read from top to bottom.

The loop never waits for the device between logged steps: losses stay there until a row of metrics.csv is due.
"""

import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ppl_cli import __version__
from ppl_cli.checkpoint import Known, build_model, load_training, save_model, save_training
from ppl_cli.config import Config, to_yaml
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.warp import random_affine, random_rotation, warp_images
from ppl_cli.device import Compute
from ppl_cli.drawing.curves import save_curves
from ppl_cli.drawing.samples import sample_sheet, save_sheet
from ppl_cli.errors import InterruptedRunError, PPLError, UsageError
from ppl_cli.files import replacing
from ppl_cli.model.core import Output, PosePriorLearner
from ppl_cli.model.losses import (
    boundary_loss,
    configuration_loss,
    equivariance_loss,
    link_loss,
    separation_loss,
)
from ppl_cli.prior import Prior, save_prior
from ppl_cli.training.averaging import Average
from ppl_cli.training.batches import Batch, generator, make_batch, to_unit
from ppl_cli.training.metrics import MetricsFile, read_metrics
from ppl_cli.training.progress import LOWER_RATE, Progress
from ppl_cli.training.schedule import eased, set_learning_rates
from ppl_cli.training.warnings import Watch

SAMPLES = 8  # images in a picture of samples/
KNOWN_POSES = 256  # training images that say how near the memory is to typical poses
PATIENCE = 20  # seconds after a signal in which the step ends and is saved; a signal after that stops at once


@dataclass
class Trained:
    model: PosePriorLearner  # in evaluation mode
    step: int
    seconds: float


def train(
    config: Config,
    images: ImageSet,
    reconstruction_loss: torch.nn.Module,
    folder: Path,
    compute: Compute,
    say: Callable[[str], None],
    resume: bool = False,
    strict: bool = False,
    prior: Prior | None = None,
) -> Trained:
    """Train on `images` and write `folder`; `say` prints a line of log; `prior` is that of `prior.init`, where given.

    Raises InterruptedRunError after SIGINT or SIGTERM, with everything saved, and PPLError when a loss is no longer a number.
    """
    compute.place(reconstruction_loss)
    torch.manual_seed(config.seed)
    model = build_model(config)
    if prior is not None:
        start_from_prior(model, config, prior)
    model = compute.place(model)
    optimiser = make_optimiser(model, config)
    average = Average(model, config.train.ema)
    if resume:
        step, window, averaged = load_training(folder / "training.pt", model, optimiser, images.names)
        average.load(averaged)
        if step > config.train.steps:
            raise UsageError(f"--resume: the run is at step {step} already; ask for more with --set train.steps=...")
    else:
        step, window = 0, None
    write_config(folder / "config.yaml", config, compute)
    metrics = MetricsFile(folder / "metrics.csv", step, config.train.log_every, config.train.tensorboard)
    progress = Progress(config, step, window, compute.device, say)
    watch = Watch(config, progress.note)
    shown = make_batch(images, 0, config, compute.device, count=SAMPLES)
    draw_samples(folder, average.model, config, shown, step)
    if not resume:
        save(folder, average, optimiser, config, images, step, progress)  # from now on there is something to resume
    model.train()

    with stop_signals() as stopped:
        while step < config.train.steps:
            batch = make_batch(images, step, config, compute.device, strict=strict)
            with compute.autocast():
                output = model(batch.inputs, batch.references, draw_jitter(config, step, compute.device))
                reconstruction = reconstruction_loss(output.reconstruction, batch.images)
            losses = {"reconstruction": reconstruction, **pose_losses(model, output, batch, config, step, compute)}
            total = torch.stack(list(losses.values())).sum()
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            set_learning_rates(optimiser, config, step)
            optimiser.step()
            model.memory.update(output.recall.tokens.detach(), output.recall.indices, config.memory.revive)
            step += 1
            average.update(step)

            progress.collect(losses, total, output.estimate.keypoints)
            finished = step == config.train.steps
            last = finished or stopped.is_set()
            logged = step % config.train.log_every == 0
            if logged:
                metrics.append(row := progress.row(step, model))
                watch.row(row, model)
            if last or step % config.train.save_every == 0:
                save(folder, average, optimiser, config, images, step, progress)
                watch.decoder(step, average.model, shown.images, shown.references, reconstruction_loss)
            if last or step % config.train.sample_every == 0:
                draw_samples(folder, average.model, config, shown, step)
            if finished and not logged:
                metrics.append(progress.row(step, model))
            if last and not finished:
                progress.close()
                save_curves(folder / "curves.png", read_metrics(folder / "metrics.csv"))
                again = shlex.join(["ppl", "train", str(folder / "config.yaml"), "--out", str(folder), "--resume"])
                raise InterruptedRunError(f"stopped at step {step}, everything is saved; go on with: {again}")
    progress.close()
    save_curves(folder / "curves.png", read_metrics(folder / "metrics.csv"))
    return Trained(average.model.eval(), step, progress.seconds)


def make_optimiser(model: PosePriorLearner, config: Config) -> torch.optim.Optimizer:
    rate = config.train.learning_rate
    if "links" in config.prior.freeze:
        model.raw_links.requires_grad_(False)
    if "keypoints" in config.prior.freeze:
        model.given_keypoints.requires_grad_(False)
    others = [parameter for parameter in model.parameters() if parameter is not model.raw_links]
    return torch.optim.Adam([{"params": others}, {"params": [model.raw_links], "lr": rate * config.train.link_rate}], rate)


def draw_jitter(config: Config, step: int, device: torch.device) -> torch.Tensor | None:
    if not config.train.jitter:
        return None
    random = generator(device, config.seed, "jitter", step)
    shape = (config.train.batch, config.model.keypoints, 2)
    return config.train.jitter * torch.randn(shape, generator=random, device=device)


def pose_losses(
    model: PosePriorLearner, output: Output, batch: Batch, config: Config, step: int, compute: Compute
) -> dict[str, torch.Tensor]:
    """The losses that look at keypoints, weighted, in float32; those of weight 0 are not computed."""
    weights, keypoints = config.loss, output.estimate.keypoints
    lead = eased(config, step)
    losses = {
        "boundary": weights.boundary * boundary_loss(keypoints),
        "configuration": configuration_loss(output.recall, keypoints),
    }
    if weights.links:
        losses["links"] = weights.links * link_loss(keypoints, model.distil_prior(), model.link_weights())
    if weights.separation * lead:
        losses["separation"] = lead * weights.separation * separation_loss(keypoints)
    if weights.equivariance * lead:
        random = generator(keypoints.device, config.seed, "warp", step)
        affine = random_affine(len(keypoints), random)
        if config.train.rotate:
            affine = random_rotation(len(keypoints), random, config.train.rotate, affine)
        warped = warp_images(batch.images, affine)
        with compute.autocast():
            moved = model.estimate(warped).keypoints
        losses["equivariance"] = lead * weights.equivariance * equivariance_loss(keypoints, moved, affine)
    return losses


def save(
    folder: Path,
    average: Average,
    optimiser: torch.optim.Optimizer,
    config: Config,
    images: ImageSet,
    step: int,
    progress: Progress,
) -> None:
    """A checkpoint never holds what a broken step left behind: PPLError if a loss or a weight is not finite."""
    window = progress.check_finite(step)
    check_weights(average.trained, step)
    save_training(folder / "training.pt", average.trained, optimiser, step, window, images.names, average.state())
    save_model(folder / "model.safetensors", average.model, config, step, known_poses(average.model, images))
    save_prior(folder / "prior.json", prior_of(average.model, config))


@torch.no_grad()
def known_poses(model: PosePriorLearner, images: ImageSet) -> Known:
    """What the memory knows of training images, evenly chosen."""
    training, device = model.training, model.raw_links.device
    model.eval()
    tokens, distances = [], []
    chosen = torch.linspace(0, len(images) - 1, min(len(images), KNOWN_POSES)).long()
    for indices in chosen.split(32):
        keypoints = model.estimate(to_unit(images.fetch(indices).to(device))).keypoints
        recall = model.recall(keypoints)
        tokens.append(recall.indices.cpu())
        distances.append((recall.keypoints - keypoints).norm(dim=-1).mean(-1))
    model.train(training)
    return Known(torch.cat(tokens), float(torch.cat(distances).quantile(0.99)))


def check_weights(model: PosePriorLearner, step: int) -> None:
    finite = [tensor.isfinite().all() for tensor in model.state_dict().values()]
    if not torch.stack(finite).all():
        raise PPLError(f"step {step}: a weight is no longer a number; the last checkpoint before it is kept. {LOWER_RATE}")


def draw_samples(folder: Path, model: PosePriorLearner, config: Config, shown: Batch, step: int) -> None:
    save_sheet(folder / "samples" / f"step-{step:06d}.png", sample_sheet(model, shown.images, shown.references))
    save_prior(folder / "samples" / f"prior-{step:06d}.json", prior_of(model, config))


def prior_of(model: PosePriorLearner, config: Config) -> Prior:
    links = model.link_weights().detach().cpu().numpy()
    return Prior.of(model.distil_prior().cpu().numpy(), links, config.prior.names)


def start_from_prior(model: PosePriorLearner, config: Config, prior: Prior) -> None:
    """`prior` is that of `prior.init`."""
    chosen = config.prior
    keypoints = torch.tensor(prior.points) if chosen.keypoints == "given" else None
    model.start_from(keypoints, torch.tensor(prior.weights).float() if chosen.links == "given" else None)


def write_config(path: Path, config: Config, compute: Compute) -> None:
    written_by = {
        "ppl": __version__,
        "torch": str(torch.__version__),
        "device": str(compute.device),
        "precision": compute.precision,
    }
    with replacing(path) as temporary:
        temporary.write_text(to_yaml(config, written_by), encoding="utf-8")


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event, so that the step ends and is saved; further ones change nothing for a while."""
    stopped = threading.Event()
    first = 0.0

    def on_signal(number: int, frame: object) -> None:
        nonlocal first
        first = first or time.monotonic()
        if time.monotonic() - first > PATIENCE:
            raise KeyboardInterrupt
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
