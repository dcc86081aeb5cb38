"""The images that `ppl infer` and `ppl refine` are given: files and folders, under names of their own in the results. Frames
of videos are images, too."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from PIL import Image

from ppl_cli.data.depth import Range, sample_deep
from ppl_cli.data.excerpt import WHOLE, Excerpt
from ppl_cli.data.frame import Fit
from ppl_cli.data.images import Sized, decode, fetch, fetch_frame, find_range
from ppl_cli.data.listing import fingerprint_names
from ppl_cli.data.names import Others, image_names, list_names
from ppl_cli.data.pages import Film, choose_noun, page_names, split_frame, split_page
from ppl_cli.data.paths import real_folder
from ppl_cli.data.videos import Video, is_video, open_video
from ppl_cli.errors import UnreadableImageError, UsageError
from ppl_cli.files import at_home
from ppl_cli.results.pose import Place
from ppl_cli.text import counted, on_screen


class Paths(Sequence[Path]):
    """Paths of any number of images, each held as one string: its name relative to one of a few folders."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.roots: list[Path] = []
        self.starts: list[int] = []  # index of the first image of each root

    def add(self, root: Path, names: list[str]) -> None:
        if not self.roots or root != self.roots[-1]:
            self.roots.append(root)
            self.starts.append(len(self.names))
        self.names += names

    def root(self, index: int) -> Path:
        return self.roots[bisect_right(self.starts, index) - 1]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Path:
        return self.root(index) / self.names[index]


@dataclass
class Inputs:
    """`paths` of the images; `others` counts what else is in their folders."""

    paths: Paths = field(default_factory=Paths)
    others: Others = field(default_factory=Others)
    range: Range | None = None
    videos: dict[str, Video] = field(default_factory=dict)  # by the names under which they are in the results
    left_out: list[str] = field(default_factory=list)  # lines about videos of which no frame is wanted

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """A unique name, with "/" between its parts."""
        return self.paths.names[index]

    def choose_frames(self, root: Path, names: list[str], excerpt: Excerpt) -> list[str]:
        """`names` without those of frames that are not wanted."""
        if excerpt == WHOLE:
            return names
        chosen = []
        for name, group in groupby(names, lambda name: (split_frame(name) or [None])[0]):
            group = list(group)
            if name is not None:
                video = open_video(root / name)
                group = [group[number] for number in excerpt.choose_frames(video)]
                if not group:
                    end = f"its last frame is {len(video) - 1}f, at {video.times[-1]:.2f} s"
                    self.left_out.append(f"{on_screen(name)}: no frame lies between --start and --stop; {end}")
            chosen += group
        return chosen

    def choose_range(self, given: Range | None, say: Callable[[str], None]) -> None:
        """What is black and white in images of more than 8 bits: as the model learned it, else found over them all."""
        self.range, notes = (given, []) if given else find_range([self.paths[index] for index in sample_deep(self.paths.names)])
        for note in notes:
            say(f"note: {note}")

    def open_image(self, index: int) -> Image.Image:
        return decode(self.paths[index], self.range)

    def fetch_all(self, wanted: Iterable[int]) -> Iterator[Callable[[Fit | None], Sized]]:
        """A function for each image that opens it, in any thread; frames of videos are decoded here, one after another."""
        with closing(Film()) as film:
            for index in wanted:
                name, number = split_frame(self.name(index)) or ("", None)
                if video := self.videos.get(name):  # the file is looked at once, not for every frame
                    yield fetch_frame(video, number, film)
                else:
                    yield fetch(self.paths[index], film, self.range)

    def locate(self, index: int) -> Place:
        """Where in a video an image is."""
        name, frame = split_frame(self.name(index)) or (self.name(index), None)
        if name not in self.videos:
            return Place(name, frame) if is_video(name) else Place()
        times = self.videos[name].times
        return Place(name, frame, float(times[frame]) if frame < len(times) else None)  # clip.mp4#5000 may be asked for

    @property
    def hold_videos(self) -> bool:
        """Also such as cannot be opened."""
        return bool(self.videos) or any(map(is_video, self.paths.names))

    @property
    def noun(self) -> str:
        """What each of them is called."""
        return choose_noun(self.paths.names)

    def describe_videos(self) -> list[str]:
        """Lines for the user."""
        frames = sum(split_frame(name) is not None for name in self.paths.names)
        lines = [f"{counted(len(self.videos), 'video')}, {counted(frames, 'frame')}"] if self.videos else []
        notes = [f"{on_screen(name)}: {video.note}" for name, video in self.videos.items() if video.note]
        return lines + [f"note: {note}" for note in (*notes, *self.left_out)]

    def fingerprint(self) -> str:
        """A digest of the names and of the folders that they are in: frames of many videos are called alike."""
        return fingerprint_names(self.paths.names, map(os.path.abspath, self.paths.roots))


def gather_inputs(given: list[Path], out: Path | None, masks: Path | None = None, excerpt: Excerpt = WHOLE) -> Inputs:
    """Images of files and folders, in the order given; what lies in `out` or in `masks` is left out. `excerpt` says which
    frames of videos are wanted.

    Names are relative to the folder given, or just the file's own. Where that would give two images one name, all
    names are relative to the folder that holds all inputs.
    """
    inputs = Inputs()
    without = {os.path.abspath(folder) for folder in (out, masks) if folder is not None}
    for path in map(at_home, given):
        if path.is_dir():
            if masks is not None and os.path.abspath(masks) == os.path.abspath(path):
                raise UsageError(f"--masks {masks} is the folder of the images too: put the masks into one of their own")
            names = list(image_names(path, without, inputs.others))
            if not names:
                list_names(path)  # says so if it holds no image at all
            inputs.paths.add(path, inputs.choose_frames(path, names, excerpt))
        elif path.exists() or path.is_symlink():
            names = page_names(path.parent, path.name)
            inputs.paths.add(path.parent, inputs.choose_frames(path.parent, names, excerpt))
        elif split_page(path)[1] is not None and split_page(path)[0].exists():
            if excerpt != WHOLE and is_video(split_page(path)[0]):
                raise UsageError(
                    f"{path} is a single frame; --start, --stop and --every choose among those of a whole video: give "
                    f"{split_page(path)[0]}, or leave them out"
                )
            inputs.paths.add(path.parent, [path.name])
        else:
            raise UsageError(f"no such image, video or folder: {path}")
    if not given:
        raise UsageError("expected images, videos or folders, got none")
    if not inputs.paths:
        nothing = [f"all images lie in {out}, the folder for the results: choose another --out"]
        raise UsageError((inputs.left_out or nothing)[0])
    if len(given) > 1:
        inputs.paths = kept_apart(once(inputs.paths))
    frames = {}  # index of one frame of each video
    for index, name in enumerate(inputs.paths.names):
        if found := split_frame(name):
            frames.setdefault(found[0], index)
    for video, index in frames.items():
        with suppress(UnreadableImageError):
            inputs.videos[video] = open_video(split_page(inputs.paths[index])[0])
    if excerpt != WHOLE and not inputs.hold_videos:
        raise UsageError("--start, --stop and --every choose frames of videos, and there is none")
    return inputs


def once(paths: Paths) -> Paths:
    """Leaves out images that were given twice, as files or in overlapping folders; roots become absolute."""
    seen: set[str] = set()
    left = Paths()
    for root, indices in groupby(range(len(paths)), paths.root):
        place = os.path.abspath(root)
        full = ((name, real(place, name)) for name in map(paths.names.__getitem__, indices))
        left.add(Path(place), [name for name, path in full if path not in seen and not seen.add(path)])
    return left


def real(place: str, name: str) -> str:
    """Where the image lies, whichever links lead to its folder."""
    above, _, own = name.rpartition("/")
    return os.path.join(real_folder(os.path.join(place, above)), own)


def kept_apart(paths: Paths) -> Paths:
    """With longer names where two files have the same one: also videos of which different frames are wanted."""
    files = {((split_frame(name) or (name,))[0], paths.root(i)) for i, name in enumerate(paths.names)}
    if len({name for name, _ in files}) == len(files) and len(set(paths.names)) == len(paths):
        return paths
    try:
        common = Path(os.path.commonpath(paths.roots))
    except ValueError:
        raise UsageError("inputs on different drives hold files of the same name: give them one at a time") from None
    longer = Paths()
    longer.add(common, [(paths.root(i).relative_to(common) / name).as_posix() for i, name in enumerate(paths.names)])
    return longer
