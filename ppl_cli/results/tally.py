"""What is worth a word about all images of a run together; counted, since there may be millions."""

from collections.abc import Iterator
from dataclasses import dataclass

from ppl_cli.data.frame import Frame, Resize
from ppl_cli.results.pose import Pose
from ppl_cli.text import counted

UNSEEN = 0.2  # share of an image's keypoints that can be seen, at most, where hardly one can
FOREIGN = 0.1  # share of images unlike those of training that is worth a word; of these themselves it is 0.01


@dataclass
class Tally:
    size: int  # side of the network's square input
    resize: Resize
    noun: str = "image"
    table: bool = True  # keypoints.csv is written
    images: int = 0
    skipped: int = 0  # of the images, those without a pose
    lost: int = 0  # of these, videos that cannot be opened
    small: int = 0
    whole: int = 0
    refined: int = 0
    unseen: int = 0  # of these, those in which hardly a keypoint can be seen
    asked: int = 0  # of the images, those of which the model says whether they are like those of training
    unexplained: int = 0
    first_small: str = ""
    first_whole: str = ""
    first_skipped: str = ""  # and why
    first_changed: str = ""  # the frame whose size is not that of the one before in its video
    last: tuple[str | None, int, int] | None = None  # video and size of the last image

    def add(self, name: str, pose: Pose) -> None:
        self.images += 1
        if pose.width is None:
            self.skipped += 1
            self.lost += pose.place.video is not None and pose.place.frame is None
            self.first_skipped = self.first_skipped or f"{name}: {pose.problem}"
        self.asked += pose.explained is not None
        self.unexplained += pose.explained is False
        if pose.width is None:
            return
        before, self.last = self.last, (pose.place.video, pose.width, pose.height)
        if before and pose.place.video and before[0] == pose.place.video and before != self.last:
            self.first_changed = self.first_changed or name
        if pose.refined is None:
            return
        self.refined += 1
        self.unseen += pose.refined.visible[-1].mean() <= UNSEEN
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
        if self.first_changed:
            yield f"{self.first_changed}: from here on the pictures of this video have another size, and pixels are theirs"
        if self.whole:
            yield f"nothing is hidden in {self.whole} of {counted(self.refined, self.noun)} (the first: {self.first_whole})"
        if 2 * self.unseen > self.refined:
            of_them = f"{self.unseen} of {counted(self.refined, self.noun)}"
            yield f"in {of_them} hardly a keypoint can be seen (in masks, white is what is hidden)"
        if self.unexplained and (self.refined or self.unexplained >= FOREIGN * self.asked):
            # What is judged after refinement is the decoder's picture, in part or (method paper) as a whole.
            completed = ", as completed," if self.refined else ""
            verb = "is" if self.unexplained == 1 else "are"
            of_them = f"{self.unexplained} of {counted(self.asked, self.noun)}{completed} {verb}"
            which = "the column `status` of keypoints.csv says which" if self.table else "with --format csv a column says which"
            yield f"{of_them} unlike those that the model was trained on ({which})"
