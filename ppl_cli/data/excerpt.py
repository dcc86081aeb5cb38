"""Which frames of a video are wanted: from a time or a frame on, up to another, each or every tenth."""

import re
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np

from ppl_cli.data.videos import Video
from ppl_cli.errors import UsageError

BELOW_60 = r"(?=[0-5]?\d\b)"  # what follows a colon
MOMENT = re.compile(
    rf"(?P<frame>\d+)f|(?:(?:(?P<h>\d+):{BELOW_60})?(?P<m>\d+):{BELOW_60})?(?P<s>\d+(?:\.\d*)?|\.\d+)", re.ASCII
)
ROUNDING = 1e-6  # seconds


@dataclass(frozen=True)
class Excerpt:
    """`start` and `stop` as the user writes them: seconds of the stream's clock (90, 1:30, 0:01:30.5) or a frame (2700f).

    The frame at `stop` is not taken. UsageError if they are not written so.
    """

    start: str | float | None = None
    stop: str | float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.every, Integral) or isinstance(self.every, bool) or self.every < 1:
            raise UsageError(f"--every (every) is {self.every!r}: expected a whole number of 1 or more")
        for name in ("start", "stop"):
            moment = getattr(self, name)
            if moment is not None and not MOMENT.fullmatch(str(moment)):
                raise UsageError(f"--{name} {moment}: write seconds (90.5), h:mm:ss (0:01:30.5, to 59) or a frame (2700f)")
        if None not in (self.start, self.stop):
            (start, kind), (stop, its_kind) = read_moment(self.start), read_moment(self.stop)
            if kind == its_kind and stop <= start:
                raise UsageError(f"--stop {self.stop} is not behind --start {self.start}: nothing lies between")

    def choose_frames(self, video: Video) -> range:
        """Numbers of the frames of `video` that are wanted."""
        first = 0 if self.start is None else find_frame(video, self.start)
        stop = len(video) if self.stop is None else min(len(video), find_frame(video, self.stop))
        return range(first, stop, self.every)


WHOLE = Excerpt()


def find_frame(video: Video, moment: str | float) -> int:
    """The first frame that is not before it."""
    number, kind = read_moment(moment)
    return int(number) if kind == "frame" else int(np.searchsorted(video.times, number - ROUNDING))


def read_moment(moment: str | float) -> tuple[float, Literal["frame", "seconds"]]:
    parts = MOMENT.fullmatch(str(moment)).groupdict()
    if parts["frame"] is not None:
        return int(parts["frame"]), "frame"
    return 3600 * int(parts["h"] or 0) + 60 * int(parts["m"] or 0) + float(parts["s"]), "seconds"
