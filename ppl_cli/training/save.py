"""What training writes into the run folder: checkpoints, the prior, pictures of what the model does, the configuration."""

import math
from pathlib import Path

import torch

from ppl_cli import __version__
from ppl_cli.checkpoints.model_file import Known, read_finder_tensors, save_model
from ppl_cli.checkpoints.training_state import save_training
from ppl_cli.config.loading import to_yaml
from ppl_cli.config.sections import Config
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.units import to_unit
from ppl_cli.data.warp import random_affine, warp_images
from ppl_cli.device import Compute
from ppl_cli.drawing.samples import sample_sheet
from ppl_cli.drawing.save import save_png
from ppl_cli.errors import PPLError
from ppl_cli.files import replace_text
from ppl_cli.model.calibration import Signs, calibrate, read_signs
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.evaluating import evaluating
from ppl_cli.prior.links import find_useful
from ppl_cli.prior.prior import save_prior
from ppl_cli.prior.prototypes import learned_prior
from ppl_cli.training.averaging import Average
from ppl_cli.training.batches import Batch, generator
from ppl_cli.training.progress import LOWER_RATE, Progress
from ppl_cli.training.run_folder import write_skipped

KNOWN_IMAGES = 500  # of training, that say what is typical
LOOKS = 100  # at images, at the least: of fewer, what few saw would be all that is usual, and they themselves seem strange


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
    write_skipped(folder, images.skipped)
    model = folder / "model.safetensors"
    # What finds occlusions knows the images alone: that of a run that goes on stays until it is learned anew.
    finder = read_finder_tensors(model) if config.train.uncover else None
    save_model(model, average.model, config, step, know(average.model, images, config), finder)
    save_prior(folder / "prior.json", learned_prior(average.model, config.prior.names))


def know(model: PosePriorLearner, images: ImageSet, config: Config) -> Known:
    """What the model knows of training images, evenly chosen. PPLError if the network finds no numbers in them.

    What keypoints look like is measured on these images moved as training moves them: as they are they are too well known,
    and images of another day would all seem strange.
    """
    device = model.raw_links.device
    tokens, signs, random = [], [], generator(device, config.seed, "known")
    chosen = torch.linspace(0, len(images) - 1, min(len(images), KNOWN_IMAGES)).long()
    # Compiled for training batches alone: another size and mode would be compiled once more.
    with evaluating(model):
        for indices in chosen.split(32):
            squares = to_unit(images.fetch(indices).to(device))
            tokens.append(model.recall(model.estimate(squares).keypoints).indices.cpu())
            for _ in range(math.ceil(LOOKS / len(chosen))):
                affine = random_affine(len(squares), random, config.train.warp, config.train.rotate is True)
                estimate = model.estimate(warp_images(squares, affine))
                # Measured on the CPU: Apple's GPUs have no float64.
                signs.append([sign.cpu() for sign in read_signs(estimate, model.recall(estimate.keypoints).keypoints)])
        useful = torch.from_numpy(find_useful(model.link_weights().cpu().numpy()))
    found = Signs(*map(torch.cat, zip(*signs, strict=True)))
    if not all(sign.isfinite().all() for sign in found):
        raise PPLError(f"the network finds no finite keypoints: its training failed. {LOWER_RATE}")
    return Known(torch.cat(tokens), calibrate(found, useful))


def check_weights(model: PosePriorLearner, step: int) -> None:
    finite = [tensor.isfinite().all() for tensor in model.state_dict().values()]
    if not torch.stack(finite).all():
        raise PPLError(f"step {step}: a weight is no longer a number; the last checkpoint before it is kept. {LOWER_RATE}")


def draw_samples(folder: Path, model: PosePriorLearner, config: Config, shown: Batch, step: int) -> None:
    sheet = sample_sheet(model, shown.images, shown.references)
    save_png(folder / "samples" / f"step-{step:06d}.png", sheet)
    save_prior(folder / "samples" / f"prior-{step:06d}.json", learned_prior(model, config.prior.names))


def write_config(path: Path, config: Config, compute: Compute) -> None:
    written_by = {
        "ppl": __version__,
        "torch": str(torch.__version__),
        "device": str(compute.device),
        "precision": compute.precision,
    }
    replace_text(path, to_yaml(config, written_by))
