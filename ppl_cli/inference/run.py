"""A whole `ppl infer`: inputs, model, results, overlay pictures."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_cli.checkpoint import load_model
from ppl_cli.data.images import UnreadableImageError, decode, note_others
from ppl_cli.device import choose_compute
from ppl_cli.drawing.overlay import overlay
from ppl_cli.errors import PPLError
from ppl_cli.files import folder_below, replacing
from ppl_cli.inference.estimate import Estimator, Pose, estimate_poses
from ppl_cli.inference.inputs import Inputs, gather_inputs
from ppl_cli.inference.journal import Journal
from ppl_cli.inference.results import Results
from ppl_cli.inference.unfinished import identify, results_folder
from ppl_cli.prior import Prior

JOURNAL = "poses.journal"


def run_inference(
    source: str,
    given: list[Path],
    out: Path,
    formats: list[str],
    draw: bool,
    batch: int,
    overwrite: bool,
    strict: bool,
    device: str,
    precision: str,
    say: Callable[[str], None],
    resume: bool = False,
) -> None:
    compute = choose_compute(device, precision)
    checkpoint = load_model(source)
    inputs = gather_inputs(given, out)
    what = {"model": checkpoint.path, "images": inputs.fingerprint(), "device": compute.device.type}
    identity = identify("infer", **what, precision=compute.precision, formats=formats, overlay=draw)
    with results_folder(out, identity, formats, resume, overwrite, say) as kept:
        say(compute.reason)
        for note in note_others(inputs.others):
            say(f"note: {note}")
        estimator = Estimator(checkpoint.model, compute)
        results = Results(out, formats, prior_of(estimator, checkpoint.config.prior.names))

        def find(first: int) -> Iterator[Pose]:
            resize = checkpoint.config.data.resize
            return estimate_poses(estimator, lambda index: decode(inputs.paths[index]), len(inputs), resize, batch, first)

        with Journal(kept / JOURNAL, estimator.model.sizes.keypoints) as journal:
            write_poses(find, journal, batch, inputs, results, draw, strict, "finding poses", say)
    summarise(results)


def prior_of(estimator: Estimator, names: list[str] | None = None) -> Prior:
    """`names` of the keypoints where a given prior has them, else k0, k1, ..."""
    return Prior.of(estimator.prior.cpu().numpy(), estimator.model.link_weights().detach().cpu().numpy(), names)


def write_poses(
    find: Callable[[int], Iterator[Pose]],
    journal: Journal,
    batch: int,
    inputs: Inputs,
    results: Results,
    draw: bool,
    strict: bool,
    title: str,
    say: Callable[[str], None],
    look: Callable[[Pose], None] = lambda pose: None,
) -> None:
    """Write the poses in the journal, then those of `find(first)`, the images from `first` on, as they come; `look` at each.

    A batch enters the journal when its pictures are drawn. PPLError with `strict` at the first image that could not be read.
    """
    out, links = results.folder, results.prior.weights
    undrawn, first_undrawn = 0, ""
    with results, tqdm(desc=title, total=len(inputs), unit="image", disable=None) as bar:

        def write(pose: Pose) -> str:
            name = inputs.name(pose.index)
            if pose.problem and strict:
                raise PPLError(f"{inputs.paths[pose.index]}: {pose.problem} (--strict stops at the first such image)")
            results.add(name, pose)
            look(pose)
            bar.update()
            return name

        for held in journal.batches():
            for pose in held:
                write(pose)
        held = []
        for pose in find(journal.images):
            name = write(pose)
            if draw and pose.width is not None:
                problem = draw_overlay(out, name, inputs.paths[pose.index], pose, links)
                undrawn, first_undrawn = undrawn + bool(problem), first_undrawn or problem
            held.append(pose)
            if len(held) == batch or pose.index == len(inputs) - 1:
                journal.append(held)
                held = []
    if undrawn:
        say(f"{undrawn} overlays could not be written; the first: {first_undrawn}")


def summarise(results: Results) -> None:
    """PPLError if no image could be used."""
    read, out = results.images - results.skipped, results.folder
    if not read:
        raise PPLError(f"none of the {results.images} images could be used; {out / 'skipped.csv'} says why")
    print(f"{read} poses in {out}" + (f"; {results.skipped} images left out, see skipped.csv" if results.skipped else ""))


def draw_overlay(out: Path, name: str, path: Path, pose: Pose, links: np.ndarray) -> str:
    """overlay/NAME.png, in the sub-folders of the input. The image's own suffix stays, so a.jpg and a.png both fit.

    Returns what went wrong, or "": a picture that cannot be written must not cost the results.
    """
    place = out / "overlay" / f"{name}.png"
    try:
        folder_below(out, place)
        picture = overlay(decode(path), pose.keypoints_px, links)
        with replacing(place) as temporary:
            picture.save(temporary, "PNG")
    except (OSError, PPLError, UnreadableImageError) as error:
        return " ".join(str(error).split())
    return ""
