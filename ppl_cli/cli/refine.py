"""`ppl refine`: parse, call, print."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppl_cli.cli.infer import Resume, parse_formats
from ppl_cli.cli.train import Device, Precision, say

if TYPE_CHECKING:
    from ppl_cli.inference.refine import Options

WHERE, HOW = "Where the occlusion is", "Refinement"
Method = Annotated[
    str | None,
    typer.Option(
        help="visible: what is seen stays, only what is hidden is completed; paper: the whole reconstruction is looked at. By "
        "default visible where it is known what is hidden, else paper.",
        rich_help_panel=HOW,
    ),
]
DrawnPose = Annotated[
    str,
    typer.Option(
        help="Which pose the decoder is shown: recalled by the memory, as found, or mixed (as found where visible).",
        rich_help_panel=HOW,
    ),
]


def refine(
    model: Annotated[str, typer.Argument(help="A run folder of ppl train, a model.safetensors, or a .pth of the original.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, and folders (searched recursively).")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks, white where hidden, by the names of the images.", rich_help_panel=WHERE),
    ] = None,
    occluder_color: Annotated[
        str | None, typer.Option(help="Colour of what hides the object: #ff0000, red or 255,0,0.", rich_help_panel=WHERE)
    ] = None,
    iterations: Annotated[int, typer.Option(min=0, max=100, help="How often.", rich_help_panel=HOW)] = 4,
    method: Method = None,
    pose: DrawnPose = "recalled",
    until_converged: Annotated[
        float | None,
        typer.Option(metavar="PIXELS", help="Stop early once no keypoint moves further (network pixels).", rich_help_panel=HOW),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="Any of csv,coco,npz, with commas between.")] = "csv,coco,npz",
    all_iterations: Annotated[
        bool, typer.Option("--all-iterations", help="Rows of every iteration in keypoints.csv, numbered.")
    ] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw every pose over its image.")] = False,
    gif: Annotated[bool, typer.Option("--gif", help="Also an animation and a strip of the iterations of every image.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images per pass of the network.")] = 32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove all earlier results in --out first.")] = False,
    resume: Resume = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Repair the poses of occluded images with the learned prior.

    Each iteration finds keypoints, recalls the typical pose nearest to them, draws it, and lets the decoder complete what is
    hidden along it; keypoints are then found again. Say where the occlusion is: with masks, or with its colour. Results are
    those of ppl infer, and for each keypoint whether it is visible and how far it moved; keypoints_iterations.npz has the pose
    of every iteration.

    Examples:

      ppl refine runs/mine occluded --masks masks --out repaired --gif

      ppl refine runs/mine occluded --occluder-color red --out repaired
    """
    from ppl_cli.errors import UsageError
    from ppl_cli.inference.occluder import Occluder, parse_colour
    from ppl_cli.inference.run_refine import run_refinement

    formats = parse_formats(format_)
    if until_converged is not None and not until_converged > 0:
        raise UsageError(f"--until-converged {until_converged}: write a number of pixels above 0")
    occluder = Occluder(masks, None if occluder_color is None else parse_colour(occluder_color))
    options = refine_options(iterations, method or ("visible" if occluder.known else "paper"), pose)
    run_refinement(
        model,
        inputs,
        out,
        formats,
        options,
        occluder,
        until_converged,
        all_iterations,
        overlay,
        gif,
        batch,
        overwrite,
        strict,
        device,
        precision,
        say,
        resume,
    )


def refine_options(iterations: int, method: str | None, pose: str) -> "Options":
    from ppl_cli.errors import UsageError
    from ppl_cli.inference.refine import Options

    if method not in ("visible", "paper"):
        raise UsageError(f"--method {method}: write visible or paper")
    if pose not in ("recalled", "mixed", "found"):
        raise UsageError(f"--pose {pose}: write recalled, mixed or found")
    return Options(iterations, method, pose)
