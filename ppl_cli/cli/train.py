"""`ppl train`: its options, what they set in the configuration, and what is printed at the end."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ppl_cli.cli.options import Device, Precision, say, split_commas
from ppl_cli.config.shipped import shipped_configs
from ppl_cli.distributed import launched
from ppl_cli.errors import InterruptedRunError, UsageError
from ppl_cli.runtime import Runtime
from ppl_cli.text import as_command, counted

if TYPE_CHECKING:
    from ppl_cli.api.trials import Comparison
    from ppl_cli.config.sections import DataConfig
    from ppl_cli.training.trials import Trials

PRIOR, SHOW, SEVERAL = "Starting from a prior", "Configuration", "Several trainings, compared without labels"
SHORT = {
    "keypoints": "model.keypoints",
    "backbone": "model.backbone",
    "rotate": "train.rotate",
}  # what --set and --try also take


def complete_config(incomplete: str) -> list[str]:
    """Names of shipped configurations, for the shell."""
    return [name for name in shipped_configs() if name.startswith(incomplete)]


def train(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG",
            help="A YAML file, or the name of a shipped configuration such as quickstart; not needed with --resume and --out.",
            autocompletion=complete_config,
        ),
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Folder of the images, or a video; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; by default runs/NAME-1, the next free number.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a field, e.g. train.steps=500; repeatable, see --fields."),
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(help="VGG weights with torchvision's keys (safetensors or pth) instead of a download."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Weights to start from: a run folder, a model.safetensors, or a .pth of the original implementation.",
        ),
    ] = None,
    init_prior: Annotated[
        Path | None,
        typer.Option(
            help="prior.json to start from, or its folder: keypoints and links of another run, or drawn by you.",
            rich_help_panel=PRIOR,
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(help="With --init-prior: keypoints, links or keypoints,links stay as given.", rich_help_panel=PRIOR),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with its own configuration, as if never stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out, or without --out the latest of runs/NAME-1, -2, ...")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    seeds: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Train with N seeds, one after the other.", rich_help_panel=SEVERAL)
    ] = None,
    try_: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="KEY=A,B,...",
            help="Train with each of these values, e.g. keypoints=6,8,12.",
            rich_help_panel=SEVERAL,
        ),
    ] = None,
    keep: Annotated[
        Literal["best"] | None,
        typer.Option(help="best: the run that scores best becomes the run in --out itself.", rich_help_panel=SEVERAL),
    ] = None,
    fields: Annotated[
        bool,
        typer.Option("--fields", help="Print every field: type, unit, default and meaning.", rich_help_panel=SHOW),
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the whole configuration as YAML.", rich_help_panel=SHOW)] = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Learn a pose prior from unlabelled images of one category.

    CONFIG is a YAML file or a shipped name: quickstart (drawn figures, minutes on a CPU), folder (your own images),
    folder_small (the same on a laptop), and the data sets of the paper: h36m, h36m_wobg, taichi, cub, cub_three, hands,
    flowers, horse, dogs.

    A configuration says what to learn from and how large; how to learn is its recipe: ppl (the default for your own images),
    paper or reference, faithful to the publication or its implementation: --set recipe=paper. All fields that --set knows are
    listed by ppl train --fields, and what a configuration comes to by ppl train CONFIG --show.

    The run folder gets the weights (model.safetensors), the resolved config.yaml, metrics.csv, curves.png, prior.json,
    pictures of what the model does over time (samples/), and report.html, which shows without labels what each keypoint lies
    on. Ctrl-C finishes the step, saves and stops; --resume goes on.

    Examples:

      ppl train quickstart

      ppl train folder --data photos --set model.keypoints=12

      ppl train --out runs/mine --resume

      ppl train folder_small --data photos --seeds 3 --keep best
    """
    settings = starting_prior(init_prior, freeze) | parse_settings(set_ or [])
    if perceptual_weights:
        settings["loss.weights"] = perceptual_weights
    if init is not None:
        settings["train.init"] = init
    if fields:
        from ppl_cli.config.describe import describe_fields

        print(describe_fields(min(shutil.get_terminal_size().columns, 120)))
        return
    from ppl_cli.config.loading import data_settings

    settings |= data_settings(data or [])
    if show:
        print_config(config, settings)
        return
    machine = Runtime(device, precision, say)
    how = {"resume": resume, "overwrite": overwrite, "strict": strict, "device": machine}
    from ppl_cli.api.train import train as learn
    from ppl_cli.api.trials import compare
    from ppl_cli.training.resumed_trials import find_trials
    from ppl_cli.training.trials import unfinished

    folder = find_trials(config, out, settings) if resume else None
    begun = folder and unfinished(folder)
    if keep and folder and not (begun or seeds or try_):
        raise UsageError(f"--keep {keep}: {folder} is the best of its trainings already")
    trials = choose_trials(seeds and count_seeds(seeds, config, settings, begun), try_, keep, begun)
    if trials or begun:
        print_comparison(compare(trials, config, out, **how, **settings))
        return
    run = learn(config, out=out, **how, **settings)
    print(f"{counted(run.step, 'step')}, {run.seconds:.0f} s, peak memory {run.peak_memory_gib:.1f} GiB: {run.folder}")
    if run.config.data.kind == "figures" and launched()[0] == 0:
        from ppl_cli.api.evaluate import held_out

        try:
            score = held_out(run.learner, run.config, run.compute.in_float32())
        except KeyboardInterrupt:
            measure = as_command(["ppl", "eval", str(run.folder)])
            left = "the training is finished and saved, its error is not measured"
            raise InterruptedRunError(f"{left}; to measure it: {measure}") from None
        error, baseline = score.score.value, score.baseline.value
        print(
            f"held-out figures: error {error:.2f} % of the image side, mean pose {baseline:.2f}, ratio {error / baseline:.2f}"
        )
    if run.report is not None:
        from rich.console import Console

        from ppl_cli.evaluation.tables import print_unlabelled

        print_unlabelled(run.report, Console())
        print(f"what each keypoint lies on: {run.folder / 'report.html'}")
    print(f"look at {run.folder / 'samples'}; find poses with:")
    print(next_command(run.folder, run.config.data))


def next_command(run: Path, data: "DataConfig") -> str:
    """It runs as it stands, where there are images as files: those drawn beside a run of figures, or what it learned from."""
    images = [str(run / "try")] if data.kind == "figures" else ["IMAGES"] if data.kind in ("h5", "sleap") else data.places
    again = ["--overwrite"] if (run / "poses").exists() else []
    return as_command(["ppl", "infer", str(run), *images, "--out", str(run / "poses"), "--overlay", *again])


def count_seeds(number: int, config: str | None, settings: dict[str, object], begun: "Trials | None") -> tuple[int, ...]:
    """So many, from that of the configuration on; those that have `begun` go on."""
    from ppl_cli.config.loading import load_config

    earlier = begun.values[0] if begun and begun.key == "seed" else 0
    first = earlier if config is None else load_config(config, settings).seed
    return tuple(range(first, first + number))


def choose_trials(
    seeds: tuple[int, ...] | None, tried: list[str] | None, keep: str | None, begun: "Trials | None"
) -> "Trials | None":
    """What to try, where it is said; `begun` are those that go on."""
    from ppl_cli.training.trials import Trials

    if seeds and tried:
        raise UsageError("--seeds and --try exclude each other: try seed=0,1,2 is what --seeds 3 means")
    if keep and begun and not (seeds or tried):
        return replace(begun, keep_best=True)
    if keep and not (seeds or tried):
        raise UsageError(f"--keep {keep}: of which trainings? add --seeds 3, or --try KEY=A,B,...")
    if seeds:
        return Trials("seed", seeds, bool(keep))
    if not tried:
        return None
    if len(tried) > 1:
        raise UsageError(f"--try {tried[1]}: one field at a time, and {tried[0]} is given already")
    key, _, values = tried[0].partition("=")
    parsed = [parse_settings([f"{key}={value}"])[full_name(key)] for value in split_commas(values)]
    return Trials(full_name(key), tuple(parsed), bool(keep))


def print_comparison(compared: "Comparison") -> None:
    """A table of the trials, and where the best one is."""
    from rich.console import Console
    from rich.table import Table

    from ppl_cli.evaluation.verdict import HARDLY

    trials, best = compared.trials, compared.trials.kept or compared.best
    title = "without labels: the higher the score, the better; movement in % of the image side"
    table = Table(title=title, title_justify="left")
    for heading in (trials.key, "useful keypoints", "movement", "memory use", "score", ""):
        table.add_column(heading, justify="right")
    for name, value in trials.folders.items():
        cells = describe_report(compared.reports[name]) if name in compared.reports else ["failed", *[""] * 3]
        table.add_row(str(value), *cells, ("kept" if trials.kept else "best") if name == best else "")
    Console().print(table)
    if (compared.reports[compared.best]["score"] or 0) < HARDLY:
        say("note: even the best one has hardly learned poses, so scores tell nothing yet: train longer")
    print(f"{best} is the run in {compared.folder}" if trials.kept else f"the best one: {compared.folder / best}")


def describe_report(report: dict) -> list[str]:
    """Cells of a row, of the content of report.json."""
    useful = [keypoint for keypoint in report["keypoints"] if keypoint["useful"]]
    movement = sum(keypoint["shift"] for keypoint in useful) / max(len(useful), 1)
    numbers = movement, report["bank_use"], report["score"]  # None: of a single image
    shown = ("" if number is None else f"{number:.2f}" for number in numbers)
    return [f"{len(useful)} of {len(report['keypoints'])}", *shown]


def print_config(config: str | None, settings: dict[str, object]) -> None:
    """What `config` comes to with these settings, ready to be saved and trained from."""
    from ppl_cli.config.loading import load_config, to_yaml

    if config is None:
        raise UsageError("--show: expected CONFIG, a YAML file or a shipped name such as quickstart")
    in_utf8 = (sys.stdout.encoding or "").lower().startswith("utf")  # a file is read as UTF-8, whatever it was saved in
    print(to_yaml(load_config(config, settings), ascii_only=not in_utf8), end="")


def parse_settings(texts: list[str]) -> dict[str, object]:
    """`key.path=value` each, with the value as in YAML. UsageError names the text that is wrong."""
    import yaml

    from ppl_cli.config.plain_yaml import PlainLoader

    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write key=value, for example --set train.steps=500")
        try:
            settings[full_name(key)] = yaml.load(value, PlainLoader)
        except Exception:  # YAMLError, or anything that an invalid date or number raises
            raise UsageError(f"--set {text}: {value!r} is not a value that YAML can read") from None
    return settings


def full_name(key: str) -> str:
    """The dotted name of a field: keypoints -> model.keypoints."""
    return SHORT.get(key.strip(), key.strip())


def starting_prior(file: Path | None, freeze: str | None) -> dict[str, object]:
    """--init-prior and --freeze as settings."""
    parts = list(split_commas(freeze or ""))
    if set(parts) - {"keypoints", "links"}:
        raise UsageError(f"--freeze {freeze}: write keypoints, links or keypoints,links")
    settings: dict[str, object] = {"prior.freeze": parts} if parts else {}
    if file is not None:
        settings |= {"prior.init": file, "prior.keypoints": "given", "prior.links": "given"}
    return settings
