"""Which frames of videos are learned from: up to `data.frames`, spread evenly over all videos, the same every time."""

from contextlib import suppress
from itertools import groupby
from pathlib import Path

from ppl_cli.data.pages import split_frame
from ppl_cli.data.videos import open_video
from ppl_cli.errors import UnreadableImageError
from ppl_cli.text import on_screen


def share_out(counts: list[int], most: int) -> list[int]:
    """How many frames to take of videos that have `counts`: all alike; of short ones all, and the rest of the others."""
    shares = [0] * len(counts)
    for place, video in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
        shares[video] = min(counts[video], most // (len(counts) - place))
        most -= shares[video]
    return shares


def spread_out(count: int, share: int) -> list[int]:
    """`share` of the numbers 0 ... count - 1: the middles of as many stretches of one length."""
    return [(2 * place + 1) * count // (2 * share) for place in range(share)]


def name_video(name: str) -> str | None:
    """a/clip.mp4 for its frame a/clip.mp4#7; None for an image."""
    found = split_frame(name)
    return found[0] if found else None


def choose_frames(root: Path, names: list[str], most: int) -> tuple[list[str], list[str]]:
    """`names` with at most so many frames of videos, and lines for the user. Names of one video follow each other."""
    runs = [(video, list(run)) for video, run in groupby(names, name_video)]
    counts = [len(run) for video, run in runs if video]
    if not counts:
        return names, []
    shares = iter(share_out(counts, most))
    chosen = [name for video, run in runs for name in (take(run, next(shares)) if video else run)]
    videos, frames = (f"{n:,} {noun}{'s' * (n != 1)}" for n, noun in ((len(counts), "video"), (sum(counts), "frame")))
    notes = [f"{videos}, {frames}, {min(most, sum(counts)):,} taken"]
    for video in filter(None, (video for video, _ in runs)):
        with suppress(UnreadableImageError):
            if note := open_video(root / video).note:
                notes.append(f"{on_screen(video)}: {note}")
    return chosen, notes


def take(run: list[str], share: int) -> list[str]:
    return [run[place] for place in spread_out(len(run), share)]
