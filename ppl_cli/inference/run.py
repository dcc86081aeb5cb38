"""A whole `ppl infer`: inputs, model, results, overlay pictures."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_cli.checkpoint import fingerprint, load_model
from ppl_cli.data.images import UnreadableImageError, decode, list_images
from ppl_cli.device import batch_that_fits, choose_compute
from ppl_cli.drawing.overlay import overlay
from ppl_cli.errors import DiskFullError, PPLError, UsageError
from ppl_cli.files import replacing
from ppl_cli.inference.estimate import Estimator, Pose, estimate_poses
from ppl_cli.inference.journal import Journal
from ppl_cli.inference.results import Results
from ppl_cli.inference.unfinished import identify, results_folder
from ppl_cli.prior import Prior

JOURNAL = "poses.journal"


@dataclass
class Inputs:
    """`paths` and, for each, the folder that its name in the results is relative to."""

    paths: list[Path]
    roots: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        path, root = str(self.paths[index]), str(self.roots[index]) + os.sep
        if path.startswith(root):  # as for nearly all: asking the file system rules takes ten times as long
            return path[len(root) :].replace(os.sep, "/")
        return Path(os.path.relpath(path, root)).as_posix()

    def fingerprint(self) -> str:
        return fingerprint(self.name(index) for index in range(len(self)))


def gather_inputs(given: list[Path], out: Path, masks: Path | None = None) -> Inputs:
    """Images of files and folders, in the order given; what lies in `out` or in `masks` is left out.

    Names are relative to the folder given, or just the file's own. Where that would give two images one name, all
    names are relative to the folder that holds all inputs.
    """
    inputs = Inputs([], [])
    for path in given:
        if path.is_dir():
            found = list_images(path)
            for other in filter(None, (out, masks)):
                place = Path(os.path.abspath(other))
                if place == Path(os.path.abspath(path)) and other is masks:
                    raise UsageError(f"--masks {masks} is the folder of the images too: put the masks into one of their own")
                if place.is_relative_to(os.path.abspath(path)):
                    found = [image for image in found if not Path(os.path.abspath(image)).is_relative_to(place)]
            inputs.paths += found
            inputs.roots += [path] * len(found)
        elif path.exists() or path.is_symlink():
            inputs.paths.append(path)
            inputs.roots.append(path.parent)
        else:
            raise UsageError(f"no such image or folder: {path}")
    if not inputs.paths:
        raise UsageError(f"no images but those in {out}, the folder for the results")
    if len(given) > 1:
        once = {Path(os.path.abspath(p)): Path(os.path.abspath(r)) for p, r in zip(inputs.paths, inputs.roots, strict=True)}
        inputs = Inputs(list(once), list(once.values()))
        if len({inputs.name(i) for i in range(len(inputs.paths))}) < len(inputs.paths):
            common = Path(os.path.commonpath([path.parent for path in inputs.paths]))
            inputs.roots = [common] * len(inputs.paths)
    return inputs


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
        estimator = Estimator(checkpoint.model, compute)
        results = Results(out, formats, prior_of(estimator, checkpoint.config.prior.names))

        def find(first: int) -> Iterator[Pose]:
            resize = checkpoint.config.data.resize
            return estimate_poses(estimator, lambda index: decode(inputs.paths[index]), len(inputs), resize, batch, first)

        with batch_that_fits(batch), Journal(kept / JOURNAL, estimator.model.sizes.keypoints) as journal:
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
                problem = draw_overlay(out / "overlay", name, inputs.paths[pose.index], pose, links)
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


def draw_overlay(folder: Path, name: str, path: Path, pose: Pose, links: np.ndarray) -> str:
    """overlay/NAME.png, in the sub-folders of the input. The image's own suffix stays, so a.jpg and a.png both fit.

    Returns what went wrong: a picture that cannot be written must not cost the results. DiskFullError if it is that.
    """
    place = folder / f"{name}.png"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        image = decode(path)
        if image.size != (pose.width, pose.height):
            return f"{path} was {pose.width}x{pose.height} pixels, and has been changed to {image.width}x{image.height} since"
        picture = overlay(image, pose.keypoints_px, links)
        with replacing(place) as temporary:
            picture.save(temporary, "PNG")
    except DiskFullError:
        raise
    except UnreadableImageError as error:
        return f"{path}: {error}"
    except (OSError, PPLError) as error:
        return " ".join(str(error).split())
    return ""
