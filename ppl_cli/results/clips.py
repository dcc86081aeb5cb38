"""Which video, file of several pages or folder of frames an image belongs to: what other tools have a file for."""

from pathlib import Path
from typing import NamedTuple

from ppl_cli.data.pages import split_page
from ppl_cli.data.videos import is_video


class Clip(NamedTuple):
    path: Path  # the video or file of several pages, else the folder
    name: str  # the same, relative to the input; empty: the input folder itself
    is_folder: bool


def find_clip(name: str, path: Path) -> tuple[Clip, int | None]:
    """The clip of the image called `name` in the results, and which of its frames that is: None for an image of a folder, and
    for a video that cannot be opened."""
    file, number = split_page(path)
    if number is None and is_video(path):
        return Clip(path, name, False), None
    if number is None:
        return Clip(path.parent, name.rpartition("/")[0], True), None
    return Clip(file, name.rpartition("#")[0], False), number
