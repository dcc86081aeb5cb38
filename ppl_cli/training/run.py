"""A whole `ppl train`: configuration, run folder, loss, data, training. What can fail cheaply comes first."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ppl_cli.config import Config, load_config
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.listing import Listing
from ppl_cli.device import Compute, choose_compute
from ppl_cli.errors import UsageError
from ppl_cli.files import make_folder
from ppl_cli.prior import Prior, load_prior
from ppl_cli.training.loop import Trained, train
from ppl_cli.training.metrics import check_tensorboard
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.run_folder import choose_run_folder, clear_run, resumed_config, write_skipped


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
    config = load_config(source, overrides, **(settings or {}))
    compute = choose_compute(device, precision)
    listing = None if resume else training_images(config)
    prior = None if resume else given_prior(config)
    if prior is not None:
        config = config.model_copy(update={"prior": config.prior.model_copy(update={"names": prior.names})})
    folder = choose_run_folder(config.name, out, resume, overwrite)
    ours = False  # whether what lies in the folder was written by this call
    try:
        if resume:
            config = resumed_config(folder, config.name, overrides, settings or {})
            listing = training_images(config)
        for note in listing.notes:
            say(f"note: {note}")
        say(f"configuration {folder / 'config.yaml' if resume else source}, seed {config.seed}; {compute.reason}")
        check_tensorboard(config.train.tensorboard)
        loss = reconstruction_loss(config.loss)
        images = open_listing(listing, config.data, config.model.image_size, strict)
        check_videos(images, config)
        skipped = f", {len(images.skipped)} unreadable ones left out (skipped.csv)" if images.skipped else ""
        kept = "in memory" if images.cache is not None else "read again for every batch (data.cache_gib is too small)"
        say(f"{len(images)} images{skipped}, {kept}; run folder {folder}")
        make_folder(folder / "samples")
        if overwrite:
            clear_run(folder)
        ours = not resume
        try:
            trained = train(config, images, loss, folder, compute, say, resume, strict, prior)
        finally:
            if (folder / "training.pt").is_file() and not resume:
                write_skipped(folder, images.skipped)
    except BaseException:
        if not (folder / "training.pt").is_file():
            remove_what_never_began(folder, ours)
        raise
    return trained, config, folder, compute


def training_images(config: Config) -> Listing:
    return list_part(config.data, "train", config.seed, config.model.image_size)


def given_prior(config: Config) -> Prior | None:
    """UsageError if it cannot be read or has another number of keypoints than the model."""
    if config.prior.init is None:
        return None
    prior = load_prior(Path(config.prior.init))
    count = len(prior.keypoints)
    if count != config.model.keypoints:
        raise UsageError(
            f"{config.prior.init} has {count} keypoints, the model {config.model.keypoints}: add --set model.keypoints={count}"
        )
    return prior


def check_videos(images: ImageSet, config: Config) -> None:
    if config.reference.kind == "video" and images.groups is not None and len(set(images.groups)) == len(images):
        raise UsageError(
            "reference.kind video: no video has two frames; put the frames of each video into one folder, or add "
            "--set reference.kind=mask"
        )


def remove_what_never_began(folder: Path, ours: bool) -> None:
    """A run without a first checkpoint leaves nothing behind that would stand in the way of the next try."""
    with suppress(OSError):
        if ours:
            clear_run(folder)
            (folder / "samples").rmdir()
        folder.rmdir()
        if folder.parent.name == "runs":
            folder.parent.rmdir()
