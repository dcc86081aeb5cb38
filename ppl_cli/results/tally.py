"""What is worth a word about all images of a run together; counted, since there may be millions."""

from collections.abc import Iterator
from dataclasses import dataclass

from ppl_cli.data.frame import Frame, Resize
from ppl_cli.results.pose import Pose
from ppl_cli.text import counted

# Share of poses that the memory does not explain from which images look foreign. Measured with 6 models on 7 sets of images:
# at most 1 % of those of the kind that a model has learned from; of other kinds, noise and grey half or more in 29 of 36 cases.
FOREIGN = 0.5


@dataclass
class Tally:
    size: int  # side of the network's square input
    resize: Resize
    noun: str = "image"
    images: int = 0
    skipped: int = 0  # of the images, those without a pose
    small: int = 0
    whole: int = 0
    refined: int = 0
    asked: int = 0  # of the poses, those of which the model says whether its memory explains them
    unexplained: int = 0
    first_small: str = ""
    first_whole: str = ""
    first_skipped: str = ""  # and why

    def add(self, name: str, pose: Pose) -> None:
        self.images += 1
        if pose.width is None:
            self.skipped += 1
            self.first_skipped = self.first_skipped or f"{name}: {pose.problem}"
        self.asked += pose.explained is not None
        self.unexplained += pose.explained is False
        if pose.width is None or pose.refined is None:
            return
        self.refined += 1
        if min(Frame(pose.width, pose.height, self.size, self.resize).inner) > min(pose.width, pose.height):
            self.small += 1
            self.first_small = self.first_small or name
        if pose.refined.whole:
            self.whole += 1
            self.first_whole = self.first_whole or name

    def notes(self) -> Iterator[str]:
        if self.small:
            were = "is smaller than the network's" if self.small == 1 else "are smaller than the network's"
            enlarged = "was enlarged" if self.small == 1 else "were enlarged"
            which = self.first_small + (", ..." if self.small > 1 else "")
            yield f"{counted(self.small, self.noun)} {were} {self.size} pixels and {enlarged} ({which})"
        if self.whole:
            yield f"nothing is hidden in {self.whole} of {counted(self.images, self.noun)} (the first: {self.first_whole})"
        are, them = ("is", "it") if self.unexplained == 1 else ("are", "them")
        far = f"further from what the memory recalls for {them} than 99 % of the training poses"
        if self.unexplained and self.refined:
            yield f"{counted(self.unexplained, 'pose')} {are} {far} (the column `explained` says no)"
        elif self.unexplained >= FOREIGN * self.asked > 0:
            poses = counted(self.asked, "pose" if self.asked == self.images - self.skipped else "sampled pose")
            one = "an image" if self.noun == "image" else "a frame"
            these = f"is this {one}" if self.images == 1 else f"are these {self.noun}s"
            yield f"{self.unexplained} of {poses} {are} {far}: {these} of what the model was trained on?"
