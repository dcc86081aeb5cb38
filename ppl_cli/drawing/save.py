"""How pictures become files: one way for PNG, one for animations."""

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ppl_cli.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAST_FRAME = 2500  # milliseconds


def save_png(path: Path, picture: "Image.Image | Figure") -> None:
    """A picture of Pillow as it is, a figure of matplotlib at 110 dots per inch. PPLError if it cannot be written."""
    with replacing(path) as temporary:
        if isinstance(picture, Image.Image):
            picture.save(temporary, "PNG", compress_level=1)  # the default takes four times as long to save a sixth
        else:
            picture.savefig(temporary, format="png", dpi=110)


def save_animation(path: Path, frames: list[Image.Image], milliseconds: int) -> None:
    """An animation without end. Every frame stays for `milliseconds`, the last one longer."""
    # Few colours of much grey: of the palettes that Pillow can make, this one keeps those of keypoints.
    frames = [frame.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(frames) - 1) + [LAST_FRAME]
    with replacing(path) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
