"""`ppl refine`: poses of occluded images, repaired with the prior, as files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ppl_cli.cli import options
from ppl_cli.runtime import Output, Runtime

WHERE, HOW = "Where the occlusion is", "Refinement"


def refine(
    model: options.Model,
    inputs: options.Inputs,
    out: options.Results,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks, white where hidden, by the names of the images; or a video of masks.", rich_help_panel=WHERE
        ),
    ] = None,
    occluder_color: Annotated[
        str | None, typer.Option(help="Colour of what hides the object: #ff0000, red or 255,0,0.", rich_help_panel=WHERE)
    ] = None,
    iterations: Annotated[int, typer.Option(min=0, max=100, help="Number of iterations.", rich_help_panel=HOW)] = 4,
    method: Annotated[
        Literal["visible", "found", "paper"] | None,
        typer.Option(
            help="visible: what is seen stays, only what is hidden is completed; found: the same, and the model finds what is "
            "hidden; paper: the whole reconstruction is looked at. By default visible with masks or a colour, else found, or "
            "paper where the model has not learned that.",
            rich_help_panel=HOW,
        ),
    ] = None,
    until_converged: Annotated[
        float | None,
        typer.Option(metavar="PIXELS", help="Stop early once no keypoint moves further (network pixels).", rich_help_panel=HOW),
    ] = None,
    format_: options.Formats = "csv,coco,npz",
    all_iterations: Annotated[
        bool, typer.Option("--all-iterations", help="Rows of every iteration in keypoints.csv, numbered.")
    ] = False,
    overlay: options.Overlay = False,
    useful: options.Useful = False,
    trail: options.Trail = 0,
    start: options.Start = None,
    stop: options.Stop = None,
    every: options.Every = 1,
    gif: Annotated[bool, typer.Option("--gif", help="Also an animation and a strip of the iterations of every image.")] = False,
    batch: options.Batch = 32,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    strict: options.Strict = False,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
) -> None:
    """Repair the poses of occluded images with the learned prior.

    Each iteration finds keypoints, recalls the typical pose nearest to them, draws it, and lets the decoder complete what is
    hidden along it; keypoints are then found again.

    The model finds where the occlusion is, if it has learned that (train.uncover). Where you know it better, say it with masks,
    or with its colour. Results are those of ppl infer, and for each keypoint whether it is visible and how far it moved;
    keypoints_iterations.npz has the pose of every iteration.

    Examples:

      ppl refine runs/mine occluded --out repaired

      ppl refine runs/mine occluded --masks masks --out repaired --gif

      ppl refine runs/mine occluded --occluder-color 200,30,40 --out repaired
    """
    formats = options.parse_formats(format_)

    from ppl_cli.api.details import Details
    from ppl_cli.api.predictor import load
    from ppl_cli.data.excerpt import Excerpt
    from ppl_cli.inference.occluder import Occluder, parse_colour
    from ppl_cli.inference.refine import Options

    details = Details(batch, strict, overlay, trail, gif, all_iterations, Excerpt(start, stop, every), useful)
    occluder = Occluder(masks, None if occluder_color is None else parse_colour(occluder_color))
    predictor = load(model, Runtime(device, precision, options.say))
    how = Options(iterations, method or predictor.choose_method(occluder.known), until_converged)
    print(predictor.refine_files(inputs, Output(out, formats, overwrite, resume), occluder, how, details))
