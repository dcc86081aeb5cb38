"""`ppl export-prior`: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from ppl_cli.cli.train import Device, say


def export_prior(
    model: Annotated[str, typer.Argument(help="A run folder of ppl train, a model.safetensors, or a .pth of the original.")],
    out: Annotated[Path, typer.Option(help="Folder for the prior.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Images to count prototypes over, and to show beside them; by default what training left."),
    ] = None,
    prototypes: Annotated[int, typer.Option(min=0, max=200, help="How many typical poses.")] = 9,
    format_: Annotated[
        str, typer.Option("--format", help="Skeleton for other tools: any of coco,sleap,deeplabcut, with commas between.")
    ] = "coco",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the prior in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Hand over the learned prior: keypoints, links, typical poses, as files, pictures and a page.

    prior.json is for people and for ppl train --init-prior, prior.npz for programs, prior.html to look around: the skeleton,
    its links, the typical poses and blends between them.

    Examples:

      ppl export-prior runs/mine --out prior --data photos

      ppl export-prior runs/mine --out prior --format coco,sleap,deeplabcut
    """
    from ppl_cli.errors import UsageError

    formats = list(dict.fromkeys(part.strip() for part in format_.split(",") if part.strip()))
    if set(formats) - {"coco", "sleap", "deeplabcut"}:
        raise UsageError(f"--format {format_}: write any of coco,sleap,deeplabcut, with commas between")

    from ppl_cli.api.export import run_export

    run_export(model, out, data, prototypes, formats, overwrite, device, "fp32", say)
