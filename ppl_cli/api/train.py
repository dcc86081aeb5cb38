"""A whole training: configuration, run folder, loss, data, training. What can fail cheaply comes first."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from ppl_cli.api.unlabelled import report_training
from ppl_cli.config.loading import data_settings, load_config
from ppl_cli.config.sections import Config
from ppl_cli.data.camera import moves
from ppl_cli.data.datasets import open_listing, training_images
from ppl_cli.data.headings import find_quarter_turns
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.listing import Listing
from ppl_cli.data.pages import choose_noun
from ppl_cli.data.variety import note_variety
from ppl_cli.distributed import processes
from ppl_cli.errors import UsageError
from ppl_cli.files import at_home
from ppl_cli.prior.names import with_names_of_run
from ppl_cli.runtime import Runtime, as_runtime, silent
from ppl_cli.text import counted, on_screen
from ppl_cli.training import loop
from ppl_cli.training.batch_size import largest_batch
from ppl_cli.training.examples import save_examples
from ppl_cli.training.loop import Machine, Run, unreported
from ppl_cli.training.metrics import check_tensorboard
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.run_folder import RunFolder
from ppl_cli.training.start import Start, read_start

NEAR = 15  # frames, where the camera moves
RELEVANCE = 0.2  # weight, where it does not, or images are turned
PRETRAINED = "--set backbone=tf_efficientnet_lite0 (docs/choosing.md, Pretrained features)"


@torch.inference_mode(False)  # also where the caller has switched gradients off
@torch.random.fork_rng(devices=[])  # the caller's random numbers stay as they were
def train(
    config: str | Path | None = None,
    data: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    device: str | Runtime = "auto",
    **settings: object,
) -> Run:
    """Learn a pose prior from unlabelled images of one category, and write a run folder.

    `config` is the name of a shipped configuration or a YAML file; `data` the folder of the images and videos, or a video, or
    a list of such; `out` the run folder, by default the next free of runs/NAME-1, -2, ... `settings` override fields of the
    configuration by their dotted names, as `**{"train.steps": 2000}`; `ppl train --fields` lists them.

    With `resume` the run in `out` goes on with its own configuration as if it had never been stopped (`config` is then not
    needed); with `overwrite` it is replaced. `strict` stops at the first unreadable image instead of leaving it out. `device`
    is a device name or a Runtime, which also says where lines of progress go.

    Returns the Run: its folder, model file, configuration, step and seconds, and in the first process a `report` of what its
    own images say without labels, where that could be made. Raises UsageError for what is wrong with the arguments or the
    data, InterruptedRunError after SIGINT or SIGTERM (everything is saved), else PPLError.
    """
    runtime, out = as_runtime(device), None if out is None else at_home(out)
    settings |= data_settings([data] if isinstance(data, str | Path) else data or [])
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    if resume and settings.get("train.init"):
        raise UsageError("--init: a resumed run goes on from its own weights; leave it out, or start another run")
    if config is None and not (resume and out):
        raise UsageError("expected CONFIG, a YAML file or a shipped name such as quickstart; --out RUN --resume needs none")
    asked = None if config is None else load_config(config, settings)
    compute = runtime.compute()
    with processes(compute, training=True) as world:
        machine = Machine(compute, world, runtime.say if world.leader else silent)
        run = world.from_leader(RunFolder.resume(asked and asked.name, out) if resume and world.leader else None)
        if run is None or not run.resuming:
            if run is not None:
                machine.say(f"{run.path} was stopped before its first checkpoint: starting with step 0")
            chosen = asked or run.config(settings)
            listing, start = training_images(chosen), read_start(chosen)
            if start.names:
                chosen = chosen.with_fields("prior", names=start.names)
            choose = RunFolder.replace if overwrite else RunFolder.create
            run = run or world.from_leader(choose(chosen.name, out) if world.leader else None)
        with run.writing() if world.leader else nullcontext():
            if run.resuming:
                chosen = with_names_of_run(run.config(settings, asked and asked.name), run.path)
                start = Start()
                listing = training_images(chosen)
            for note in listing.notes:
                machine.say(f"note: {note}")
            chosen = settle(chosen, listing)
            source = config if asked and not run.resuming else run.config_file
            machine.say(f"configuration {source}, seed {chosen.seed}; {compute.reason}")
            check_tensorboard(chosen.train.tensorboard)
            loss = reconstruction_loss(chosen.loss)
            images = open_images(listing, chosen, strict)
            for note in note_variety(images):
                machine.say(f"note: {note}")
            chosen = settle_rotation(chosen, images, machine)
            chosen = settle_camera(chosen, images, machine)
            machine.say(f"{describe_images(images)}; run folder {run.path}")
            chosen = fit_batch(chosen, loss, machine)
            done = loop.train(chosen, images, loss, run, machine, start)
            if not world.leader:
                return done
            try:
                if chosen.data.kind == "figures":
                    save_examples(run.path, chosen.seed)
                return report_training(done, listing, machine.say)
            except KeyboardInterrupt:
                raise unreported(run.path, world.size) from None


def settle(config: Config, listing: Listing) -> Config:
    """The configuration with `data.range` and `reference.kind` as the images imply."""
    config = config.with_fields("data", range=listing.range)
    if config.reference.kind != "auto":
        return config
    pairs = listing.groups is not None and len(set(listing.groups)) < len(listing)
    return config.with_fields("reference", kind="video" if pairs else "mask")


def open_images(listing: Listing, config: Config, strict: bool) -> ImageSet:
    """UsageError if they are no videos where the configuration needs some."""
    images = open_listing(listing, config.data, config.model.image_size, strict)
    if config.reference.kind == "video" and (images.groups is None or len(set(images.groups)) == len(images)):
        raise UsageError(
            "reference.kind video: no video has two frames; put the frames of each video into one folder, or add "
            "--set reference.kind=mask"
        )
    return images


def describe_images(images: ImageSet) -> str:
    skipped = ""
    if images.skipped:
        first = on_screen(": ".join(images.skipped[0]))
        skipped = f", {len(images.skipped)} unreadable left out (skipped.csv), the first: {first}"
    kept = "in memory" if images.cache is not None else "read again for every batch (data.cache_gib is too small)"
    return f"{counted(len(images), choose_noun(images.names))}{skipped}, {kept}"


def settle_rotation(config: Config, images: ImageSet, machine: Machine) -> Config:
    """The configuration with `train.rotate` chosen by whether the object heads in many directions. If so, all images are turned
    to head one way, also those of a run that goes on."""
    rotate = config.train.rotate
    if rotate is False or not config.loss.equivariance:
        return config.with_fields("train", rotate=False)
    turns = machine.world.from_leader(find_quarter_turns(images) if machine.world.leader else None)
    if turns is not None:
        turned = f"{sum(map(bool, turns))} of {counted(len(turns), 'image')} are turned for it to head one way"
        machine.say(f"note: the object heads in many directions: {turned}. Do all head one way? --set train.rotate=false")
        images.turn(turns)
    return config.with_fields("train", rotate=rotate is True or turns is not None)


def settle_camera(config: Config, images: ImageSet, machine: Machine) -> Config:
    """The configuration with what depends on whether the camera moves: near references, mirrored ghosts, relevance."""
    near, mirrored, relevance = config.reference.near, config.train.ghosts_mirrored, config.loss.relevance
    if "auto" not in (near, mirrored, relevance):
        return config
    moving = config.reference.kind == "video" and moves(images)
    seen = moving and images.turns is None  # where images are turned, their backgrounds are, too
    if near == "auto":
        near = NEAR if moving else 0
        if seen:
            machine.say(f"note: the camera moves: the decoder is shown frames at most {near} away (reference.near)")
    if config.model.backbone == "none" and seen:
        machine.say(f"note: keypoints may leave the object before backgrounds that are new; what can help: {PRETRAINED}")
    mirrored = moving if mirrored == "auto" else mirrored
    if relevance == "auto":  # where the camera moves, the pose matters on the background, too
        relevance = 0.0 if seen else RELEVANCE
    config = config.with_fields("loss", relevance=relevance)
    return config.with_fields("reference", near=near).with_fields("train", ghosts_mirrored=mirrored)


def fit_batch(config: Config, loss: nn.Module, machine: Machine) -> Config:
    """The configuration with a number for `train.batch: auto`."""
    if config.train.batch != "auto":
        return config
    batch = min(machine.world.from_all(largest_batch(config, loss, machine.compute)))
    batch = max(batch, config.train.accumulate) // config.train.accumulate * config.train.accumulate
    machine.say(f"train.batch: {batch} (auto: what fits into the memory of {machine.compute.device}, at most 64)")
    return config.with_fields("train", batch=batch)
