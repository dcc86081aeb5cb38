"""`ppl eval`: its options, and the tables or the JSON that it prints."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from ppl_cli.cli.options import Device, Precision, only_one, say
from ppl_cli.errors import UsageError
from ppl_cli.runtime import Output, Runtime

HOW, HIDE = "Protocol", "Occlusion"


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Run folders of ppl train, files model.safetensors, or .pth of the original."),
    ],
    data: Annotated[
        list[Path] | None, typer.Option(help="Annotated data set, or images without annotations; by default those trained on.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="coco, deeplabcut, ultralytics, sleap, h5, h36m, h36m_wobg, taichi, figures; folder or video_frames to leave "
            "annotations unread; by default seen from DATA."
        ),
    ] = None,
    fit: Annotated[
        str | None, typer.Option(help="What the map is fitted on: COCO or SLEAP file, DeepLabCut videos, Ultralytics part.")
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="What to measure on: the same, CUB split (003), or of one file for all a share of its images (0.3)."),
    ] = None,
    category: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which category to measure on, where several are annotated.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where the annotated images lie, if not where their file says.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; by default eval-1, ... in the run folder.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Any of regression,ridge,h36m,cub,taichi,pck,matching, with commas between; by default the usual "
            "one for DATA, else regression,ridge.",
            rich_help_panel=HOW,
        ),
    ] = None,
    bias: Annotated[bool | None, typer.Option("--bias/--no-bias", help="Fit an offset too.", rich_help_panel=HOW)] = None,
    origin: Annotated[
        Literal["corner", "centre"] | None,
        typer.Option(help="Without bias, the point of the image that maps to itself.", rich_help_panel=HOW),
    ] = None,
    penalty: Annotated[
        str | None,
        typer.Option(
            help="Of the ridge: chosen by leaving out one image after another (loo) or seven stretches of the video "
            "(stretches), or a number. By default loo.",
            rich_help_panel=HOW,
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Of pck: shares of the image side, or pixels of the image (6px). By default 0.05,0.1; the field's 6 pixels at "
            "255 are 0.0235.",
            rich_help_panel=HOW,
        ),
    ] = None,
    swap_table: Annotated[
        Literal["corrected", "published"] | None,
        typer.Option(help="Pairs of left and right joints for h36m; the published table is wrong in one.", rich_help_panel=HOW),
    ] = None,
    occlusion: Annotated[
        list[str] | None,
        typer.Option(
            metavar="random=... center=...",
            help="Also measure on images with hidden patches: shares of 32 x 32, and sides of the central square.",
            rich_help_panel=HIDE,
        ),
    ] = None,
    iterations: Annotated[
        int, typer.Option(min=0, max=100, help="Iterations of refinement on occluded images.", rich_help_panel=HIDE)
    ] = 4,
    method: Annotated[
        Literal["visible", "found", "paper"],
        typer.Option(
            help="How occluded images are refined. visible: it is known what is hidden, and only that is completed; found: the "
            "model finds what is hidden; paper: the whole reconstruction is looked at.",
            rich_help_panel=HIDE,
        ),
    ] = "visible",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the hidden patches.", rich_help_panel=HIDE)] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print eval.json (or report.json) instead of tables.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images per pass of the network.")] = 32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report in --out.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Measure found keypoints against annotated ones, with the protocols of the field.

    The model is frozen. A linear map from all found keypoints to the annotated ones is fitted on the fit images and
    measured on the test images; beside it always stands the mean pose, the score of answering the same pose everywhere.
    Several models (seeds) also give a mean and a standard deviation. The folder gets eval.json (everything, per keypoint),
    distribution.png, cases.png (best, median and worst images) and occlusion.png.

    Images without annotations give a report without labels: how still each keypoint stays, how it is linked, what the
    reconstruction loses without it, how much the pose matters where it lies (relevance), and a verdict in one line. The folder
    gets report.json and report.html, a page that shows what each keypoint lies on in many images.

    Examples:

      ppl eval runs/quickstart-1

      ppl eval runs/mine --data photos

      ppl eval runs/mine --data tiger --occlusion random=0.1,0.2 center=4,8 --iterations 4

      ppl eval runs/mine-1 runs/mine-2 runs/mine-3 --data tiger --json
    """
    from rich.console import Console

    from ppl_cli.api import evaluate
    from ppl_cli.evaluation.annotated_data import AnnotatedData
    from ppl_cli.evaluation.judge import HiddenPatches
    from ppl_cli.evaluation.protocol_options import ProtocolOptions
    from ppl_cli.evaluation.tables import show_report

    for place in map(Path, models[1:]):
        if place.is_dir() and not [*place.glob("model.safetensors"), *place.glob("*/model.safetensors")]:
            raise UsageError(f"{place} holds no model; images are given with --data {place}")
    report = evaluate.evaluate(
        models,
        AnnotatedData(only_one(data), kind, fit, test, category, images, batch, strict),
        protocol=ProtocolOptions(protocol, bias, origin, penalty, threshold, swap_table),
        occlusion=HiddenPatches(occlusion or (), iterations, method, seed),
        output=Output(out, overwrite=overwrite),
        device=Runtime(device, precision, say),
    )
    if json_:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        show_report(report, Console())
        print(f"report and pictures: {report.folder}")
