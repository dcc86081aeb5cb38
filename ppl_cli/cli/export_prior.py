"""`ppl export-prior`: its options, and the line that it prints."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ppl_cli.cli.options import Device, Model, only_one, say, split_commas
from ppl_cli.distributed import launched
from ppl_cli.runtime import Runtime
from ppl_cli.text import counted, on_screen


def export_prior(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the prior.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Images or videos to count prototypes over and to show; by default the poses remembered from training."
        ),
    ] = None,
    prototypes: Annotated[int, typer.Option(min=0, max=200, help="How many typical poses.")] = 9,
    format_: Annotated[
        str, typer.Option("--format", help="Skeleton for other tools: any of coco,sleap,deeplabcut, with commas between.")
    ] = "coco",
    names: Annotated[
        Path | None,
        typer.Option(help="Text with a name for each keypoint, one a line: stored in the model, all later commands use them."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the prior in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Export the learned prior: keypoints, links, typical poses, as files, pictures and a page.

    prior.json is for people and for ppl train --init-prior, prior.npz for programs. prior.html is a page to look at in a
    browser: the skeleton, its links, the typical poses and blends between them.

    Examples:

      ppl export-prior runs/mine --out prior --data photos

      ppl export-prior runs/mine --out prior --format coco,sleap,deeplabcut

      ppl export-prior runs/mine --out prior --names names.txt
    """
    from ppl_cli.api import export
    from ppl_cli.api.naming import naming_keypoints

    if launched()[0]:  # of several processes one is enough
        return
    formats, machine = split_commas(format_), Runtime(device, "fp32", say)
    with naming_keypoints(model, names) if names is not None else nullcontext(model) as named:
        done = export.export_prior(
            named, out, data=only_one(data), prototypes=prototypes, formats=formats, overwrite=overwrite, device=machine
        )
    if names is not None:
        say(f"{counted(len(done.prior.names), 'name')} stored in {model}")
    idle = [keypoint.name for keypoint in done.prior.keypoints if not keypoint.useful]
    marked = f" ({', '.join(idle)} idle)" if idle else ""
    counts = f"{counted(len(done.prior.names), 'keypoint')}{marked}, {counted(len(done.prior.prototypes), 'prototype')}"
    print(f"prior of {on_screen(counts)}: {done.folder}; open {done.page}")
