"""A whole `ppl infer`: inputs, model, results, overlay pictures."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.data.depth import Range
from ppl_cli.data.images import UnreadableImageError, decode
from ppl_cli.data.names import note_others
from ppl_cli.device import batch_that_fits, choose_compute
from ppl_cli.distributed import World, processes
from ppl_cli.drawing.overlay import overlay
from ppl_cli.errors import DiskFullError, PPLError
from ppl_cli.files import folder_below, replacing
from ppl_cli.inference.estimate import Decoded, Estimator, Pose, estimate_poses
from ppl_cli.inference.inputs import Inputs, gather_inputs
from ppl_cli.inference.jpeg import decode_jpeg_square, has_gpu_decoder
from ppl_cli.prior.prior import Prior
from ppl_cli.results.files import Results
from ppl_cli.results.journal import Journal
from ppl_cli.results.resuming import identify, results_folder


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
    with processes(compute) as world, results_folder(out, identity, formats, resume, overwrite, say, world) as kept:
        say(compute.reason)
        for note in note_others(inputs.others):
            say(f"note: {note}")
        inputs.choose_range(checkpoint.config.data.range, say)
        estimator = Estimator(checkpoint.model, compute)
        results = Results(out, formats, prior_of(estimator, checkpoint.config.prior.names))

        def find(wanted: range) -> Iterator[Pose]:
            resize = checkpoint.config.data.resize
            return estimate_poses(estimator, inputs.open_image, wanted, resize, batch, decode_fast)

        def decode_fast(index: int, size: int, resize: str) -> Decoded | None:
            if not has_gpu_decoder(compute.device):
                return None
            return decode_jpeg_square(inputs.paths[index], size, resize, compute.device)

        with batch_that_fits(batch):
            write_poses(find, kept, world, batch, inputs, results, draw, strict, "finding poses", say)
    if world.leader:
        summarise(results)


def prior_of(estimator: Estimator, names: list[str] | None = None) -> Prior:
    """`names` of the keypoints where a given prior has them, else k0, k1, ..."""
    return Prior.of(estimator.prior.cpu().numpy(), estimator.model.link_weights().detach().cpu().numpy(), names)


def write_poses(
    find: Callable[[range], Iterator[Pose]],
    kept: Path,
    world: World,
    batch: int,
    inputs: Inputs,
    results: Results,
    draw: bool,
    strict: bool,
    title: str,
    say: Callable[[str], None],
    look: Callable[[Pose], None] = lambda pose: None,
) -> None:
    """Write the poses in the journal of the folder `kept`, then those that `find` finds, as they come; `look` at each.

    Each process finds those of its share, and the leader writes them all when everyone is done. A batch enters the journal
    when its pictures are drawn. PPLError with `strict` at the first image that could not be read.
    """
    share = world.share(len(inputs))
    undrawn, first_undrawn = 0, ""

    def check(pose: Pose) -> Pose:
        if pose.problem and strict:
            raise PPLError(f"{inputs.paths[pose.index]}: {pose.problem} (--strict stops at the first such image)")
        return pose

    def found(journal: Journal) -> Iterator[Pose]:
        nonlocal undrawn, first_undrawn
        held = []
        for pose in find(range(share.start + journal.images, share.stop)):
            yield check(pose)
            if draw and pose.width is not None:
                name, path = inputs.name(pose.index), inputs.paths[pose.index]
                problem = draw_overlay(results.folder, name, path, pose, results.prior.weights, inputs.range)
                undrawn, first_undrawn = undrawn + bool(problem), first_undrawn or problem
            held.append(pose)
            if len(held) == batch or pose.index == share.stop - 1:
                journal.append(held)
                held = []

    def write(poses: Iterable[Pose], bar: tqdm) -> None:
        for pose in poses:
            results.add(inputs.name(pose.index), pose)
            look(pose)
            bar.update()

    with tqdm(desc=title, total=len(share), unit="image", disable=None) as bar:
        if world.size == 1:
            with results, open_journal(kept, world.rank, results) as journal:
                write(map(check, chain.from_iterable(journal.batches())), bar)
                write(found(journal), bar)
        else:
            with open_journal(kept, world.rank, results) as journal:
                bar.update(journal.images)
                for _ in found(journal):
                    bar.update()
    problems = world.from_all((undrawn, first_undrawn))
    if world.size > 1 and world.leader:
        with results, tqdm(desc="writing results", total=len(inputs), unit="image", disable=None) as bar:
            for rank in range(world.size):
                with open_journal(kept, rank, results) as journal:
                    write(map(check, chain.from_iterable(journal.batches())), bar)
    if undrawn := sum(count for count, _ in problems):
        say(f"{undrawn} overlays could not be written; the first: {next(first for _, first in problems if first)}")


def open_journal(kept: Path, rank: int, results: Results) -> Journal:
    return Journal(kept / f"poses-{rank}.journal", len(results.prior.keypoints), results.iterations)


def summarise(results: Results) -> None:
    """PPLError if no image could be used."""
    read, out = results.images - results.skipped, results.folder
    if not read:
        raise PPLError(f"none of the {results.images} images could be used; {out / 'skipped.csv'} says why")
    print(f"{read} poses in {out}" + (f"; {results.skipped} images left out, see skipped.csv" if results.skipped else ""))


def draw_overlay(out: Path, name: str, path: Path, pose: Pose, links: np.ndarray, value_range: Range | None) -> str:
    """overlay/NAME.png, in the sub-folders of the input. The image's own suffix stays, so a.jpg and a.png both fit.

    Returns what went wrong, or "": a picture that cannot be written must not cost the results. DiskFullError if it is that.
    """
    place = out / "overlay" / f"{name}.png"
    try:
        folder_below(out, place)
        image = decode(path, value_range)
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
