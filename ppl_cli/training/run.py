"""A whole `ppl train`: device, data, run folder, training."""

from collections.abc import Callable
from pathlib import Path

from ppl_cli.config import Config
from ppl_cli.data.datasets import open_dataset
from ppl_cli.device import Compute, choose_compute
from ppl_cli.training.loop import Trained, train
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.run_folder import choose_run_folder, prepare_run_folder


def run_training(
    config: Config,
    out: Path | None,
    say: Callable[[str], None],
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    device: str = "auto",
    precision: str = "auto",
) -> tuple[Trained, Path, Compute]:
    compute = choose_compute(device, precision)
    say(compute.reason)
    folder = choose_run_folder(config.name, out, resume, overwrite)
    images = open_dataset(config.data, config.model.image_size, config.seed, strict)
    skipped = f", {len(images.skipped)} unreadable ones left out (skipped.csv)" if images.skipped else ""
    kept = "in memory" if images.cache is not None else "read again for every batch (data.cache_gib is too small)"
    say(f"{len(images)} images{skipped}, {kept}; run folder {folder}")
    loss = reconstruction_loss(config.loss)
    prepare_run_folder(folder, images.skipped, overwrite)
    return train(config, images, loss, folder, compute, say, resume, strict), folder, compute
