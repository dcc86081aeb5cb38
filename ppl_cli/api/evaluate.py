"""Models measured on annotated images, or one without labels: the numbers, and where asked for a report with pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ppl_cli.api.models import Model, choose_place, open_checkpoint
from ppl_cli.api.unlabelled import save_report
from ppl_cli.checkpoints.model_file import Checkpoint
from ppl_cli.config.sections import Config, DataConfig
from ppl_cli.data.datasets import UNANNOTATED, list_part
from ppl_cli.data.listing import Listing
from ppl_cli.device import Compute, batch_that_fits
from ppl_cli.distributed import processes
from ppl_cli.drawing.evaluation import save_cases, save_distribution, save_sweep
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.annotated_data import AnnotatedData, choose_data
from ppl_cli.evaluation.judge import HiddenPatches, Judge
from ppl_cli.evaluation.protocol_options import ProtocolOptions, choose_protocols
from ppl_cli.evaluation.protocols import Regression, Sample
from ppl_cli.evaluation.report import FILES, Protocol, Report, Result, note_worse
from ppl_cli.evaluation.sampling import LARGEST, sample_images
from ppl_cli.evaluation.unlabelled import FILES as UNLABELLED
from ppl_cli.evaluation.unlabelled import UnlabelledReport, examine
from ppl_cli.files import at_home, find_earlier, make_folder, next_free_folder, replace_text
from ppl_cli.inference.estimate import CANNOT_FIND
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.runtime import Output, Runtime
from ppl_cli.text import on_screen

T = TypeVar("T")
CASES = 3  # images in each row of cases.png
CASE_NAME = 22  # characters that fit above one


def evaluate(
    models: Model | list[Model],
    data: str | Path | AnnotatedData | None = None,
    *,
    protocol: str | Sequence[str] | ProtocolOptions | None = None,
    occlusion: str | list[str] | HiddenPatches | None = None,
    output: str | Path | Output | None = None,
    device: str | Runtime = "auto",
) -> Report | UnlabelledReport:
    """Measure the keypoints that models find against annotated ones, or where `data` have none, what can be seen without them;
    the numbers are those of `ppl eval`.

    `models`: a Predictor, a run folder, a model.safetensors, a .pth of the original implementation, or several of them.
    `data`: the images, by default those that the first model was trained on; AnnotatedData names their kind and files.
    `protocol`: any of regression, ridge, h36m, cub, taichi, pck, matching, with commas between or as a list, by default the
    usual ones for the data; ProtocolOptions has their options. `occlusion`: also measure on images with hidden patches, such
    as "random=0.1,0.2" or "center=4"; HiddenPatches says how poses are then refined. `output`: folder for eval.json and
    pictures; without it nothing is written, and with Output() it gets a name of its own (eval-1, ...). `device`: a name or a
    Runtime; fp32 unless that says otherwise. Predictors stay on the device where they are.

    Without labels there is one model, no protocol and no occlusion, and an UnlabelledReport; `output` gets report.json and
    report.html (docs/trust.md).

    UsageError if an argument, a file or the data is wrong; PPLError if no image can be read or memory runs out.
    """
    models = several(models)
    if not models:
        raise UsageError("which model? give a run folder of ppl train")
    wanted = data if isinstance(data, AnnotatedData) else AnnotatedData(data)
    options = protocol if isinstance(protocol, ProtocolOptions) else ProtocolOptions(",".join(several(protocol or [])) or None)
    output = output if output is None or isinstance(output, Output) else Output(output)
    hidden = occlusion if isinstance(occlusion, HiddenPatches) else HiddenPatches(several(occlusion or []))
    runtime, compute = choose_place(models, device)
    checkpoints = [open_checkpoint(model) for model in models]
    chosen = choose_data(checkpoints[0].config, wanted, options != ProtocolOptions() or bool(hidden.occlusions))
    if chosen.kind in UNANNOTATED:
        if len(models) > 1:
            raise UsageError(f"{chosen.path} has no annotations: a report without labels is one of a single model")
        with processes(compute) as world:
            judged = name_model(models[0]), checkpoints[0], compute
            report = judge_unlabelled(*judged, chosen, wanted, output, runtime) if world.leader else None
            return world.from_leader(report)
    protocols = choose_protocols(chosen.kind, options)
    names = [name_model(model) for model in models]
    files = [one.path.resolve() for one in checkpoints]
    if twice := next((name for name, file in zip(names, files, strict=True) if files.count(file) > 1), None):
        raise UsageError(f"{twice} is given twice: it would count twice in the mean")
    for name, checkpoint in zip(names, checkpoints, strict=True):
        if hidden.occlusions and hidden.method == "found" and checkpoint.occlusions is None:
            raise UsageError(f"{name}: {CANNOT_FIND}")
    with processes(compute) as world:
        if world.leader:
            check_folder(output, FILES)
            runtime.say(f"{compute.reason}; data {chosen.kind}" + (f" in {chosen.path}" if chosen.path else ""))
        seed = checkpoints[0].config.seed
        judges = [Judge(one, chosen, compute, wanted.batch, wanted.strict, seed, world) for one in checkpoints]
        for each in protocols:
            each.check(judges[0].test)
        # What can fail cheaply comes before the network runs.
        folder = world.from_leader(choose_folder(output, names) if world.leader and output is not None else None)
        try:
            report, sample = ask_judges(judges, names, protocols, hidden)
        except BaseException:
            if output is not None and output.folder is None and world.leader:
                folder.rmdir()
            raise
        report.folder = folder
        if world.leader:
            for note in report.notes:
                runtime.say(f"note: {note}")
            if folder is not None:
                write_report(report, judges[0].test, sample)
    return report


def several(given: T | Sequence[T]) -> Sequence[T]:
    return given if isinstance(given, list | tuple) else [given]


def name_model(model: Model) -> str:
    """A path as it was given; of what is loaded already that of its run folder or file."""
    if isinstance(model, str | Path):
        return str(model)
    path = open_checkpoint(model).path
    return str(path.parent if path.name == "model.safetensors" else path)


def ask_judges(
    judges: list[Judge], names: list[str], protocols: list[Protocol], hidden: HiddenPatches
) -> tuple[Report, Sample]:
    """The report, and what the first model found on the test images."""
    first = judges[0]
    report = Report({}, first.test.keypoint_names, [])
    samples = []
    for name, judge in zip(names, judges, strict=True):
        with batch_that_fits(judge.batch):
            model, sample = judge.measure(name, protocols, hidden)
        samples.append(sample)
        report.models.append(model)
        report.notes += [note for note in judge.notes if note not in report.notes]
    measured = report.models[0]
    report.data = {"kind": first.data.kind, "path": first.data.path, "fit": first.fit.source, "test": first.test.source}
    report.data |= {"fit_images": measured.fit_images, "test_images": measured.test_images}
    if hidden.occlusions:
        report.data |= {"occlusion_seed": hidden.seed, "refinement": {"method": hidden.method}}
    report.notes += differing_units([judge.checkpoint for judge in judges]) + note_worse(report)
    return report, samples[0]


def held_out(model: PosePriorLearner, config: Config, compute: Compute) -> Result:
    """A model trained on drawn figures, on figures that it has never seen."""
    judge = Judge(Checkpoint(model, config, 0, Path()), config.data, compute, 100, False, config.seed)
    return judge.measure("", [Regression()], HiddenPatches())[0].results[0]


def differing_units(checkpoints: list[Checkpoint]) -> list[str]:
    resizes = {checkpoint.config.data.resize for checkpoint in checkpoints}
    if len(resizes) == 1:
        return []
    return [
        f"the models resize images in different ways ({', '.join(sorted(resizes))}): where images are not square, their "
        "errors are in different units and must not be averaged"
    ]


def judge_unlabelled(
    name: str,
    checkpoint: Checkpoint,
    compute: Compute,
    data: DataConfig,
    wanted: AnnotatedData,
    output: Output | None,
    runtime: Runtime,
) -> UnlabelledReport:
    """What images without annotations say of a model, written where `output` says."""
    check_folder(output, UNLABELLED)
    videos = ", each folder read as the frames of one video" if data.kind == "video_frames" else ""
    runtime.say(f"{compute.reason}; images in {', '.join(data.places)}, without annotations{videos}")
    listing = list_part(data, "train", checkpoint.config.seed, LARGEST)
    sampled = sample_images(listing, checkpoint.config, strict=wanted.strict)
    with batch_that_fits(wanted.batch):
        report = examine(checkpoint, sampled, compute, name, wanted.batch)
    report.data |= data.origin
    report.notes = [*listing.notes, *report.notes]
    for note in report.notes:
        runtime.say(f"note: {note}")
    if output is not None:
        save_report(choose_folder(output, [name]), report, sampled, checkpoint)
    return report


def check_folder(output: Output | None, files: tuple[str, ...]) -> None:
    """UsageError if `files` must not be written there."""
    if output is not None and output.folder is not None:
        find_earlier(output.folder, files, output.overwrite)


def choose_folder(output: Output, names: list[str]) -> Path:
    """The one given, else the next of eval-1, eval-2, ... in the run folder, or in runs/ for several models or a bare file."""
    if output.folder is None:
        folder = at_home(names[0])
        return next_free_folder(folder if len(names) == 1 and folder.is_dir() else Path("runs"), "eval")
    make_folder(output.folder)
    return output.folder


def write_report(report: Report, listing: Listing, sample: Sample) -> None:
    """`listing` and `sample` are the first model's test images; what an earlier report left in the folder goes."""
    folder, first = report.folder, report.models[0]
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    replace_text(folder / "eval.json", json.dumps(report.to_dict(), indent=1))
    protocol, baseline = first.shown.protocol, first.shown.baseline
    errors = [model.shown.score.errors for model in report.models]
    distributions = dict(zip(report.labels(), errors, strict=True))
    save_distribution(folder / "distribution.png", distributions, baseline.errors, protocol.name)
    save_cases(folder / "cases.png", pick_cases(first.shown, listing, sample), protocol.name)
    if first.sweep:
        levels = [occlusion.label for occlusion in first.sweep.occlusions]
        mean = np.mean([model.sweep.values for model in report.models], 0)
        whole = float(np.mean([model.sweep.whole for model in report.models]))
        save_sweep(folder / "occlusion.png", levels, mean, whole, f"{protocol.name}, {protocol.unit}")


def pick_cases(result: Result, listing: Listing, sample: Sample) -> list:
    """Best, median and worst test images by their mean error, as rows of `save_cases`."""
    errors = np.nanmean(np.where(np.isfinite(result.score.errors).any(1)[:, None], result.score.errors, np.inf), 1)
    order = [int(i) for i in np.argsort(errors, kind="stable") if np.isfinite(errors[i])]
    middle = max(0, len(order) // 2 - CASES // 2)
    rows = {"best": order[:CASES], "median": order[middle : middle + CASES], "worst": order[::-1][:CASES]}
    mapped = result.fitted.predict(sample.found)
    number = {name: index for index, name in enumerate(listing.names)}

    def show_case(i: int):
        pixels = [points[i] * sample.sides[i] - 0.5 for points in (sample.truth, mapped)]
        name = on_screen(sample.names[i])
        name = name if len(name) <= CASE_NAME else f"...{name[-CASE_NAME:]}"
        return listing.open_image(number[sample.names[i]]), *pixels, f"{errors[i]:.1f} %, {name}"

    return [(title, [show_case(i) for i in images]) for title, images in rows.items()]
