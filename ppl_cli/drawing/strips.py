"""How refinement went on one image: a strip (PNG) and an animation (GIF).

Each iteration is a column: its input with the pose found in it, the skeleton map drawn from it, the reconstruction.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ppl_cli.drawing.samples import GAP, TILE, posed, to_image
from ppl_cli.files import replacing

CAPTION = 20
SECONDS_A_FRAME = 0.9


@dataclass
class Column:
    image: torch.Tensor  # (3, S, S) in [-1, 1]
    keypoints: torch.Tensor  # (N, 2)
    skeleton: torch.Tensor | None = None  # (1, S, S); the last column has none
    reconstruction: torch.Tensor | None = None  # (3, S, S)


def column_picture(column: Column, number: int, links: np.ndarray) -> Image.Image:
    tiles = [posed(to_image(column.image), column.keypoints, links)]
    if column.skeleton is not None:
        tiles.append(to_image(column.skeleton / column.skeleton.amax().clamp_min(1e-6) * 2 - 1))
        tiles.append(to_image(column.reconstruction))
    picture = Image.new("RGB", (TILE, CAPTION + 3 * (TILE + GAP) - GAP), "white")
    title = "as it is" if number == 0 else f"iteration {number}"
    ImageDraw.Draw(picture).text((4, 2), title, fill=(20, 20, 20), font=ImageFont.load_default(size=14))
    for row, tile in enumerate(tiles):
        picture.paste(tile, (0, CAPTION + row * (TILE + GAP)))
    return picture


def save_strip(path: Path, columns: list[Column], links: np.ndarray) -> None:
    pictures = [column_picture(column, number, links) for number, column in enumerate(columns)]
    sheet = Image.new("RGB", (len(pictures) * (TILE + GAP) - GAP, pictures[0].height), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number * (TILE + GAP), 0))
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def save_gif(path: Path, columns: list[Column], links: np.ndarray) -> None:
    """Input with pose, skeleton map and reconstruction side by side; the last frame, longer, has the final pose."""
    frames = []
    for number, column in enumerate(columns):
        drawn = column if column.skeleton is not None or number == 0 else columns[number - 1]
        tiles = [posed(to_image(column.image), column.keypoints, links)]
        if drawn.skeleton is not None:
            tiles += [to_image(drawn.skeleton / drawn.skeleton.amax().clamp_min(1e-6) * 2 - 1), to_image(drawn.reconstruction)]
        frame = Image.new("RGB", (3 * (TILE + GAP) - GAP, CAPTION + TILE), "white")
        title = "as it is" if number == 0 else f"iteration {number}"
        ImageDraw.Draw(frame).text((4, 2), title, fill=(20, 20, 20), font=ImageFont.load_default(size=14))
        for place, tile in enumerate(tiles):
            frame.paste(tile, (place * (TILE + GAP), CAPTION))
        # Few colours of much grey: of the palettes that Pillow can make, this one keeps those of keypoints.
        frames.append(frame.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    durations = [round(1000 * SECONDS_A_FRAME)] * (len(frames) - 1) + [2500]
    with replacing(path) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
