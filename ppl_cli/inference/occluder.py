"""Where an image is hidden: a mask file of its own, or the colour of what covers it."""

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from ppl_cli.data.frame import Fit
from ppl_cli.data.images import Sized, fail, fetch
from ppl_cli.data.listing import fingerprint_names
from ppl_cli.data.names import image_names
from ppl_cli.data.pages import Film, page_names, split_frame, split_page
from ppl_cli.data.videos import is_video, open_video
from ppl_cli.errors import UnreadableImageError, UsageError
from ppl_cli.files import at_home
from ppl_cli.text import counted

MIDDLE = 128  # a mask is white, hidden, above it
NEAR = 24  # how far a pixel may be from the occluder's colour, in each channel of 0..255: JPEG blurs colours


@dataclass
class Occluder:
    """`hidden(image, mask)` gives (H, W) bool, True where the image is hidden; None where nothing is known.

    Without masks and colour the whole image is taken as visible, as in the paper. `masks` is a folder of images and videos, or
    one video. A frame's mask is that of its very name, else the frame of the same number of a video or a folder that is called
    like the image's video and has as many frames, else the one image for all its frames.
    """

    masks: str | Path | None = None  # a Path once made
    colour: str | Sequence[int] | None = None  # red, green, blue, a tuple once made
    files: dict[str, list[Path]] = field(default_factory=dict)  # name without suffix -> masks
    rows: dict[str, list[Path]] = field(default_factory=dict)  # folder or video -> masks of its frames
    videos: dict[str, list[Path]] = field(default_factory=dict)  # of these the videos, without suffix

    def __post_init__(self) -> None:
        if self.colour is not None:
            self.colour = check_colour(self.colour)
        if self.masks is None:
            return
        self.masks = at_home(self.masks)
        single = is_video(self.masks)
        if not (self.masks.is_file() if single else self.masks.is_dir()):
            what = "is a file" if self.masks.exists() else "no such folder"
            raise UsageError(
                f"--masks {self.masks}: {what}; give a folder with a mask for every image, by the same name, or a video"
            )
        for name in page_names(self.root, self.masks.name) if single else image_names(self.root):
            self.files.setdefault(stem(name), []).append(self.root / name)
            video = split_frame(name)
            row = "." if single else video[0] if video else Path(name).parent.as_posix()
            self.rows.setdefault(row, []).append(self.root / name)
            if video and not single:
                self.videos.setdefault(stem(row), self.rows[row])
        if not self.files:
            raise UsageError(f"--masks {self.masks}: no images in this folder")

    @property
    def known(self) -> bool:
        return self.masks is not None or self.colour is not None

    @property
    def root(self) -> Path:
        """What names of masks are relative to."""
        return self.masks.parent if is_video(self.masks) else self.masks

    def identity(self) -> dict[str, object]:
        """What makes two occluders the same, in words for the user; masks by their names."""
        names = sorted(file.relative_to(self.root).as_posix() for files in self.files.values() for file in files)
        return {"masks": fingerprint_names(names) if names else None, "occluder colour": self.colour}

    def fetch(self, name: str, image: Path, film: Film) -> Callable[[], Image.Image] | None:
        """A function that opens the mask of `image`, in any thread; `name` is the image's, relative to its input folder."""
        if self.masks is None:
            return None
        try:
            file = self.find_mask(name, image)
        except UnreadableImageError as error:
            return partial(fail, error)
        return partial(self.read_mask, file, fetch(file, film))

    def read_mask(self, file: Path, open_mask: Callable[[Fit | None], Sized]) -> Image.Image:
        try:
            return open_mask(None)[0]
        except UnreadableImageError as error:
            raise UnreadableImageError(f"its mask {file.name}: {error}") from error

    def find_mask(self, name: str, image: Path) -> Path:
        """The mask of that very name, else the one that differs in the suffix; for a page, else that of the whole file."""
        frame = split_frame(name)
        fitting = self.files.get(name) or self.files.get(stem(name), [])
        if frame and all(split_frame(file.name) for file in fitting):  # a video of masks, which may have other frames
            return self.find_row(*frame, len(open_video(split_page(image)[0])))
        exact = [file for file in fitting if file.relative_to(self.root).as_posix() == name]
        if not fitting:
            raise UnreadableImageError(f"no mask for it in {self.masks} (expected {stem(name)}.png)")
        if len(fitting) > 1 and not exact:
            raise UnreadableImageError(f"several masks fit: {', '.join(file.name for file in fitting)}")
        return (exact or fitting)[0]

    def find_row(self, video: str, number: int, count: int) -> Path:
        """The mask of frame `number` of `count` where masks are numbered as they lie in a folder, or one is for all frames."""
        own = (self.rows.get(video), self.videos.get(stem(video)), self.rows.get(stem(video)), self.files.get(stem(video)))
        flat = self.rows.get(".", [])  # without a name of its own it may be for another video
        ours = is_video(self.masks) or (len(flat) == count > 1 and not any("#" in file.name for file in flat))
        masks = next(filter(None, own), None) or (flat if ours else [])
        if len(masks) not in (1, count):
            expected = (
                f"expected a video or a folder {stem(video)} of {counted(count, 'mask')}, or {stem(video)}.png for all frames"
            )
            raise UnreadableImageError(f"{self.masks} has {counted(len(masks), 'mask')} for its video; {expected}")
        if len(masks) == 1:
            return masks[0]
        if number >= count:
            raise UnreadableImageError(f"no mask for it: its video has {counted(count, 'frame')}")
        return masks[number]

    def hidden(self, image: Image.Image, open_mask: Callable[[], Image.Image] | None) -> np.ndarray | None:
        """UnreadableImageError if its mask is missing or does not fit."""
        if not self.known:
            return None
        hidden = np.zeros((image.height, image.width), bool)
        if open_mask is not None:
            hidden |= take_mask(np.asarray(open_mask().convert("L")), image)
        if self.colour is not None:
            away = np.abs(np.asarray(image, np.int16) - np.array(self.colour, np.int16)).max(-1)
            hidden |= away <= NEAR
        return check_some_visible(hidden)


def take_mask(values: np.ndarray, image: Image.Image) -> np.ndarray:
    """(H, W) uint8, white where `image` is hidden -> bool. UnreadableImageError if that is no mask of the image."""
    if values.shape != (image.height, image.width):
        sizes = f"{values.shape[1]} pixels wide and {values.shape[0]} high, the image {image.width} and {image.height}"
        raise UnreadableImageError(f"its mask is {sizes}")
    if 0 < values.max() <= MIDDLE:
        raise UnreadableImageError(f"its mask has no white: hidden is 255, its largest value is {values.max()}")
    return values > MIDDLE


def check_some_visible(hidden: np.ndarray) -> np.ndarray:
    if hidden.all():
        raise UnreadableImageError("everything is hidden")
    return hidden


def stem(name: str) -> str:
    """The name without its suffix; a video's frame keeps its number."""
    frame = split_frame(name)
    return Path(name).with_suffix("").as_posix() if frame is None else f"{stem(frame[0])}#{frame[1]}"


def check_colour(colour: str | Sequence[int]) -> tuple[int, int, int]:
    """A text as `parse_colour` reads it, or three whole numbers. UsageError if it is neither."""
    if isinstance(colour, str):
        return parse_colour(colour)
    with suppress(TypeError, ValueError):
        if len(found := tuple(map(operator.index, colour))) == 3 and 0 <= min(found) <= max(found) <= 255:
            return found
    raise UsageError(f"colour: expected three whole numbers of 0 to 255, red, green and blue, got {colour!r}")


def parse_colour(text: str) -> tuple[int, int, int]:
    """`#ff0000`, `red` or `255,0,0`."""
    try:
        colour = ImageColor.getrgb(f"rgb({text})" if text[:1].isdigit() else text)[:3]
        if max(colour) > 255:
            raise ValueError
        return colour
    except ValueError:
        raise UsageError(f"--occluder-color {text}: write a colour as #ff0000, red or 255,0,0") from None
