"""`ppl train`: parse, call, print."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ppl_cli.text import on_screen

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Machine")]
PRIOR = "Starting from a prior"
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16; auto takes bf16 on a GPU.", rich_help_panel="Machine")]


def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped configuration such as quickstart.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; by default runs/NAME-1, the next free number.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a field, e.g. train.steps=500. May be repeated."),
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
            help="prior.json to start from: keypoints and links of another run, or drawn by you.", rich_help_panel=PRIOR
        ),
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="With it: keypoints, links or keypoints,links stay as given.", rich_help_panel=PRIOR)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with its own configuration, as if never stopped.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Learn a pose prior from unlabelled images of one category.

    CONFIG is a YAML file or a shipped name: quickstart (drawn figures, minutes on a CPU), folder (your own images),
    folder_small (the same on a laptop), and the data sets of the paper: h36m, h36m_wobg, taichi, cub, cub_three, hands,
    flowers, horse, dogs.

    A configuration says what to learn from and how large; how to learn is its recipe: ppl (the default for your own images),
    paper or reference, faithful to the publication or its implementation: --set recipe=paper.

    The run folder gets the weights (model.safetensors), the resolved config.yaml, metrics.csv, curves.png, prior.json
    and pictures of what the model does over time (samples/). Ctrl-C finishes the step, saves and stops; --resume goes on.

    Examples:

      ppl train quickstart

      ppl train folder --data photos --set model.keypoints=12

      ppl train folder --data photos --out runs/mine --resume
    """
    from ppl_cli.api.train import run_training
    from ppl_cli.distributed import launched

    set_ = [*starting_prior(init_prior, freeze, set_ or []), *(set_ or [])]
    settings = {
        "data__path": str(data.absolute()) if data else None,
        "loss__weights": str(perceptual_weights) if perceptual_weights else None,
        "train__init": str(Path(init).absolute()) if init is not None else None,
    }
    trained, chosen, folder, compute = run_training(
        config, out, say, tuple(set_), settings, resume, overwrite, strict, device, precision
    )
    print(f"{trained.step} steps, {trained.seconds:.0f} s, peak memory {trained.peak_memory_gib:.1f} GiB: {folder}")
    if chosen.data.kind == "figures" and launched()[0] == 0:
        from ppl_cli.api.evaluate import held_out

        score = held_out(trained.model, chosen, compute)
        error, baseline = score.score.value, score.baseline.value
        print(
            f"held-out figures: error {error:.2f} % of the image side, mean pose {baseline:.2f}, ratio {error / baseline:.2f}"
        )
    print(f"look at {folder / 'samples'}; find poses with: ppl infer {folder} IMAGES --out poses --overlay")


def starting_prior(file: Path | None, freeze: str | None, given: list[str]) -> list[str]:
    """--init-prior and --freeze as settings, which what is `given` with --set overrides."""
    from ppl_cli.errors import UsageError

    parts = [part.strip() for part in (freeze or "").split(",") if part.strip()]
    if set(parts) - {"keypoints", "links"}:
        raise UsageError(f"--freeze {freeze}: write keypoints, links or keypoints,links")
    settings = [f"prior.freeze=[{', '.join(parts)}]"] if parts else []
    if file is not None:
        settings += [f"prior.init={json.dumps(str(file.absolute()))}", "prior.keypoints=given", "prior.links=given"]
    return settings


def say(line: str) -> None:
    print(on_screen(line), file=sys.stderr, flush=True)
