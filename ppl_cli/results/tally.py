"""What is worth a word about all images of a run together; counted, since there may be millions."""

from collections.abc import Iterator
from dataclasses import dataclass

from ppl_cli.data.frame import Frame, Resize
from ppl_cli.results.pose import Pose
from ppl_cli.text import counted


@dataclass
class Tally:
    size: int  # side of the network's square input
    resize: Resize
    images: int = 0
    skipped: int = 0  # of the images, those without a pose
    small: int = 0
    whole: int = 0
    unexplained: int = 0
    first_small: str = ""
    first_whole: str = ""

    def add(self, name: str, pose: Pose) -> None:
        self.images += 1
        self.skipped += pose.width is None
        if pose.width is None or pose.refined is None:
            return
        if min(Frame(pose.width, pose.height, self.size, self.resize).inner) > min(pose.width, pose.height):
            self.small += 1
            self.first_small = self.first_small or name
        if pose.refined.whole:
            self.whole += 1
            self.first_whole = self.first_whole or name
        self.unexplained += pose.refined.explained is False

    def notes(self) -> Iterator[str]:
        if self.small:
            were = "is smaller than the network's" if self.small == 1 else "are smaller than the network's"
            enlarged = "was enlarged" if self.small == 1 else "were enlarged"
            which = self.first_small + (", ..." if self.small > 1 else "")
            yield f"{counted(self.small, 'image')} {were} {self.size} pixels and {enlarged} ({which})"
        if self.whole:
            yield f"nothing is hidden in {self.whole} of {counted(self.images, 'image')} (the first: {self.first_whole})"
        if self.unexplained:
            are = "pose is" if self.unexplained == 1 else "poses are"
            yield (
                f"{self.unexplained} {are} further from what the memory recalls for them than 99 % of the training poses "
                "(the column `explained` says no)"
            )
