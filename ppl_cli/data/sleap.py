"""SLEAP's projects (.slp, .pkg.slp), read by sleap-io: frames of image files, of videos, or kept in the file itself.

Of several animals in a frame the largest is taken. Predictions are left out: what a person has labelled is measured on.
"""

from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.annotations import Annotation, check_images, list_annotations, measure_extent
from ppl_cli.data.images import UnreadableImageError, decode
from ppl_cli.data.layouts import choose_file, take_share
from ppl_cli.data.listing import Listing, Part
from ppl_cli.data.paths import ImageFinder, normalise
from ppl_cli.data.videos import is_video
from ppl_cli.errors import PPLError
from ppl_cli.files import refusing

ONE_AT_A_TIME = Lock()  # readers of videos have a position


def sleap_project(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    choice = choose_file(config, part, ".slp")
    file, root = choice.file, Path(config.path)
    finder = ImageFinder(file, root.parent if root.is_file() else root, config.images)
    labels = load_labels(file)
    annotations, frames, alone = [], {}, len(labels.skeletons) == 1
    for number, labelled in enumerate(labels.labeled_frames, 1):
        image, frame = locate_frame(labelled, finder)
        if frame is not None:
            frames[finder.name(image)] = frame
        for animal in labelled.user_instances:
            points = np.asarray(animal.numpy()[:, :2], np.float64)
            category = "" if alone else animal.skeleton.name or ""
            annotations.append(Annotation(image, f"labelled frame {number}", points, measure_extent(points), category))
    names = {"" if alone else skeleton.name or "": list(skeleton.node_names) for skeleton in labels.skeletons}
    listing = list_annotations(annotations, finder, names, config.category)
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


def locate_frame(labelled, finder: ImageFinder) -> tuple[Path, tuple | None]:
    """Where a frame lies, and (video, frame number) if it is not an image file.

    Frame 7 of a.mp4 is called a.mp4#7, one that a package holds a.pkg.slp#video0-7.
    """
    video, number = labelled.video, labelled.frame_idx
    if isinstance(video.filename, list):
        return finder.find([str(video.filename[number])])[0], None
    if getattr(video.backend, "has_embedded_images", False):
        return finder.source.with_name(f"{finder.source.name}#{video.backend.dataset.split('/')[0]}-{number}"), (video, number)
    last = normalise(str(video.filename)).rsplit("/", 1)[-1]
    places = [Path(video.filename), finder.root / last, *sorted(finder.root.glob(f"*/{last}"))]
    movie = next((place for place in places if place.is_file()), None)
    if movie is not None and str(movie) != video.filename:
        video.replace_filename(str(movie))
    place = movie or finder.root / last
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
