"""A whole `ppl infer`: inputs, model, results, overlay pictures."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ppl_cli.checkpoint import load_model
from ppl_cli.data.images import decode, list_images
from ppl_cli.device import choose_compute
from ppl_cli.drawing.overlay import overlay
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import make_folder, replacing
from ppl_cli.inference.estimate import Estimator, Pose, estimate_poses
from ppl_cli.inference.results import FILES, Results
from ppl_cli.prior import Prior


@dataclass
class Inputs:
    """`paths` and their `names` in the results: relative to the input folder; a file given by itself keeps its name."""

    paths: list[Path]
    roots: list[Path]  # of each path, what its name is relative to

    def name(self, index: int) -> str:
        return Path(os.path.relpath(self.paths[index], self.roots[index])).as_posix()


def gather_inputs(given: list[Path]) -> Inputs:
    """Images of files and folders, in the order given. With several folders, names start with the folder's own name."""
    inputs = Inputs([], [])
    folders = sum(path.is_dir() for path in given)
    for path in given:
        if path.is_dir():
            found = list_images(path)
            root = path if folders == 1 else path.resolve().parent
            base = path if folders == 1 else path.resolve()
            inputs.paths += [base / image.relative_to(path) for image in found]
            inputs.roots += [root] * len(found)
        elif path.exists():
            inputs.paths.append(path)
            inputs.roots.append(path.parent)
        else:
            raise UsageError(f"no such image or folder: {path}")
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
) -> None:
    compute = choose_compute(device, precision)
    checkpoint = load_model(source)
    inputs = gather_inputs(given)
    taken = [name for name in FILES.values() if (out / name).exists()]
    if taken and not overwrite:
        raise UsageError(f"{out} already holds {taken[0]}: choose another --out, or add --overwrite")
    make_folder(out)
    say(compute.reason)

    estimator = Estimator(checkpoint.model, compute)
    links = checkpoint.model.link_weights().detach().cpu().numpy()
    prior = Prior(estimator.prior.cpu().numpy(), links)
    poses = estimate_poses(estimator, inputs.paths, checkpoint.config.data.resize, batch)
    with Results(out, formats, prior) as results:
        for pose in tqdm(poses, "finding poses", len(inputs.paths), unit="image", disable=None):
            name = inputs.name(pose.index)
            if pose.problem and strict:
                raise PPLError(f"{inputs.paths[pose.index]}: {pose.problem} (--strict stops at the first unreadable image)")
            results.add(name, pose)
            if draw and pose.problem is None:
                draw_overlay(out / "overlay", name, inputs.paths[pose.index], pose, links)
    read = results.images - results.skipped
    if not read:
        raise PPLError(f"none of the {results.images} images could be read; {out / 'skipped.csv'} says why")
    print(f"{read} poses in {out}" + (f"; {results.skipped} unreadable images in skipped.csv" if results.skipped else ""))


def draw_overlay(folder: Path, name: str, path: Path, pose: Pose, links) -> None:
    """overlay/NAME.png, in the sub-folders of the input. The image's own suffix stays, so a.jpg and a.png both fit."""
    place = folder / f"{name}.png"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PPLError(f"cannot write to {place.parent}: {error.strerror}") from error
    picture = overlay(decode(path), pose.keypoints_px, links)
    with replacing(place) as temporary:
        picture.save(temporary, "PNG")
