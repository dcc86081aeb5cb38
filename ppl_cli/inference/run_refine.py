"""A whole `ppl refine`: inputs, masks, model, refinement batch by batch, results, pictures."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from ppl_cli.checkpoints.model_file import Checkpoint, load_model
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import UnreadableImageError
from ppl_cli.data.names import note_others
from ppl_cli.device import batch_that_fits, choose_compute
from ppl_cli.distributed import processes
from ppl_cli.drawing.strips import Column, save_gif, save_strip
from ppl_cli.errors import DiskFullError, PPLError
from ppl_cli.files import folder_below
from ppl_cli.inference.estimate import Decoded, Estimator, Pose, Refined, decode_ahead, no_pose, stack_squares
from ppl_cli.inference.inputs import Inputs, gather_inputs
from ppl_cli.inference.occluder import Occluder
from ppl_cli.inference.refine import Options, Refinement, Step, refine, seen
from ppl_cli.inference.run import prior_of, summarise, write_poses
from ppl_cli.results.files import Results
from ppl_cli.results.resuming import identify, results_folder


def run_refinement(
    source: str,
    given: list[Path],
    out: Path,
    formats: list[str],
    options: Options,
    occluder: Occluder,
    until_px: float | None,
    every: bool,
    draw: bool,
    animate: bool,
    batch: int,
    overwrite: bool,
    strict: bool,
    device: str,
    precision: str,
    say: Callable[[str], None],
    resume: bool = False,
) -> None:
    """`until_px` is in pixels of the network's square input."""
    compute = choose_compute(device, precision)
    checkpoint = load_model(source)
    inputs = gather_inputs(given, out, occluder.masks)
    if until_px is not None:
        options = replace(options, until=2 * until_px / (checkpoint.model.sizes.image_size - 1))
    what = {"model": checkpoint.path, "images": inputs.fingerprint(), "device": compute.device.type}
    what |= {"precision": compute.precision, "formats": formats, "overlay": draw, "gif": animate, "all iterations": every}
    identity = identify("refine", **what, **asdict(options), **occluder.identity())
    with processes(compute) as world, results_folder(out, identity, formats, resume, overwrite, say, world) as kept:
        say(f"{compute.reason}; method {options.method}")
        for note in note_others(inputs.others):
            say(f"note: {note}")
        if not occluder.known:
            effect = {
                "paper": "the paper's procedure is run, which can make poses worse (README, Refinement)",
                "visible": "method visible leaves every pose as it is found",
            }
            say(
                "note: nothing says what is hidden, so whole images are taken as visible: "
                f"{effect[options.method]}. Give --masks or --occluder-color"
            )
        inputs.choose_range(checkpoint.config.data.range, say)
        estimator = Estimator(checkpoint.model, compute)
        refiner = Refiner(estimator, checkpoint, inputs, occluder, options, out if animate else None)
        results = Results(out, formats, prior_of(estimator, checkpoint.config.prior.names), options.iterations, every)
        tally = Tally(inputs, checkpoint)
        find = partial(refiner.poses, batch)
        with batch_that_fits(batch):
            write_poses(find, kept, world, batch, inputs, results, draw, strict, "refining poses", say, tally.look)
        drawn = chain.from_iterable(world.from_all(list(refiner.notes())))
    if world.leader:
        for note in (*tally.notes(), *drawn):
            say(f"note: {note}")
        summarise(results)


class Refiner:
    """Poses of all inputs, streamed. `pictures` is the folder for strips and animations, or None."""

    def __init__(
        self,
        estimator: Estimator,
        checkpoint: Checkpoint,
        inputs: Inputs,
        occluder: Occluder,
        options: Options,
        pictures: Path | None,
    ):
        self.estimator, self.inputs, self.occluder = estimator, inputs, occluder
        self.options, self.pictures = options, pictures
        self.size, self.resize = checkpoint.config.model.image_size, checkpoint.config.data.resize
        self.typical = None if checkpoint.known is None else checkpoint.known.recall_distance
        self.undrawn, self.first_undrawn = 0, ""

    def poses(self, batch: int, wanted: range) -> Iterator[Pose]:
        first = wanted.start
        for held in decode_ahead(self.decode_one, wanted, batch):
            yield from self.poses_of_batch(held, first)
            first += len(held)

    def decode_one(self, index: int) -> Decoded:
        try:
            image = self.inputs.open_image(index)
            hidden = self.occluder.hidden(self.inputs.name(index), image)
        except UnreadableImageError as error:
            return Decoded(None, None, str(error))
        frame = Frame(*image.size, self.size, self.resize)
        if hidden is None:
            return Decoded(frame.apply_image(image), frame, None)
        pixels, covered = frame.apply_occluded(image, hidden)
        if covered[frame.picture].all():
            return Decoded(None, None, f"nothing of it is visible at the network's {self.size} pixels")
        return Decoded(pixels, frame, None, covered)

    def poses_of_batch(self, held: list[Decoded], first: int) -> Iterator[Pose]:
        images = self.estimator.to_images(stack_squares(held, self.size))
        visible = torch.ones_like(images[:, :1])
        for row, decoded in enumerate(held):
            if decoded.hidden is not None:
                visible[row, 0] = torch.from_numpy(~decoded.hidden).to(visible)
        record: list[Step] | None = [] if self.pictures else None
        refinement = refine(self.estimator, images, visible, self.options, record)
        under = torch.stack([seen(keypoints, visible) for keypoints in refinement.keypoints]).cpu().numpy()
        for row, decoded in enumerate(held):
            index = first + row
            if decoded.frame is None:
                yield no_pose(index, decoded.problem, self.estimator)
                continue
            whole = decoded.hidden is not None and not decoded.hidden.any()
            pose = self.pose(index, decoded.frame, refinement, row, under[:, row], whole)
            if record is not None and pose.refined is not None:
                self.draw(index, columns_of(row, record))
            yield pose

    def pose(self, index: int, frame: Frame, refinement: Refinement, row: int, visible: np.ndarray, whole: bool) -> Pose:
        failed, used = int(refinement.failed[row]), int(refinement.used[row])
        if failed == 0:
            return no_pose(index, "the model finds no finite keypoints", self.estimator)
        points = frame.to_pixels(refinement.keypoints[:, row].cpu().numpy())
        sure = refinement.confidence[:, row].cpu().numpy().astype(np.float64)
        explained = None
        if self.typical is not None:
            explained = float(refinement.recall_distance[row]) <= self.typical
        moved = np.linalg.norm(points[-1] - points[0], axis=-1)
        refined = Refined(points, sure, used, visible & frame.inside(points), moved, explained, whole)
        problem = f"not finite at iteration {failed}; the pose before it is kept" if failed > 0 else None
        return Pose(index, frame.width, frame.height, points[-1], sure[-1], problem, refined)

    def draw(self, index: int, columns: list[Column]) -> None:
        """strips/NAME.png and gifs/NAME.gif. A picture that cannot be written must not cost the results."""
        links = prior_of(self.estimator).weights
        name = self.inputs.name(index)
        try:
            for folder, suffix, save in (("strips", "png", save_strip), ("gifs", "gif", save_gif)):
                place = self.pictures / folder / f"{name}.{suffix}"
                folder_below(self.pictures, place)
                save(place, columns, links)
        except DiskFullError:
            raise
        except (OSError, PPLError) as error:
            self.undrawn, self.first_undrawn = self.undrawn + 1, self.first_undrawn or " ".join(str(error).split())

    def notes(self) -> Iterator[str]:
        if self.undrawn:
            yield f"{self.undrawn} strips or animations could not be written; the first: {self.first_undrawn}"


class Tally:
    """What is worth a note about all images together; counted, since there may be millions."""

    def __init__(self, inputs: Inputs, checkpoint: Checkpoint):
        self.inputs, self.size, self.resize = inputs, checkpoint.config.model.image_size, checkpoint.config.data.resize
        self.small = self.whole = self.unexplained = 0
        self.first_small = self.first_whole = ""

    def look(self, pose: Pose) -> None:
        if pose.width is None or pose.refined is None:
            return
        if min(Frame(pose.width, pose.height, self.size, self.resize).inner) > min(pose.width, pose.height):
            self.small += 1
            self.first_small = self.first_small or self.inputs.name(pose.index)
        if pose.refined.whole:
            self.whole += 1
            self.first_whole = self.first_whole or self.inputs.name(pose.index)
        self.unexplained += pose.refined.explained is False

    def notes(self) -> Iterator[str]:
        if self.small:
            what = f"smaller than the network's {self.size} pixels and were enlarged"
            yield f"{self.small} images are {what} ({self.first_small}, ...)"
        if self.whole:
            yield f"nothing is hidden in {self.whole} of {len(self.inputs)} images (the first: {self.first_whole})"
        if self.unexplained:
            yield f"{self.unexplained} poses are further from every prototype than 99 % of training poses (`explained` is no)"


def columns_of(row: int, record: list[Step]) -> list[Column]:
    """What happened to one image of a batch."""
    columns = []
    for step in record:
        at = (step.rows == row).nonzero()
        if len(at):
            k = int(at[0])
            drawn = (None, None) if step.skeleton is None else (step.skeleton[k], step.reconstruction[k])
            columns.append(Column(step.image[k], step.keypoints[k], *drawn))
    return columns
