"""Where an image is hidden: a mask file of its own, or the colour of what covers it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from ppl_cli.data.images import UnreadableImageError, decode
from ppl_cli.data.listing import fingerprint_names
from ppl_cli.data.names import image_names
from ppl_cli.errors import UsageError

MIDDLE = 128  # a mask is white, hidden, above it
NEAR = 24  # how far a pixel may be from the occluder's colour, in each channel of 0..255: JPEG blurs colours


@dataclass
class Occluder:
    """`hidden(name, image)` gives (H, W) bool, True where the image is hidden; None where nothing is known.

    Without masks and colour the whole image is taken as visible, as in the paper.
    """

    masks: Path | None = None
    colour: tuple[int, int, int] | None = None
    files: dict[str, list[Path]] = field(default_factory=dict)  # name without suffix -> masks

    def __post_init__(self) -> None:
        if self.masks is not None:
            if not self.masks.is_dir():
                what = "is a file" if self.masks.exists() else "no such folder"
                raise UsageError(f"--masks {self.masks}: {what}; give a folder with a mask for every image, by the same name")
            for name in image_names(self.masks):
                self.files.setdefault(stem(name), []).append(self.masks / name)
            if not self.files:
                raise UsageError(f"--masks {self.masks}: no images in this folder")

    @property
    def known(self) -> bool:
        return self.masks is not None or self.colour is not None

    def identity(self) -> dict[str, object]:
        """What makes two occluders the same, in words for the user; masks by their names."""
        names = sorted(file.relative_to(self.masks).as_posix() for files in self.files.values() for file in files)
        return {"masks": fingerprint_names(names) if names else None, "occluder colour": self.colour}

    def hidden(self, name: str, image: Image.Image) -> np.ndarray | None:
        """`name` of the image relative to its input folder. UnreadableImageError if its mask is missing or does not fit."""
        if not self.known:
            return None
        hidden = np.zeros((image.height, image.width), bool)
        if self.masks is not None:
            hidden |= self.read_mask(name, image)
        if self.colour is not None:
            away = np.abs(np.asarray(image).astype(np.int16) - np.array(self.colour, np.int16))
            hidden |= (away <= NEAR).all(-1)
        if hidden.all():
            raise UnreadableImageError("everything is hidden")
        return hidden

    def read_mask(self, name: str, image: Image.Image) -> np.ndarray:
        file = self.mask_of(name)
        try:
            mask = decode(file)
        except UnreadableImageError as error:
            raise UnreadableImageError(f"its mask {file.name}: {error}") from error
        if mask.size != image.size:
            sizes = f"{mask.width}x{mask.height}, the image {image.width}x{image.height}"
            raise UnreadableImageError(f"its mask has {sizes} pixels")
        values = np.asarray(mask.convert("L"))
        if 0 < values.max() <= MIDDLE:
            raise UnreadableImageError(f"its mask has no white: hidden is 255, its largest value is {values.max()}")
        return values > MIDDLE

    def mask_of(self, name: str) -> Path:
        """The mask of that very name, else the one that differs in the suffix; for a page, else that of the whole file."""
        fitting = self.files.get(name) or self.files.get(stem(name), [])
        exact = [file for file in fitting if file.relative_to(self.masks).as_posix() == name]
        if not fitting:
            raise UnreadableImageError(f"no mask for it in {self.masks} (expected {stem(name)}.png)")
        if len(fitting) > 1 and not exact:
            raise UnreadableImageError(f"several masks fit: {', '.join(file.name for file in fitting)}")
        return (exact or fitting)[0]


def stem(name: str) -> str:
    return str(Path(name).with_suffix(""))


def parse_colour(text: str) -> tuple[int, int, int]:
    """`#ff0000`, `red` or `255,0,0`."""
    try:
        colour = ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)[:3]
        if max(colour) > 255:
            raise ValueError
        return colour
    except ValueError:
        raise UsageError(f"--occluder-color {text}: write a colour as #ff0000, red or 255,0,0") from None
