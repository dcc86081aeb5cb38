"""A whole `ppl infer`: inputs, model, results, overlay pictures."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_cli.checkpoint import load_model
from ppl_cli.data.images import UnreadableImageError, decode, note_others
from ppl_cli.device import choose_compute
from ppl_cli.drawing.overlay import overlay
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import folder_below, make_folder, replacing
from ppl_cli.inference.estimate import Estimator, Pose, estimate_poses
from ppl_cli.inference.inputs import Inputs, gather_inputs
from ppl_cli.inference.results import FILES, ITERATIONS_FILE, Results
from ppl_cli.prior import Prior


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
) -> None:
    compute = choose_compute(device, precision)
    checkpoint = load_model(source)
    inputs = gather_inputs(given, out)
    prepare_out(out, formats, overwrite)
    say(compute.reason)
    for note in note_others(inputs.others):
        say(f"note: {note}")

    estimator = Estimator(checkpoint.model, compute)
    names = checkpoint.config.prior.names
    resize = checkpoint.config.data.resize
    poses = estimate_poses(estimator, lambda index: decode(inputs.paths[index]), len(inputs.paths), resize, batch)
    results = Results(out, formats, prior_of(estimator, names))
    write_poses(poses, inputs, results, draw, strict, "finding poses", say)


def prior_of(estimator: Estimator, names: list[str] | None = None) -> Prior:
    """`names` of the keypoints where a given prior has them, else k0, k1, ..."""
    return Prior.of(estimator.prior.cpu().numpy(), estimator.model.link_weights().detach().cpu().numpy(), names)


def write_poses(
    poses: Iterator[Pose], inputs: Inputs, results: Results, draw: bool, strict: bool, title: str, say: Callable[[str], None]
) -> None:
    """Write one pose after another as they come. PPLError if no image could be read, or with `strict` at the first."""
    out, links = results.folder, results.prior.weights
    undrawn, first = 0, ""
    with results:
        for pose in tqdm(poses, title, len(inputs.paths), unit="image", disable=None):
            name = inputs.name(pose.index)
            if pose.problem and strict:
                raise PPLError(f"{inputs.paths[pose.index]}: {pose.problem} (--strict stops at the first such image)")
            results.add(name, pose)
            if draw and pose.width is not None:
                problem = draw_overlay(out, name, inputs.paths[pose.index], pose, links)
                undrawn, first = undrawn + bool(problem), first or problem
    read = results.images - results.skipped
    if undrawn:
        say(f"{undrawn} overlays could not be written; the first: {first}")
    if not read:
        raise PPLError(f"none of the {results.images} images could be used; {out / 'skipped.csv'} says why")
    print(f"{read} poses in {out}" + (f"; {results.skipped} images left out, see skipped.csv" if results.skipped else ""))


def prepare_out(out: Path, formats: list[str], overwrite: bool) -> None:
    """Create the folder. Results of an earlier run are an error, or with `overwrite` go, so that no two runs mix."""
    folders = ("overlay", "gifs", "strips")
    taken = [name for name in (*FILES.values(), ITERATIONS_FILE, "skipped.csv", *folders) if (out / name).exists()]
    if taken and not overwrite:
        raise UsageError(f"{out} already holds {taken[0]}: choose another --out, or add --overwrite")
    make_folder(out)
    for form, name in FILES.items():
        if form not in formats:  # the others are replaced when the new ones are complete
            (out / name).unlink(missing_ok=True)
    (out / ITERATIONS_FILE).unlink(missing_ok=True)
    for folder in folders:
        if (out / folder).is_symlink():
            (out / folder).unlink()
        elif (out / folder).is_dir():
            shutil.rmtree(out / folder)


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
