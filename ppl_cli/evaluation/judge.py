"""One model measured on annotated images, whole and with hidden patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ppl_cli.checkpoints.model_file import Checkpoint
from ppl_cli.config.sections import DataConfig
from ppl_cli.data.annotations import note_unannotated
from ppl_cli.data.datasets import list_part
from ppl_cli.data.listing import Listing
from ppl_cli.data.occlusion import Occlusion, parse_occlusions
from ppl_cli.device import Compute
from ppl_cli.distributed import ALONE, World
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.collect import Reader, collect, collect_occluded
from ppl_cli.evaluation.protocols import Sample
from ppl_cli.evaluation.report import ModelReport, Protocol, Result, Sweep
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.refine import Method, Options
from ppl_cli.text import counted


@dataclass(frozen=True)
class HiddenPatches:
    """Which patches of the test images are hidden, the same for all models, and how poses are then refined.

    UsageError where the levels or the method are wrong.
    """

    levels: Sequence[str] = ()  # "random=0.1,0.2": shares of 32 x 32 patches; "center=4,6": sides of the central square
    iterations: int = 4
    method: Method = "visible"  # as in `refine`; visible: it is known what is hidden
    seed: int = 0  # of the random patches

    def __post_init__(self) -> None:
        Options(self.iterations, self.method)
        self.occlusions  # noqa: B018

    @cached_property
    def occlusions(self) -> list[Occlusion]:
        return parse_occlusions(list(self.levels))


class Judge:
    """One model on one data set. `seed` is that of drawn figures: the same ones for all models."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        data: DataConfig,
        compute: Compute,
        batch: int,
        strict: bool,
        seed: int,
        world: World = ALONE,
    ):
        self.checkpoint, self.batch, self.strict, self.world = checkpoint, batch, strict, world
        self.estimator = Estimator(checkpoint.model, compute, checkpoint.calibration, checkpoint.occlusions)
        config = checkpoint.config
        # Images are brought to the square in the way that this model learned from.
        self.data = data.model_copy(update={name: getattr(config.data, name) for name in ("resize", "figures", "range")})
        self.size = config.model.image_size
        self.fit = list_part(self.data, "fit", seed, self.size)
        # Black and white are what they are in the fit images, also where test images would have others of their own.
        self.test = list_part(self.data.model_copy(update={"range": self.fit.range}), "test", seed, self.size)
        self.test.sort_keypoints(self.fit.keypoint_names)
        overlap = check_splits(self.fit, self.test, str(data.path))
        beside = note_unannotated([*self.fit.names, *self.test.names], Path(data.path)) if data.kind == "coco" else []
        self.notes = list(dict.fromkeys([*self.fit.notes, *self.test.notes, *beside, *overlap]))

    def reader(self, listing: Listing, title: str) -> Reader:
        return Reader(listing, self.size, self.data.resize, self.batch, self.strict, title, self.world)

    def measure(self, name: str, protocols: list[Protocol], hidden: HiddenPatches) -> tuple[ModelReport, Sample]:
        """What the protocols say of the model called `name`, and what it found on the test images."""
        readers = self.reader(self.fit, "fit images"), self.reader(self.test, "test images")
        fit, test = (collect(self.estimator, reader) for reader in readers)
        for reader in readers:
            self.notes += reader.notes
        self.notes += check_annotated(fit, test, str(self.data.path))
        results = [apply_protocol(protocol, fit, test) for protocol in protocols]
        self.notes += [note for result in results for note in result.notes]
        model = ModelReport(name, self.checkpoint.step, fit.found.shape[1], results, len(fit), len(test), test.names)
        if hidden.occlusions:
            model.sweep = self.sweep(model.shown, hidden)
        return model, test

    def sweep(self, result: Result, hidden: HiddenPatches) -> Sweep:
        """The protocol as fitted on whole images, applied to what is found on occluded ones."""
        reader = self.reader(self.test, "occluded images")
        refinement = Options(iterations=hidden.iterations, method=hidden.method)
        rows = collect_occluded(self.estimator, reader, hidden.occlusions, refinement, hidden.seed)
        values = [[result.protocol.score(result.fitted.predict(s.found), s).value for s in row] for row in rows]
        return Sweep(hidden.occlusions, np.array(values), result.score.value)


def apply_protocol(protocol: Protocol, fit: Sample, test: Sample) -> Result:
    fitted = protocol.fit(fit, test)
    score = protocol.score(fitted.predict(test.found), test)
    baseline = protocol.score(fitted.mean_pose, test)
    return Result(protocol, fitted, score, protocol.score(fitted.predict(fit.found), fit).value, baseline)


def check_splits(fit: Listing, test: Listing, where: str) -> list[str]:
    """A note where some images are both fitted and measured on; UsageError where all are, or keypoints differ."""
    both = set(fit.names) & set(test.names)
    drawn = fit.keypoint_names and fit.names[0] == "figure 0"  # figures of other seeds have the same names
    if both and not drawn:
        if len(both) == len(test):
            raise UsageError(f"{where}: the test images are the fit images; name another file with --test")
        return [f"{len(both)} of {counted(len(test), 'test image')} also fit the map: the error is too small"]
    if fit.keypoint_names == test.keypoint_names:
        return []
    raise UsageError(
        f"{where}: fit and test images have different keypoints: {', '.join(fit.keypoint_names)}; "
        f"{', '.join(test.keypoint_names)}"
    )


def check_annotated(fit: Sample, test: Sample, where: str) -> list[str]:
    """A note on keypoints that are fitted and not measured; UsageError unless some keypoint is annotated on both."""
    fitted, measured = (np.isfinite(sample.truth).all(-1).any(0) for sample in (fit, test))
    for annotated, name in ((fitted, "fit"), (measured, "test")):
        if not annotated.any():
            raise UsageError(f"{where}: no keypoint of the {name} images is annotated")
    if not (fitted & measured).any():
        raise UsageError(f"{where}: no keypoint is annotated both on fit and on test images")
    alone = np.flatnonzero(fitted & ~measured).tolist()
    return [f"keypoints {test.listed(alone)} are annotated on no test image: they are not measured"] if alone else []
