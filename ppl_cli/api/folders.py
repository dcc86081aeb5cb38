"""Files and folders in, a folder of results out: what `ppl infer` and `ppl refine` do with a model."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_cli.api.details import Details
from ppl_cli.errors import UsageError
from ppl_cli.inference.estimate import Finder
from ppl_cli.inference.inputs import gather_inputs
from ppl_cli.inference.occluder import Occluder
from ppl_cli.inference.pictures import Pictures
from ppl_cli.inference.pipeline import Summary, Task, run
from ppl_cli.inference.refine import NOTHING_SAID
from ppl_cli.inference.refiner import Refiner
from ppl_cli.prior.links import find_useful
from ppl_cli.results.deeplabcut import can_write_h5, name_scorer
from ppl_cli.results.files import Results
from ppl_cli.results.resuming import identify
from ppl_cli.runtime import Output

if TYPE_CHECKING:
    from ppl_cli.api.predictor import Predictor

NOTHING = Occluder()


def write_poses(
    model: "Predictor",
    finder: Finder,
    inputs: Path | Sequence[Path],
    output: Path | Output,
    details: Details,
    occluder: Occluder = NOTHING,
) -> Summary:
    """The poses that `finder` finds in files and folders; a `Refiner` refines them. UsageError if there is nothing to do."""
    output = output if isinstance(output, Output) else Output(output)
    if output.folder is None:
        raise UsageError("where shall poses be written? Give Output(folder)")
    inputs = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    images = gather_inputs(inputs, output.folder, occluder.masks, details.excerpt)
    if details.trail and not images.hold_videos:
        raise UsageError("--trail is drawn in videos, and there is none")
    prior, compute, notes = model.bare_prior, model.estimator.compute, note_calibration(model)
    if details.useful:
        kept = find_useful(prior.weights).nonzero()[0].tolist()
        idle = [name for i, name in enumerate(model.names) if i not in kept]
        notes.append(f"idle keypoints, left out: {', '.join(idle)}" if idle else "no keypoint is idle")
        finder = replace(finder, names=[model.names[i] for i in kept], kept=kept)
    command, reason, iterations = "infer", compute.reason, None
    how: dict[str, object] = {"overlay": details.overlay, "trail": details.trail, "useful": details.useful}
    if isinstance(finder, Refiner):
        options = finder.options
        command, reason, iterations = "refine", f"{reason}; method {options.method}", options.iterations
        how |= {"gif": details.gif, "all iterations": details.all_iterations, **asdict(options), **occluder.identity()}
        if not occluder.known:
            said = NOTHING_SAID[options.method]
            notes.append(f"note: nothing says what is hidden: {said}. --masks or --occluder-color say it for sure")
    if "dlc" in output.formats and not can_write_h5():
        notes.append('note: dlc has tables in .csv only; pip install "ppl-cli[formats]" adds those in .h5')
    results = Results(
        output.folder,
        output.formats,
        prior.select(finder.kept),
        iterations,
        details.all_iterations,
        paths=images.paths,
        scorer=name_scorer(model.checkpoint.run or model.config.name, model.checkpoint.step),
        videos=images.hold_videos,
    )
    pictures = Pictures(output.folder, prior.weights, details.overlay, details.trail, finder.kept)
    task = Task(images, occluder, finder, pictures, results, details.batch, details.strict, model.config.data.range)
    identity = identify(command, model.checkpoint.path, images.fingerprint(), compute, formats=results.formats, **how)
    return run(task, output, identity, model.runtime, [reason, *notes])


def note_calibration(model: "Predictor") -> list[str]:
    """A line for the user where a model file has none."""
    if model.estimator.calibration is not None:
        return []
    again = ": `ppl train --out RUN --resume` measures it" if model.checkpoint.known else ""
    return [f"note: this model file has no calibration, so confidence is left empty{again}"]
