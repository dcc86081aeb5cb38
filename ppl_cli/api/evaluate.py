"""A whole `ppl eval`: models, data, protocols, occlusion, report and pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ppl_cli.checkpoints.model_file import Checkpoint, load_model
from ppl_cli.config.sections import Config, DataConfig
from ppl_cli.data.datasets import list_part
from ppl_cli.data.listing import Listing
from ppl_cli.data.occlusion import Occlusion, parse_occlusions
from ppl_cli.device import Compute, batch_that_fits, choose_compute
from ppl_cli.distributed import ALONE, World, processes
from ppl_cli.drawing.evaluation import save_cases, save_distribution, save_sweep
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.collect import Reader, collect, collect_occluded
from ppl_cli.evaluation.protocol_options import Choices, choose_protocols, evaluation_data
from ppl_cli.evaluation.protocols import Regression, Sample
from ppl_cli.evaluation.report import ModelReport, Protocol, Report, Result, Sweep, labels, to_json
from ppl_cli.files import make_folder, replacing
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.refine import Options
from ppl_cli.model.core import PosePriorLearner

FILES = ("eval.json", "distribution.png", "cases.png", "occlusion.png")
CASES = 3  # images in each row of cases.png


def run_evaluation(
    sources: list[str],
    data: Path | None,
    out: Path | None,
    choices: Choices,
    say: Callable[[str], None],
    kind: str | None = None,
    fit: str | None = None,
    test: str | None = None,
    occlusions: list[str] | None = None,
    refinement: Options = Options(),  # noqa: B008 (it is frozen)
    seed: int = 0,
    batch: int = 32,
    overwrite: bool = False,
    strict: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    category: str | None = None,
    images: str | None = None,
) -> tuple[Report, Path]:
    """The report, and the folder that it was written to."""
    compute = choose_compute(device, precision)
    levels = parse_occlusions(occlusions or [])
    checkpoints = [load_model(source) for source in sources]
    chosen = evaluation_data(checkpoints[0].config, data, kind, fit, test, category, images)
    protocols = choose_protocols(chosen.kind, choices)
    with processes(compute) as world:
        folder = world.from_leader(choose_folder(out, sources, overwrite) if world.leader else Path())
        say(f"{compute.reason}; data {chosen.kind}" + (f" in {chosen.path}" if chosen.path else ""))
        seeds = checkpoints[0].config.seed
        judges = [Judge(checkpoint, chosen, compute, batch, strict, seeds, world) for checkpoint in checkpoints]
        report, cases = judge_all(judges, sources, protocols, levels, refinement, seed, folder)
        report.notes += differing_units(checkpoints)
        if world.leader:
            for note in report.notes:
                say(f"note: {note}")
            write(folder, report, *cases)
    return report, folder


def judge_all(
    judges: list["Judge"],
    sources: list[str],
    protocols: list[Protocol],
    levels: list[Occlusion],
    refinement: Options,
    seed: int,
    folder: Path,
) -> tuple[Report, tuple[Listing, Sample]]:
    """The report, and the test images of the first model."""
    for protocol in protocols:
        protocol.check(judges[0].test)
    make_folder(folder)  # what can fail cheaply comes before the network runs

    report = Report({}, [], [])
    cases, chosen = None, judges[0].data
    for source, judge in zip(sources, judges, strict=True):
        with batch_that_fits(judge.batch):
            model, samples = judge.report(source, protocols, levels, refinement, seed)
        report.models.append(model)
        report.notes += [note for note in judge.notes if note not in report.notes]
        if cases is None:
            cases = (judge.test, samples)
            report.keypoint_names = judge.test.keypoint_names
            report.data = describe(chosen, judge, model, levels, refinement, seed)
    return report, cases


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
        self.estimator = Estimator(checkpoint.model, compute)
        config = checkpoint.config
        # Images are brought to the square in the way that this model learned from.
        self.data = data.model_copy(update={name: getattr(config.data, name) for name in ("resize", "figures", "range")})
        self.size = config.model.image_size
        self.fit = list_part(self.data, "fit", seed, self.size)
        self.test = list_part(self.data, "test", seed, self.size)
        overlap = check_splits(self.fit, self.test, str(data.path))
        self.notes = list(dict.fromkeys([*self.fit.notes, *self.test.notes, *overlap]))

    def reader(self, listing: Listing, title: str) -> Reader:
        return Reader(listing, self.size, self.data.resize, self.batch, self.strict, title, self.world)

    def report(
        self, source: str, protocols: list[Protocol], levels: list[Occlusion], refinement: Options, seed: int
    ) -> tuple[ModelReport, Sample]:
        readers = self.reader(self.fit, "fit images"), self.reader(self.test, "test images")
        fit, test = (collect(self.estimator, reader) for reader in readers)
        for reader in readers:
            self.notes += reader.notes
        check_annotated(fit, test, str(self.data.path))
        results = [measure(protocol, fit, test) for protocol in protocols]
        for result in results:
            self.notes += [f"{result.protocol.name}: {line}" for line in result.fitted.warnings]
            if result.fitted.details.get("penalty_on_the_edge"):
                self.notes.append(
                    f"{result.protocol.name}: the smallest or largest penalty tried was chosen; if the images are frames of a "
                    "video, neighbours are too alike for leave-one-out: try --penalty stretches"
                )
        model = ModelReport(source, self.checkpoint.step, fit.found.shape[1], results, len(fit), len(test), test.names)
        if levels:
            model.sweep = self.sweep(results[0], levels, refinement, seed)
        return model, test

    def sweep(self, result: Result, levels: list[Occlusion], refinement: Options, seed: int) -> Sweep:
        """The protocol as fitted on whole images, applied to what is found on occluded ones."""
        reader = self.reader(self.test, "occluded images")
        rows = collect_occluded(self.estimator, reader, levels, refinement, seed)
        values = [[result.protocol.score(result.fitted.predict(s.found), s).value for s in row] for row in rows]
        return Sweep(levels, np.array(values), result.score.value)


def held_out(model: PosePriorLearner, config: Config, compute: Compute) -> Result:
    """A model trained on drawn figures, on figures that it has never seen."""
    checkpoint = Checkpoint(model, config, 0, Path())
    judge = Judge(checkpoint, config.data, compute, 100, False, config.seed)
    return judge.report("", [Regression()], [], Options(), 0)[0].results[0]


def measure(protocol: Protocol, fit: Sample, test: Sample) -> Result:
    fitted = protocol.fit(fit, test)
    score = protocol.score(fitted.predict(test.found), test)
    baseline = protocol.score(fitted.mean_pose(test.found), test)
    return Result(protocol, fitted, score, protocol.score(fitted.predict(fit.found), fit).value, baseline)


def differing_units(checkpoints: list[Checkpoint]) -> list[str]:
    resizes = {checkpoint.config.data.resize for checkpoint in checkpoints}
    if len(resizes) == 1:
        return []
    return [
        f"the models resize images in different ways ({', '.join(sorted(resizes))}): where images are not square, their "
        "errors are in different units and must not be averaged"
    ]


def check_splits(fit: Listing, test: Listing, where: str) -> list[str]:
    """A note where some images are both fitted and measured on; UsageError where all are, or keypoints differ."""
    both = set(fit.names) & set(test.names)
    drawn = fit.keypoint_names and fit.names[0] == "figure 0"  # figures of other seeds have the same names
    if both and not drawn:
        if len(both) == len(test):
            raise UsageError(f"{where}: the test images are the fit images; name another file with --test")
        return [f"{len(both)} of {len(test)} test images are fit images too: the error is too small"]
    if fit.keypoint_names == test.keypoint_names:
        return []
    raise UsageError(
        f"{where}: fit and test images are annotated with other keypoints: {', '.join(fit.keypoint_names)}; "
        f"{', '.join(test.keypoint_names)}"
    )


def check_annotated(fit: Sample, test: Sample, where: str) -> None:
    for sample, name in ((fit, "fit"), (test, "test")):
        if not np.isfinite(sample.truth).all(-1).any():
            raise UsageError(f"{where}: no keypoint of the {name} images is annotated")
    fitted, measured = (np.isfinite(sample.truth).all(-1).any(0) for sample in (fit, test))
    if not (fitted & measured).any():
        raise UsageError(f"{where}: no keypoint is annotated both on fit and on test images")


def describe(
    data: DataConfig, judge: Judge, model: ModelReport, levels: list[Occlusion], refinement: Options, seed: int
) -> dict[str, object]:
    content: dict[str, object] = {"kind": data.kind, "path": data.path}
    content |= {"fit": judge.fit.source, "test": judge.test.source}
    content |= {"fit_images": model.fit_images, "test_images": model.test_images}
    if levels:
        content |= {"occlusion_seed": seed, "refinement": {"method": refinement.method, "pose": refinement.pose}}
    return content


def choose_folder(out: Path | None, sources: list[str], overwrite: bool) -> Path:
    """`--out`, else eval-1, eval-2, ... in the run folder, or in runs/ for several models or a bare file."""
    if out is None:
        place = Path(sources[0]) if len(sources) == 1 and Path(sources[0]).is_dir() else Path("runs")
        number = 1
        while (place / f"eval-{number}").exists():
            number += 1
        return place / f"eval-{number}"
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not overwrite:
        raise UsageError(f"{out} already holds {taken[0]}: choose another --out, or add --overwrite")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; --out must be a folder")
    return out


def write(folder: Path, report: Report, listing: Listing, sample: Sample) -> None:
    """`listing` and `sample` are the first model's test images; what an earlier report left in the folder goes."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    with replacing(folder / "eval.json") as temporary:
        temporary.write_text(json.dumps(to_json(report), indent=1), encoding="utf-8")
    first = report.models[0]
    distributions = dict(zip(labels(report), (model.results[0].score.errors for model in report.models), strict=True))
    save_distribution(folder / "distribution.png", distributions, first.results[0].baseline.errors)
    save_cases(folder / "cases.png", pick_cases(first.results[0], listing, sample))
    if first.sweep:
        levels = [occlusion.label for occlusion in first.sweep.occlusions]
        mean = np.mean([model.sweep.values for model in report.models], 0)
        whole = float(np.mean([model.sweep.whole for model in report.models]))
        save_sweep(folder / "occlusion.png", levels, mean, whole, first.results[0].protocol.unit)


def pick_cases(result: Result, listing: Listing, sample: Sample) -> list:
    """Best, median and worst test images by their mean error, as rows of `save_cases`."""
    errors = np.nanmean(np.where(np.isfinite(result.score.errors).any(1)[:, None], result.score.errors, np.inf), 1)
    order = [int(i) for i in np.argsort(errors, kind="stable") if np.isfinite(errors[i])]
    middle = max(0, len(order) // 2 - CASES // 2)
    rows = {"best": order[:CASES], "median": order[middle : middle + CASES], "worst": order[::-1][:CASES]}
    mapped = result.fitted.predict(sample.found)
    number = {name: index for index, name in enumerate(listing.names)}

    def case(i: int):
        pixels = [points[i] * sample.sides[i] - 0.5 for points in (sample.truth, mapped)]
        return listing.open_image(number[sample.names[i]]), *pixels, f"{errors[i]:.1f} %"

    return [(title, [case(i) for i in images]) for title, images in rows.items()]
