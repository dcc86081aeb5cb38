"""`ppl infer`: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from ppl_cli.cli.train import Device, Precision, say

Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run in --out that was stopped or killed, as if it never had been.")
]


def infer(
    model: Annotated[str, typer.Argument(help="A run folder of ppl train, a model.safetensors, or a .pth of the original.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, and folders (searched recursively).")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    format_: Annotated[str, typer.Option("--format", help="Any of csv,coco,npz, with commas between.")] = "csv,coco,npz",
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw every pose over its image.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images per pass of the network.")] = 32,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove all results of an earlier ppl infer in --out first.")
    ] = False,
    resume: Resume = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Find the keypoints of every image.

    Coordinates are (x, y) in pixels of the image as displayed, origin at the centre of the top left pixel. The
    confidence of a keypoint, 0 to 1, says how concentrated the network's attention was when it placed it. Images that
    cannot be read are listed in skipped.csv with the reason, and the rest goes on. A run that was stopped or killed is gone
    on with by the same command and --resume (--batch may differ; with the same one, files are the same byte for byte).

    Examples:

      ppl infer runs/quickstart-1 photos --out poses --overlay

      ppl infer runs/mine/model.safetensors a.jpg b.png --out poses --format csv
    """
    formats = parse_formats(format_)

    from ppl_cli.inference.run import run_inference

    run_inference(model, inputs, out, formats, overlay, batch, overwrite, strict, device, precision, say, resume)


def parse_formats(text: str) -> list[str]:
    from ppl_cli.errors import UsageError

    formats = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not formats or set(formats) - {"csv", "coco", "npz"}:
        raise UsageError(f"--format {text}: write any of csv,coco,npz, with commas between")
    return formats
