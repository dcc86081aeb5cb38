"""Images in, a folder of results out, in the direction of the data:

    inputs --decode--> squares --find--> poses --draw--> pictures
                                           |
                                           +--keep--> journal --write--> keypoints.csv, ..., drawn videos

A batch enters the journal when its pictures are drawn, so whatever is in the journal is complete: a run that was stopped
goes on with the image behind it. Of several processes each finds the poses of its share, and the leader writes them all.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from ppl_cli.data.depth import Range
from ppl_cli.data.frame import Fit
from ppl_cli.data.images import Sized
from ppl_cli.data.names import note_others
from ppl_cli.data.pages import Film, split_frame
from ppl_cli.device import batch_that_fits
from ppl_cli.distributed import World, processes
from ppl_cli.errors import PPLError
from ppl_cli.heap import keep_freed_memory
from ppl_cli.inference.estimate import Finder, Opened, Opener, stream_poses
from ppl_cli.inference.films import Films
from ppl_cli.inference.inputs import Inputs
from ppl_cli.inference.occluder import Occluder
from ppl_cli.inference.overlays import ARTISTS, drawing
from ppl_cli.inference.pictures import Pictures
from ppl_cli.results.files import SKIPPED_FILE, Results
from ppl_cli.results.journal import Journal
from ppl_cli.results.pose import Pose
from ppl_cli.results.resuming import results_folder
from ppl_cli.results.tally import Tally
from ppl_cli.runtime import Output, Runtime, silent
from ppl_cli.text import counted, on_screen


@dataclass
class Task:
    """What a run works with: one field for each station."""

    inputs: Inputs
    occluder: Occluder
    finder: Finder
    pictures: Pictures
    results: Results
    batch: int
    strict: bool  # stop at the first image that could not be used
    value_range: Range | None = None  # of images of more than 8 bits, where the model has learned from such

    def openers(self, wanted: Sequence[int]) -> Iterator[Opener]:
        """A function for each image that opens it and its mask, in any thread."""
        with closing(Film()) as film, closing(self.inputs.fetch_all(wanted)) as images:
            for index, image in zip(wanted, images, strict=True):
                mask = self.occluder.fetch(self.inputs.name(index), self.inputs.paths[index], film)
                yield partial(self.open_one, image, mask)

    def open_one(
        self, open_image: Callable[[Fit | None], Sized], open_mask: Callable[[], Image.Image] | None, fit: Fit
    ) -> Opened:
        image, size = open_image(None if self.occluder.known else fit)
        return Opened(image, size, self.occluder.hidden(image, open_mask))

    def check(self, poses: list[Pose]) -> list[Pose]:
        for pose in poses:
            if pose.problem and self.strict:
                where = self.inputs.paths[pose.index]
                raise PPLError(f"{where}: {pose.problem} (--strict stops at the first such image)")
        return poses

    def draw(self, pose: Pose) -> None:
        name, image = self.inputs.name(pose.index), self.inputs.paths[pose.index]
        self.pictures.draw(name, image, self.inputs.range, pose)

    def progress(self, title: str, count: int) -> tqdm:
        return tqdm(desc=title, total=count, unit=self.inputs.noun, disable=None)

    def open_journal(self, kept: Path, rank: int) -> Journal:
        return Journal(kept / f"poses-{rank}.journal", len(self.results.prior.keypoints), self.results.iterations)


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    folder: Path
    poses: int
    skipped: int  # images without a pose
    noun: str = "image"
    lost: int = 0  # of these, whole videos

    def __str__(self) -> str:
        kinds = {self.noun: self.skipped - self.lost, "video": self.lost}
        left_out = " and ".join(counted(number, noun) for noun, number in kinds.items() if number)
        return f"{counted(self.poses, 'pose')} in {self.folder}{f'; {left_out} left out, see skipped.csv' if left_out else ''}"


def run(task: Task, output: Output, identity: dict[str, object], runtime: Runtime, notes: list[str]) -> Summary:
    """`identity` as in `results_folder`; `notes`: lines to say at the beginning. PPLError if no image could be used."""
    finder, compute = task.finder, task.finder.estimator.compute
    keep_freed_memory()
    tally = Tally(finder.size, finder.resize, task.inputs.noun, "csv" in task.results.formats)
    with processes(compute) as world:
        say = runtime.say if world.leader else silent
        with results_folder(output, identity, say, world) as kept:
            others = (f"note: {note}" for note in note_others(task.inputs.others))
            for line in (*notes, *task.inputs.describe_videos(), *others):
                say(line)
            task.inputs.choose_range(task.value_range, say)
            writing = task.results.open() if world.leader else nullcontext()
            films, poses = Films(task.pictures), all_poses(task, kept, world)
            with batch_that_fits(task.batch), writing, films, closing(poses) as batches:
                for pose in chain.from_iterable(batches):
                    pose.place = task.inputs.locate(pose.index)
                    task.results.add(task.inputs.name(pose.index), pose)
                    tally.add(task.inputs.name(pose.index), pose)
                    films.add(task.inputs.name(pose.index), task.inputs.paths[pose.index], pose)
        undrawn = world.from_all((task.pictures.undrawn, task.pictures.first_undrawn))
        tally = world.from_leader(tally)
    for line in tally.notes():
        say(f"note: {line}")
    if unseen := task.results.unseen:
        which = on_screen(unseen[0]) + (", ..." if len(unseen) > 1 else "")
        say(f"note: SLEAP reads no such video and will show its poses without frames: {which}; for frames write it as .mp4")
    if count := sum(number for number, _ in undrawn):
        first = next(first for _, first in undrawn if first)
        say(f"note: {counted(count, 'picture')} could not be written; the first: {first}")
    if tally.skipped == tally.images:
        failed, first = (
            (f"the {'video' if task.inputs.hold_videos else 'image'} could not", "")
            if tally.images == 1
            else (f"none of the {tally.images} {tally.noun}s could", "first: ")
        )
        raise PPLError(f"{failed} be used ({first}{tally.first_skipped}); see {output.folder / SKIPPED_FILE}")
    return Summary(output.folder, tally.images - tally.skipped, tally.skipped, tally.noun, tally.lost)


def all_poses(task: Task, kept: Path, world: World) -> Iterator[list[Pose]]:
    """Poses of all inputs, in order, for the leader to write."""
    share = world.share(len(task.inputs))
    with (
        task.progress(task.finder.title, len(share)) as bar,
        task.open_journal(kept, world.rank) as journal,
        closing(find_poses(task, journal, share)) as batches,
    ):
        for poses in batches:
            bar.update(len(poses))
            if world.size == 1:
                yield poses
    world.from_all(None)  # everyone is done
    if world.size > 1 and world.leader:
        with task.progress("writing results", len(task.inputs)) as bar:
            for rank in range(world.size):
                with task.open_journal(kept, rank) as journal:
                    for poses in journal.batches():
                        bar.update(len(poses))
                        yield poses


def find_poses(task: Task, journal: Journal, share: range) -> Iterator[list[Pose]]:
    """Poses in the journal, then the others of the share: found, drawn, kept."""
    for poses in journal.batches():
        yield task.check(poses)
    wanted = range(share.start + journal.images, share.stop)
    overlays = sum(split_frame(task.inputs.name(i)) is None for i in wanted) if task.pictures.overlays else 0
    with (
        closing(task.openers(wanted)) as openers,
        closing(stream_poses(task.finder, openers, task.batch, wanted.start)) as batches,
        drawing(overlays) as task.pictures.draw_overlay,
        ThreadPoolExecutor(ARTISTS) as artists,
    ):
        draw = artists.map if overlays else map
        for poses in batches:
            deque(draw(task.draw, task.check(poses)), 0)
            journal.append(poses)
            yield poses
