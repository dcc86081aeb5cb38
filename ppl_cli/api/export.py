"""The learned prior for people and other programs: files, pictures, a page, skeletons."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.api.models import Model, choose_place, open_checkpoint
from ppl_cli.checkpoints.model_file import Checkpoint
from ppl_cli.data.datasets import list_part
from ppl_cli.data.listing import Listing
from ppl_cli.data.video_frames import choose_frames
from ppl_cli.drawing.page import save_page
from ppl_cli.drawing.prior import bank_sheet, prototype_sheet, save_evolution, save_links, save_svg, skeleton_picture
from ppl_cli.drawing.save import save_png
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import at_home, find_earlier, make_folder
from ppl_cli.inference.estimate import Estimator, decode_listed
from ppl_cli.inference.inputs import gather_inputs
from ppl_cli.inference.recall import recall_images
from ppl_cli.prior.prior import Prior, load_prior, save_npz, save_prior
from ppl_cli.prior.prototypes import Recalled, build_prior, decode_tokens, vary_banks
from ppl_cli.prior.skeletons import FILES as SKELETONS
from ppl_cli.prior.skeletons import save_skeletons
from ppl_cli.results.tally import FOREIGN
from ppl_cli.runtime import Runtime, silent
from ppl_cli.text import counted, in_utf8, none_readable, note_left_out

FILES = ("prior.json", "prior.npz", "prior.html", "skeleton.png", "skeleton.svg", "links.png", "prototypes.png", "banks.png")
FILES += ("evolution.gif", *SKELETONS.values())
BATCH = 32
MOST_PROTOTYPES = 200
SMALLEST = 256  # pixels of the squares that are shown


@dataclass(frozen=True)
class Exported:
    """What `export_prior` wrote."""

    prior: Prior
    folder: Path

    @property
    def page(self) -> Path:
        """The prior to look at in a browser."""
        return self.folder / "prior.html"


def export_prior(
    model: Model,
    out: str | Path,
    *,
    data: str | Path | None = None,
    prototypes: int = 9,
    formats: str | Sequence[str] = ("coco",),
    overwrite: bool = False,
    device: str | Runtime = "auto",
) -> Exported:
    """Write the prior that a model has learned into the folder `out`; returns it with all that was written.

    `model`: a Predictor, a run folder, a model.safetensors, or a .pth of the original implementation. `data`: images or
    videos, a file or a folder, that the `prototypes` most typical poses are counted over; by default the training poses
    that the model file remembers. `formats` of the skeleton for other tools: coco, sleap, deeplabcut. UsageError if the folder
    holds a prior already (`overwrite` replaces it) or an argument is wrong; PPLError if no image can be read.
    """
    out = at_home(out)
    formats = (formats,) if isinstance(formats, str) else formats
    if unknown := [form for form in formats if form not in SKELETONS]:
        raise UsageError(f"--format {unknown[0]}: expected any of {', '.join(SKELETONS)}")
    if type(prototypes) is not int or not 0 <= prototypes <= MOST_PROTOTYPES:
        raise UsageError(f"prototypes is {prototypes!r}: expected a whole number from 0 to {MOST_PROTOTYPES}")
    if not isinstance(data, str | Path | None):
        raise UsageError(f"data is {data!r}: expected one file or folder")
    earlier = find_earlier(out, FILES, overwrite)
    runtime, compute = choose_place([model], device)
    checkpoint = open_checkpoint(model)
    estimator = Estimator(checkpoint.model, compute, checkpoint.calibration)
    pictures = find_pictures(data, out, checkpoint, runtime)
    make_folder(out)
    runtime.say(compute.reason)

    recalled = recall_pictures(estimator, pictures, checkpoint, runtime) if pictures else remembered(checkpoint, runtime)
    prior = build_prior(estimator.model, recalled, prototypes, checkpoint.config.prior.names)
    for name in earlier:  # not before all that can fail
        (out / name).unlink(missing_ok=True)
    save_prior(out / "prior.json", prior)
    save_npz(out / "prior.npz", prior)
    save_skeletons(out, prior, formats)
    squares = nearest_squares(prior, pictures, checkpoint)
    draw(out, prior, squares, checkpoint)
    history = read_history(checkpoint.path.parent, runtime)
    if len(history) > 1:
        save_evolution(out / "evolution.gif", history)
    return Exported(prior, out)


def find_pictures(data: str | Path | None, out: Path, checkpoint: Checkpoint, runtime: Runtime) -> Listing | None:
    """The images of `data` (as many frames of videos as in training); else drawn figures, if the model learned from them."""
    config = checkpoint.config
    if data is not None:
        inputs = gather_inputs([Path(data)], out)
        paths = inputs.paths
        paths.names, notes = choose_frames(paths.root(0), paths.names, config.data.frames)
        for note in notes:
            runtime.say(note)
        if not paths.names:
            raise UsageError(f"--data {data}: it holds videos only, and data.frames of this model is 0, which leaves them out")
        inputs.choose_range(config.data.range, silent)
        return Listing([in_utf8(name) for name in inputs.paths.names], inputs.open_image)
    if config.data.kind != "figures":
        return None
    return list_part(config.data, "fit", config.seed, config.model.image_size)


def recall_pictures(estimator: Estimator, pictures: Listing, checkpoint: Checkpoint, runtime: Runtime) -> Recalled:
    recalled, problems, foreign = recall_images(estimator, pictures, checkpoint.config.data.resize, BATCH)
    if not len(recalled.tokens):
        raise PPLError(none_readable(problems, "image"))
    if problems:
        runtime.say(f"note: {note_left_out(problems, 'unreadable image')}")
    if foreign >= FOREIGN * len(recalled.tokens):
        of_them = f"{foreign} of {counted(len(recalled.tokens), 'image')} {'is' if foreign == 1 else 'are'}"
        runtime.say(f"note: {of_them} unlike those that the model was trained on, and counted all the same")
    return recalled


def remembered(checkpoint: Checkpoint, runtime: Runtime) -> Recalled:
    """The training poses that the model file remembers, or none."""
    if checkpoint.known is None:
        runtime.say(
            "note: this model file does not remember training poses, so there are no prototypes; give images with --data"
        )
        return Recalled(np.zeros((0, checkpoint.model.sizes.banks), int), np.zeros((0, 0, 2)))
    tokens = checkpoint.known.tokens.numpy().astype(int)
    poses = counted(len(tokens), "training pose")
    runtime.say(f"prototypes of {poses} that the model file remembers; --data DIR counts over more, and shows images")
    return Recalled(tokens, decode_tokens(checkpoint.model, tokens))


def nearest_squares(prior: Prior, pictures: Listing | None, checkpoint: Checkpoint) -> list[Image.Image | None]:
    """The network's square of the image nearest to each prototype."""
    if pictures is None:
        return [None] * len(prior.prototypes)
    number = {name: index for index, name in enumerate(pictures.names)}
    nearest = [number[prototype.nearest_image] for prototype in prior.prototypes]
    size, resize = max(checkpoint.config.model.image_size, SMALLEST), checkpoint.config.data.resize
    return [Image.fromarray(decode_listed(pictures, size, resize, index).pixels) for index in nearest]


def draw(out: Path, prior: Prior, squares: list[Image.Image | None], checkpoint: Checkpoint) -> None:
    save_png(out / "skeleton.png", skeleton_picture(prior.points, prior.weights, hollow=~prior.useful))
    save_svg(out / "skeleton.svg", prior)
    save_links(out / "links.png", prior)
    save_page(out / "prior.html", prior, squares)
    if prior.prototypes:
        save_png(out / "prototypes.png", prototype_sheet(prior, squares))
        usual = np.array([int(np.argmax(bank.use)) for bank in prior.banks])
        save_png(out / "banks.png", bank_sheet(prior, vary_banks(checkpoint.model, usual)))


def read_history(run: Path, runtime: Runtime) -> list[tuple[int, Prior]]:
    """(step, prior) that training left in samples/, in order; what cannot be read is left out."""
    history = []
    for file in (run / "samples").glob("prior-*.json"):
        number = re.fullmatch(r"prior-(\d+)", file.stem)
        if number:
            try:
                history.append((int(number[1]), load_prior(file)))
            except UsageError as error:
                runtime.say(f"note: left out of evolution.gif: {error}")
    return sorted(history, key=lambda entry: entry[0])
