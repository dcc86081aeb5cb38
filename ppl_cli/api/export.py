"""A whole `ppl export-prior`: prior, prototypes, pictures, page, skeletons for other tools."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.checkpoints.model_file import Checkpoint, load_model
from ppl_cli.data.datasets import list_part
from ppl_cli.device import choose_compute
from ppl_cli.drawing.page import save_page
from ppl_cli.drawing.prior import (
    bank_sheet,
    prototype_sheet,
    save_evolution,
    save_links,
    save_png,
    save_svg,
    skeleton_picture,
)
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import make_folder
from ppl_cli.inference.estimate import Decoded, Estimator, decode_square
from ppl_cli.inference.inputs import gather_inputs
from ppl_cli.inference.prototypes import Recalled, build_prior, decode_tokens, recall_images, swapped
from ppl_cli.prior.prior import Prior, load_prior, save_npz, save_prior
from ppl_cli.prior.skeletons import FILES as SKELETONS
from ppl_cli.prior.skeletons import save_skeletons
from ppl_cli.runtime import silent
from ppl_cli.text import in_utf8

FILES = ("prior.json", "prior.npz", "prior.html", "skeleton.png", "skeleton.svg", "links.png", "prototypes.png", "banks.png")
FILES += ("evolution.gif", *SKELETONS.values())
BATCH = 32


def run_export(
    source: str,
    out: Path,
    data: Path | None,
    count: int,
    formats: list[str],
    overwrite: bool,
    device: str,
    precision: str,
    say: Callable[[str], None],
) -> None:
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not overwrite:
        raise UsageError(f"{out} already holds {taken[0]}: choose another --out, or add --overwrite")
    compute = choose_compute(device, precision)
    checkpoint = load_model(source)
    estimator = Estimator(checkpoint.model, compute)
    open_image = None
    if data is not None or checkpoint.config.data.kind == "figures":
        names, open_image = images_of(data, out, checkpoint)
    make_folder(out)
    for name in taken:
        (out / name).unlink()
    say(compute.reason)

    recalled = known_or_recalled(estimator, checkpoint, names if open_image else None, open_image, say)
    prior = build_prior(estimator, recalled, count, checkpoint.config.prior.names)
    save_prior(out / "prior.json", prior)
    save_npz(out / "prior.npz", prior)
    save_skeletons(out, prior, formats)
    squares = nearest_squares(prior, checkpoint, names, open_image) if open_image else [None] * len(prior.prototypes)
    draw(out, prior, estimator, squares, checkpoint, history_of(checkpoint.path.parent, say))
    print(f"prior of {len(prior.names)} keypoints, {len(prior.prototypes)} prototypes: {out}; open {out / 'prior.html'}")


def images_of(data: Path | None, out: Path, checkpoint: Checkpoint) -> tuple[list[str], Callable[[int], Image.Image]]:
    """Names and opener of the images that prototypes are counted over."""
    if data is None:  # drawn figures are always at hand
        listing = list_part(checkpoint.config.data, "fit", checkpoint.config.seed, checkpoint.config.model.image_size)
        return listing.names, listing.open_image
    inputs = gather_inputs([data], out)
    inputs.choose_range(checkpoint.config.data.range, silent)
    return [in_utf8(name) for name in inputs.paths.names], inputs.open_image


def known_or_recalled(
    estimator: Estimator,
    checkpoint: Checkpoint,
    names: list[str] | None,
    open_image: Callable[[int], Image.Image] | None,
    say: Callable[[str], None],
) -> Recalled:
    """Poses of the images given, else those of training that the model file remembers."""
    if open_image is not None:
        config = checkpoint.config

        def decode_one(index: int) -> Decoded:
            return decode_square(open_image, index, config.model.image_size, config.data.resize)

        recalled, problems = recall_images(estimator, decode_one, names, BATCH)
        if not len(recalled.tokens):
            raise PPLError(f"none of the {len(names)} images can be read; the first: {problems[0]}")
        if problems:
            say(f"note: {len(problems)} images cannot be read and are left out; the first: {problems[0]}")
        return recalled
    if checkpoint.known is None:
        say("note: this model file does not remember training poses, so there are no prototypes; give images with --data")
        return Recalled(np.zeros((0, checkpoint.model.sizes.banks), int), np.zeros((0, 0, 2)))
    tokens = checkpoint.known.tokens.numpy().astype(int)
    say(f"prototypes of {len(tokens)} training poses that the model file remembers; --data DIR counts over more, with images")
    return Recalled(tokens, decode_tokens(estimator, tokens))


def nearest_squares(
    prior: Prior, checkpoint: Checkpoint, names: list[str], open_image: Callable[[int], Image.Image]
) -> list[Image.Image]:
    """The network's square of the image nearest to each prototype."""
    config, number = checkpoint.config, {name: index for index, name in enumerate(names)}
    size = max(config.model.image_size, 256)
    found = [number[prototype.nearest_image] for prototype in prior.prototypes]
    return [Image.fromarray(decode_square(open_image, index, size, config.data.resize).pixels) for index in found]


def draw(
    out: Path,
    prior: Prior,
    estimator: Estimator,
    squares: list[Image.Image | None],
    checkpoint: Checkpoint,
    history: list[tuple[int, Prior]],
) -> None:
    save_png(out / "skeleton.png", skeleton_picture(prior.points, prior.weights))
    save_svg(out / "skeleton.svg", prior)
    save_links(out / "links.png", prior)
    save_page(out / "prior.html", prior, squares)
    if prior.prototypes:
        save_png(out / "prototypes.png", prototype_sheet(prior, squares))
        usual = np.array([int(np.argmax(bank.use)) for bank in prior.banks])
        vectors = checkpoint.model.sizes.vectors
        variants = [decode_tokens(estimator, swapped(usual, bank, vectors)) for bank in range(len(prior.banks))]
        save_png(out / "banks.png", bank_sheet(prior, variants))
    if len(history) > 1:
        save_evolution(out / "evolution.gif", history)


def history_of(run: Path, say: Callable[[str], None]) -> list[tuple[int, Prior]]:
    """(step, prior) that training left in samples/, in order; what cannot be read is left out."""
    history = []
    for file in (run / "samples").glob("prior-*.json"):
        number = re.fullmatch(r"prior-(\d+)", file.stem)
        if number:
            try:
                history.append((int(number[1]), load_prior(file)))
            except UsageError as error:
                say(f"note: left out of evolution.gif: {error}")
    return sorted(history, key=lambda entry: entry[0])
