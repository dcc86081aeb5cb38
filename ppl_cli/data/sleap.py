"""SLEAP's projects (.slp, .pkg.slp), read by sleap-io: frames of image files, of videos, or kept in the file itself.

Of several animals in a frame the largest is taken. Predictions are left out: what a person has labelled is measured on.
"""

from dataclasses import replace
from glob import escape
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.annotations import Annotation, check_images, list_annotations, measure_extent
from ppl_cli.data.images import UnreadableImageError, decode
from ppl_cli.data.layouts import choose_file, take_share
from ppl_cli.data.listing import Listing, Part
from ppl_cli.data.paths import ImageFinder, count_common_tail, normalise
from ppl_cli.data.videos import is_video
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import refusing
from ppl_cli.text import counted

ONE_AT_A_TIME = Lock()  # readers of videos have a position


def sleap_project(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    choice = choose_file(config, part, ".slp")
    file, root = choice.file, Path(config.path)
    finder = ImageFinder(file, root.parent if root.is_file() else root, config.images)
    labels = load_labels(file)
    annotations, frames, alone = [], {}, len(labels.skeletons) == 1
    labelled_frames = [labelled for labelled in labels.labeled_frames if is_listed(labelled)]
    lost = len(labels.labeled_frames) - len(labelled_frames)
    notes = [f"{file}: {counted(lost, 'labelled frame')} beyond the end of its list of images, left out"] if lost else []
    if predicted := sum(not labelled.user_instances for labelled in labelled_frames):
        notes.append(f"{file}: {counted(predicted, 'frame')} that no person has labelled, left out")
    images = [str(labelled.video.filename[labelled.frame_idx]) for labelled in labelled_frames if is_list(labelled)]
    files = dict(zip(images, finder.find(images), strict=True)) | find_movies(labels, finder)
    for number, labelled in enumerate(labelled_frames, 1):
        image, frame = locate_frame(labelled, finder, files)
        if frame is not None:
            frames[finder.name(image)] = frame
        for animal in labelled.user_instances:
            points = np.asarray(animal.numpy()[:, :2], np.float64)
            category = "" if alone else animal.skeleton.name or ""
            annotations.append(Annotation(image, f"labelled frame {number}", points, measure_extent(points), category))
    names = {"" if alone else skeleton.name or "": list(skeleton.node_names) for skeleton in labels.skeletons}
    if not annotations and any(labelled.predicted_instances for labelled in labelled_frames):
        raise UsageError(f"{file} holds predictions only: ppl measures on what a person has labelled")
    listing = list_annotations(annotations, finder, names, config.category, notes)
    check_images(file, listing, part, [finder.root / name for name in listing.names if name not in frames])

    def open_image(index: int) -> Image.Image:
        frame = frames.get(listing.names[index])
        return decode(finder.root / listing.names[index], opened.range) if frame is None else read_frame(*frame)

    opened = replace(listing, open_image=open_image, root=None if frames else listing.root)
    return take_share(opened, choice, part)


def load_labels(file: Path):
    """sleap-io's `Labels`."""
    try:
        import sleap_io
    except ImportError as error:
        raise PPLError('reading .slp files needs sleap-io: pip install "ppl-cli[formats]"') from error
    with refusing(file, "is not a readable SLEAP project"):
        return sleap_io.load_slp(str(file))


def is_list(labelled) -> bool:
    """Whether the video of this frame is a list of image files."""
    return isinstance(labelled.video.filename, list)


def is_listed(labelled) -> bool:
    return not is_list(labelled) or 0 <= labelled.frame_idx < len(labelled.video.filename)


def find_movies(labels, finder: ImageFinder) -> dict[str, Path]:
    """Videos by the names that the project has for them: there, in the data set, or in a folder of it.

    It is the one whose path agrees with most parts of the name, unless it agrees with more of another. UsageError if that does
    not tell which.
    """
    files = {str(video.filename) for video in labels.videos if not isinstance(video.filename, list) and not is_embedded(video)}
    found = {name: Path(name) for name in files if Path(name).is_file()}
    ranked = []
    for name in sorted(files - set(found)):
        parts = normalise(name).split("/")
        places = [finder.root / parts[-1], *sorted(finder.root.glob(f"*/{escape(parts[-1])}"))]
        agreeing = {place: count_common_tail(parts, list(place.resolve().parts)) for place in places if place.is_file()}
        most = max(agreeing.values(), default=0)
        ranked += [(most, place, name) for place, count in agreeing.items() if count == most]
    taken = {place.resolve(): len(place.parts) for place in found.values()}  # and how many parts agree
    for most, place, name in sorted(ranked, reverse=True):
        if name in found or taken.get(place.resolve()) == most:
            raise UsageError(
                f"{finder.source}: it cannot be told which video {name} is, since several have that name; put them where the "
                "project says"
            )
        if place.resolve() not in taken:
            found[name], taken[place.resolve()] = place, most
    return found


def is_embedded(video) -> bool:
    return getattr(video.backend, "has_embedded_images", False)


def locate_frame(labelled, finder: ImageFinder, files: dict[str, Path]) -> tuple[Path, tuple | None]:
    """Where a frame lies, and (video, frame number) if it is not an image file; `files` says where the project's lie.

    Frame 7 of a.mp4 is called a.mp4#7, one that a package holds a.pkg.slp#video0-7.
    """
    video, number = labelled.video, labelled.frame_idx
    if is_list(labelled):
        return files[str(video.filename[number])], None
    if is_embedded(video):
        return finder.source.with_name(f"{finder.source.name}#{video.backend.dataset.split('/')[0]}-{number}"), (video, number)
    movie = files.get(str(video.filename))
    place = movie or finder.root / normalise(str(video.filename)).rsplit("/", 1)[-1]
    if movie is not None and str(movie) != video.filename:
        video.replace_filename(str(movie))
    return place.with_name(f"{place.name}#{number}"), None if movie and is_video(movie) else (video, number)


def read_frame(video, number: int) -> Image.Image:
    if not Path(video.filename).is_file():
        raise UnreadableImageError(f"there is no {video.filename}; put the video beside the project")
    try:
        with ONE_AT_A_TIME:
            pixels = np.asarray(video[number])
    except Exception as error:  # damaged videos raise anything
        raise UnreadableImageError("this frame of its video cannot be read") from error
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
