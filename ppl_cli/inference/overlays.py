"""Poses drawn over images; where there are many, by helpers: processes of their own.

Drawing holds the interpreter: threads of one process wait for each other, and the network for them. A helper imports no
PyTorch, so it starts in a fraction of a second and takes 60 MiB. It is not made by `multiprocessing`, which would run the
user's own script again in each.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from ppl_cli.data.depth import Range
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import ENOUGH, decode_to_fit
from ppl_cli.drawing.overlay import LARGEST, overlay
from ppl_cli.drawing.save import save_jpeg, save_png
from ppl_cli.errors import PPLError, UnreadableImageError
from ppl_cli.heap import keep_freed_memory

ARTISTS = min(8, os.cpu_count() or 1)
FEW = 150  # overlays that are drawn before helpers have started
START = "import sys; sys.path[:] = {path!r}; from ppl_cli.inference.overlays import help_drawing; help_drawing()"


@dataclass(frozen=True)
class Overlay:
    """A pose to draw over an image, which was `size` (width, height) pixels large when the pose was found.

    `keypoints` (N, 2) in pixels, NaN where missing; `links` (N, N) weights; `hollow`, `inferred` as in `draw_over`.
    """

    name: str  # of the image in the results
    image: Path
    value_range: Range | None
    size: tuple[int, int]
    keypoints: np.ndarray
    links: np.ndarray
    hollow: np.ndarray
    inferred: np.ndarray | None
    place: Path  # a JPEG where its name says so, else a PNG

    def draw(self) -> None:
        """PPLError if it cannot be read or written."""
        try:
            image, size = decode_to_fit(self.image, self.value_range, partial(Frame, size=LARGEST // ENOUGH))
        except UnreadableImageError as error:
            raise PPLError(f"{self.name}: {error}") from error
        if size != self.size:
            was, now = ("{}x{}".format(*pixels) for pixels in (self.size, size))
            raise PPLError(f"{self.name} was {was} pixels, and has been changed to {now} since")
        points = (self.keypoints + 0.5) * image.width / size[0] - 0.5
        drawn = overlay(image, points, self.links, hollow=self.hollow, inferred=self.inferred)
        if is_jpeg(self.place.name):
            save_jpeg(self.place, drawn)
        else:
            save_png(self.place, drawn, flush=False)


def is_jpeg(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg"))


@contextmanager
def drawing(count: int) -> Iterator[Callable[[Overlay], None]]:
    """Yields a function that draws one of `count` overlays, for any of `ARTISTS` threads; it returns when that is done."""
    if count <= FEW:
        yield Overlay.draw
        return
    idle: SimpleQueue[subprocess.Popen | None] = SimpleQueue()
    started = [start() for _ in range(ARTISTS)]
    for helper in started:
        idle.put(helper)

    def draw(wanted: Overlay) -> None:
        helper, error = idle.get(), None
        try:
            if helper is not None:
                error = ask(helper, wanted)
        except (EOFError, OSError, pickle.UnpicklingError):  # it was killed
            helper = None
        finally:
            idle.put(helper)
        if helper is None:
            wanted.draw()
        elif error is not None:
            raise error

    try:
        yield draw
    finally:
        for helper in filter(None, started):
            with suppress(OSError):
                helper.stdin.close()
            helper.wait()
            helper.stdout.close()


def start() -> subprocess.Popen | None:
    """None where no further process can be had."""
    with suppress(OSError, TypeError):  # the latter where Python does not know its own program
        command = [sys.executable, "-c", START.format(path=sys.path)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


def ask(helper: subprocess.Popen, wanted: Overlay) -> Exception | None:
    """What went wrong there."""
    pickle.dump(wanted, helper.stdin)
    helper.stdin.flush()
    return pickle.load(helper.stdout)  # from this very program, as what a helper reads is


def help_drawing() -> None:
    """What a helper does, until nobody asks any more. Ctrl-C, which Windows sends to all, is for who has started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    wanted, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints, answers stay answers
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            pickle.dump(attempt(pickle.load(wanted)), answers)
            answers.flush()


def attempt(wanted: Overlay) -> Exception | None:
    try:
        wanted.draw()
    except Exception as error:
        return error
