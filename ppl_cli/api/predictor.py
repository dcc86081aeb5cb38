"""A trained model to find poses with: what `ppl infer` and `ppl refine` run, and what a notebook calls."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TypeVar, Unpack, overload

import numpy as np
from PIL import Image

from ppl_cli.api.details import BATCH, USUAL, Details, HowToRefine
from ppl_cli.api.folders import write_poses
from ppl_cli.checkpoints.model_file import Checkpoint, load_model
from ppl_cli.config.sections import Config
from ppl_cli.data.depth import Range
from ppl_cli.data.excerpt import Excerpt
from ppl_cli.data.pages import has_pages
from ppl_cli.data.videos import is_video, open_video
from ppl_cli.device import Compute, batch_that_fits
from ppl_cli.errors import PPLError, UnreadableImageError, UsageError
from ppl_cli.files import at_home
from ppl_cli.inference import given
from ppl_cli.inference.estimate import CANNOT_FIND, Estimator, Finder, Opened, decode_square, stream_poses
from ppl_cli.inference.films import drawing_video
from ppl_cli.inference.given import HiddenLike, ImageLike
from ppl_cli.inference.inputs import Inputs, gather_inputs
from ppl_cli.inference.occluder import Occluder
from ppl_cli.inference.pipeline import Summary
from ppl_cli.inference.refine import NOTHING_SAID, Method, Options
from ppl_cli.inference.refiner import Refiner
from ppl_cli.prior.prior import Prior
from ppl_cli.prior.prototypes import Recalled, build_prior, decode_tokens, learned_prior
from ppl_cli.results.pose import Pose
from ppl_cli.runtime import Output, Runtime, as_runtime
from ppl_cli.text import counted

PROTOTYPES = 9  # as many as `ppl export-prior` gives
Kind = TypeVar("Kind", bound=ImageLike)
Kinds = list[Kind] | tuple[Kind, ...]  # images of one list may also differ in kind


def load(source: str | Path, device: str | Runtime = "auto") -> "Predictor":
    """A run folder of `ppl train`, a model.safetensors, or a .pth of the original implementation.

    `device`: auto, cpu, cuda, cuda:N or mps, in float32; or a `Runtime` with precision and where notes go. UsageError if
    there is no such device, or no model.
    """
    runtime = as_runtime(device, "fp32")
    compute, checkpoint = runtime.compute(), load_model(source)
    checkpoint.path = checkpoint.path.absolute()  # what lies beside it is found wherever the program goes
    return Predictor(checkpoint, compute, runtime)


class Predictor:
    """Made by `load`. Calling it finds poses; `refine` repairs those of occluded images; `prior` is what it has learned.

    Wherever an image is given it may be a path, a PIL image, or an array (H, W, 3) of uint8 in RGB. Keypoints are (x, y) in
    pixels of the image as displayed, origin at the centre of the top left pixel (`Pose`).
    """

    def __init__(self, checkpoint: Checkpoint, compute: Compute, runtime: Runtime):
        self.checkpoint, self.runtime = checkpoint, runtime
        self.estimator = Estimator(checkpoint.model, compute, checkpoint.calibration, checkpoint.occlusions)

    @property
    def config(self) -> Config:
        """The configuration that the model was trained with."""
        return self.checkpoint.config

    @cached_property
    def names(self) -> list[str]:
        """Names of the N keypoints: given by `ppl export-prior --names`, in prior.json or with a prior, else k0, k1, ..."""
        return self.bare_prior.names

    @cached_property
    def bare_prior(self) -> Prior:
        """Keypoints and links alone."""
        return learned_prior(self.checkpoint.model, self.config.prior.names)

    @cached_property
    def prior(self) -> Prior:
        """Keypoints and links, and, where the model file remembers training poses, prototypes and memory banks.

        Coordinates are (x, y) in [-1, 1] of the network's square input.
        """
        if self.checkpoint.known is None:
            return self.bare_prior
        tokens = self.checkpoint.known.tokens.numpy().astype(int)
        recalled = Recalled(tokens, decode_tokens(self.estimator.model, tokens))
        return build_prior(self.estimator.model, recalled, PROTOTYPES, self.config.prior.names)

    @overload
    def __call__(self, image: ImageLike) -> Pose: ...
    @overload
    def __call__(self, image: Kinds) -> list[Pose]: ...
    def __call__(self, image: ImageLike | Kinds) -> Pose | list[Pose]:
        """The pose of one image, or a list of poses of a list of images, which may be of different sizes and kinds.

        PPLError if a single image cannot be read; in a list, its pose says why in `problem`. UsageError names what is no image.
        """
        if isinstance(image, list | tuple):
            return list(self.stream(image))
        return self._find_one(self.finder, given.check_image(image))

    def stream(self, images: Iterable[ImageLike] | str | Path, batch: int = BATCH, **excerpt: str | float) -> Iterator[Pose]:
        """Poses of any number of images, in order: they are taken as they are needed, and memory does not grow.

        The path of a video, a folder or a file of several pages stands for all that is in it, of videos what `start`, `stop`
        and `every` choose, as those of `ppl infer`. Such poses have an `image`, and of a video `frame` and `time`. An image
        that cannot be read gives a pose with a `problem`, the reason, and NaN as keypoints. What is no image at all is a
        UsageError.
        """
        if isinstance(images, str | Path) and (is_video(images) or not at_home(images).is_file() or has_pages(at_home(images))):
            return self._stream_files(gather_inputs([Path(images)], None, excerpt=Excerpt(**excerpt)), batch)
        if excerpt or isinstance(images, str | Path | Image.Image):
            got = images if isinstance(images, str | Path) else type(images).__name__
            raise UsageError(
                f"stream: expected a video, a folder, or images (without start, stop and every), got {got}; for a single "
                "image call the model: model(path)"
            )
        pairs = ((given.take(given.check_image(image, f"image {number}")), None) for number, image in enumerate(images))
        return self._stream(self.finder, pairs, batch, self._find_range(images))

    def video(
        self,
        path: str | Path,
        overlay: str | Path | None = None,
        *,
        trail: int = 0,
        overwrite: bool = False,
        **excerpt: str | float,
    ) -> list[Pose]:
        """Poses of the frames of a video, in order; `excerpt` as in `stream`.

        At `overlay` an MP4 of these frames is written with the poses drawn over them, and `trail` earlier positions of every
        keypoint. UsageError if that is there already (unless with `overwrite`), the video itself or not called .mp4, or `path`
        is no video; PPLError if one cannot be read or the other not be written.
        """
        poses, drawing, path = [], nullcontext(), at_home(path)
        if not is_video(path) or path.is_dir():
            raise UsageError(f"video: expected a video, got {path}; for folders and images there is stream")
        if trail and overlay is None:
            raise UsageError("trail: it is drawn in the video of overlay; give that, too")
        try:
            video = open_video(path)
        except UnreadableImageError as error:
            raise PPLError(f"{path}: {error}") from error
        if overlay is not None:
            overlay = at_home(overlay)
            if overlay.suffix.lower() != ".mp4":
                raise UsageError(f"overlay: an MP4 is written; expected a name that ends in .mp4, got {overlay}")
            if overlay.exists() and overlay.samefile(path):
                raise UsageError(f"overlay: {overlay} is the video itself; write to another file")
            if overlay.exists() and not overwrite:
                raise UsageError(f"overlay: {overlay} is there already: write to another file, or give overwrite=True")
            drawing = drawing_video(overlay, video, self.bare_prior.weights, trail)
        with drawing as draw:
            for pose in self.stream(path, **excerpt):
                poses.append(pose)
                if draw is not None and pose.width is not None:
                    draw(pose.frame, pose)
        return poses

    @overload
    def refine(self, image: ImageLike, hidden: HiddenLike | None = ..., **options: Unpack[HowToRefine]) -> Pose: ...
    @overload
    def refine(
        self, image: Kinds, hidden: Sequence[HiddenLike | None] | None = ..., **options: Unpack[HowToRefine]
    ) -> list[Pose]: ...
    def refine(
        self,
        image: ImageLike | Kinds,
        hidden: HiddenLike | Sequence[HiddenLike | None] | None = None,
        *,
        iterations: int = 4,
        method: Method | None = None,
        until_px: float | None = None,
    ) -> Pose | list[Pose]:
        """Poses of occluded images, repaired with the prior; `pose.refined` has every iteration.

        `hidden` says what of the image is hidden: an array (H, W) of bool, or a mask (PIL image or path) that is white there;
        for a list of images a list of them. None: nothing is known. `method` is "visible" (what is seen stays, only what is
        hidden is completed), "found" (the same, and the model finds what is hidden beside) or "paper" (the whole reconstruction
        is looked at); by default visible where `hidden` is given, else found where the model has learned that.
        With `until_px` an image is done once no keypoint moves further, in pixels of the network's square. Errors as in
        calling the model, also where a mask does not fit its image.
        """
        several = isinstance(image, list | tuple)
        if several and hidden is not None and not (isinstance(hidden, list | tuple) and len(hidden) == len(image)):
            raise UsageError(f"hidden: expected a list of {len(image)}, one for each image (None where nothing is known)")
        pairs = list(zip(image, [None] * len(image) if hidden is None else hidden, strict=True)) if several else []
        for number, (one, its_hidden) in enumerate(pairs if several else [(image, hidden)]):
            given.check_image(one, f"image {number}" if several else "the image")
            given.check_hidden(its_hidden, f"hidden {number}" if several else "hidden")
        known = [mask is not None for _, mask in pairs or [(image, hidden)]]
        method = method or self.choose_method(any(known))
        if method == "visible" and not all(known):
            images = counted(known.count(False), "image")
            self.runtime.say(f"note: {images} of {len(known)} without `hidden`: {NOTHING_SAID[method]}")
        refiner = self.refiner(Options(iterations, method, until_px))
        if not several:
            return self._find_one(refiner, image, hidden)
        taken = ((given.take(one), None if mask is None else given.take(mask)) for one, mask in pairs)
        return list(self._stream(refiner, taken, BATCH, self._find_range(image)))

    def __repr__(self) -> str:
        return f"Predictor({str(self.checkpoint.path)!r}, {len(self.names)} keypoints, step {self.checkpoint.step})"

    def infer_files(self, inputs: Path | Sequence[Path], output: Path | Output, details: Details = USUAL) -> Summary:
        """Poses of files and folders, as files in a folder: what `ppl infer` does, which says what is written."""
        return write_poses(self, self.finder, inputs, output, details)

    def refine_files(
        self,
        inputs: Path | Sequence[Path],
        output: Path | Output,
        occluder: Occluder | None = None,
        options: Options | None = None,
        details: Details = USUAL,
    ) -> Summary:
        """Refined poses of files and folders, as files in a folder: what `ppl refine` does, with its usual options."""
        occluder = occluder or Occluder()
        if not isinstance(occluder, Occluder):
            raise UsageError(f"occluder: expected Occluder(masks=...) or Occluder(colour=...), got {occluder!r}")
        options = options or Options(method=self.choose_method(occluder.known))
        return write_poses(self, self.refiner(options, details.gif), inputs, output, details, occluder)

    def choose_method(self, known: bool) -> Method:
        """The default method of refinement; `known`: whether it is said what is hidden."""
        return "visible" if known else "found" if self.checkpoint.occlusions is not None else "paper"

    @property
    def finder(self) -> Finder:
        return Finder(self.estimator, self.config.data.resize, self.names, list(range(len(self.names))))

    def refiner(self, options: Options, keep_columns: bool = False) -> Refiner:
        """UsageError for the method `found` if the model has not learned it."""
        if options.method == "found" and self.checkpoint.occlusions is None:
            raise UsageError(CANNOT_FIND)
        return Refiner(**vars(self.finder), options=options, keep_columns=keep_columns)

    def _find_range(self, images: Iterable[ImageLike]) -> Range | None:
        """Black and white of images of more than 8 bits: as the model has learned, else found over a list of them."""
        if self.config.data.range or not isinstance(images, list | tuple):
            return self.config.data.range
        found, notes = given.find_range(images)
        for note in notes:
            self.runtime.say(f"note: {note}")
        return found

    def _find_one(self, finder: Finder, image: ImageLike, hidden: HiddenLike | None = None) -> Pose:
        """PPLError if the image or what is hidden of it cannot be used."""
        value_range = self._find_range([image])
        opener = partial(given.open_given, (image, hidden), value_range)
        pose = finder.find([decode_square(opener, finder.size, finder.resize)])[0]
        pose.source, pose.place = given.find_source(image)
        pose.range = value_range
        if np.isnan(pose.keypoints).all():
            raise PPLError(f"{pose.source or 'the image'}: {pose.problem}")
        return pose

    def _stream(self, finder: Finder, pairs: given.Pairs, batch: int, value_range: Range | None) -> Iterator[Pose]:
        sources = deque()  # of images whose poses are still to come
        with batch_that_fits(batch):
            for pose in chain.from_iterable(stream_poses(finder, given.open_all(pairs, value_range, sources), batch)):
                pose.source, pose.place, pose.range = sources.popleft()
                yield pose

    def _stream_files(self, inputs: Inputs, batch: int) -> Iterator[Pose]:
        for line in inputs.describe_videos():
            self.runtime.say(line)
        inputs.choose_range(self.config.data.range, self.runtime.say)
        with batch_that_fits(batch), closing(inputs.fetch_all(range(len(inputs)))) as images:
            openers = (lambda fit, fetched=image: Opened(*fetched(fit)) for image in images)
            for pose in chain.from_iterable(stream_poses(self.finder, openers, batch)):
                pose.place, pose.source = inputs.locate(pose.index), inputs.paths[pose.index]
                pose.range = inputs.range
                yield pose
