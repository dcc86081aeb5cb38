"""A whole `ppl train`: configuration, run folder, loss, data, training. What can fail cheaply comes first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.listing import Listing
from ppl_cli.data.variety import note_variety
from ppl_cli.device import Compute, choose_compute
from ppl_cli.distributed import World, processes
from ppl_cli.errors import UsageError
from ppl_cli.files import make_folder
from ppl_cli.lock import locked
from ppl_cli.training.batch_size import largest_batch
from ppl_cli.training.loop import Trained, train
from ppl_cli.training.metrics import check_tensorboard
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.run_folder import (
    choose_run_folder,
    clean,
    clear_run,
    never_began,
    resumed_config,
)
from ppl_cli.training.start import given_prior, given_weights


def run_training(
    source: str,
    out: Path | None,
    say: Callable[[str], None],
    overrides: tuple[str, ...] = (),
    settings: dict[str, str | None] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    device: str = "auto",
    precision: str = "auto",
) -> tuple[Trained, Config, Path, Compute]:
    """`source`, `overrides` and `settings` as in `load_config`; a resumed run keeps its own configuration otherwise."""
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    if resume and (settings or {}).get("train__init"):
        raise UsageError("--init: a resumed run goes on from its own weights; leave it out, or start another run")
    config = load_config(source, overrides, **(settings or {}))
    compute = choose_compute(device, precision)
    with processes(compute) as world:
        say = say if world.leader else silent
        folder = choose_run_folder(config.name, out, resume, overwrite) if resume and world.leader else None
        began = world.from_leader(folder is None or not never_began(folder))
        if not began:
            say(f"{folder} was stopped before its first checkpoint: starting with step 0")
            resume = False
        listing = None if resume else training_images(config)
        prior = None if resume else given_prior(config)
        weights = None if resume else given_weights(config)
        if prior is not None:
            config = config.model_copy(update={"prior": config.prior.model_copy(update={"names": prior.names})})
        if world.leader:
            folder = folder or choose_run_folder(config.name, out, resume, overwrite)
        folder = world.from_leader(folder)
        with owned(folder) if world.leader else nullcontext():
            ours = False  # whether what lies in the folder was written by this call
            try:
                if resume:
                    config = resumed_config(folder, config.name, overrides, settings or {})
                    listing = training_images(config)
                for note in listing.notes:
                    say(f"note: {note}")
                config = config.model_copy(update={"data": config.data.model_copy(update={"range": listing.range})})
                say(f"configuration {folder / 'config.yaml' if resume else source}, seed {config.seed}; {compute.reason}")
                check_tensorboard(config.train.tensorboard)
                loss = reconstruction_loss(config.loss)
                images = open_images(listing, config, folder, strict, say)
                config = fit_batch(config, loss, compute, world, say)
                if world.leader:
                    make_folder(folder / "samples")
                    clean(folder) if resume else clear_run(folder)  # not before all that can fail
                    ours = not resume
                trained = train(config, images, loss, folder, compute, say, resume, strict, prior, world, weights)
            except BaseException:
                if ours and not (folder / "training.pt").is_file():
                    remove_what_never_began(folder)
                raise
    return trained, config, folder, compute


def silent(line: str) -> None:
    """What processes other than the leader say."""


def open_images(listing: Listing, config: Config, folder: Path, strict: bool, say: Callable[[str], None]) -> ImageSet:
    images = open_listing(listing, config.data, config.model.image_size, strict)
    check_videos(images, config)
    skipped = f", {len(images.skipped)} unreadable ones left out (skipped.csv)" if images.skipped else ""
    kept = "in memory" if images.cache is not None else "read again for every batch (data.cache_gib is too small)"
    for note in note_variety(images):
        say(f"note: {note}")
    say(f"{len(images)} images{skipped}, {kept}; run folder {folder}")
    return images


def fit_batch(config: Config, loss: torch.nn.Module, compute: Compute, world: World, say: Callable[[str], None]) -> Config:
    """With a number for `train.batch: auto`."""
    if config.train.batch != "auto":
        return config
    batch = min(world.from_all(largest_batch(config, loss, compute)))
    batch = max(batch, config.train.accumulate) // config.train.accumulate * config.train.accumulate
    say(f"train.batch: {batch} (auto: what fits into the memory of {compute.device}, at most 64)")
    return config.model_copy(update={"train": config.train.model_copy(update={"batch": batch})})


def training_images(config: Config) -> Listing:
    return list_part(config.data, "train", config.seed, config.model.image_size)


def check_videos(images: ImageSet, config: Config) -> None:
    if config.reference.kind == "video" and images.groups is not None and len(set(images.groups)) == len(images):
        raise UsageError(
            "reference.kind video: no video has two frames; put the frames of each video into one folder, or add "
            "--set reference.kind=mask"
        )


def remove_what_never_began(folder: Path) -> None:
    """A run without a first checkpoint leaves nothing behind that would stand in the way of the next try."""
    with suppress(OSError):
        clear_run(folder)
        (folder / "samples").rmdir()


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Holds the folder's lock. What fails in an empty folder removes it. TakenError if another training has it."""
    try:
        with locked(folder):
            yield
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
            if folder.parent.name == "runs":
                folder.parent.rmdir()
        raise
