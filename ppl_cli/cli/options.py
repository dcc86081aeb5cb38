"""Options that several commands have, and how a command talks."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ppl_cli.errors import UsageError
from ppl_cli.text import on_screen

MACHINE, VIDEOS = "Machine", "Videos"

Model = Annotated[
    str, typer.Argument(help="A run folder of ppl train, a model.safetensors, or a .pth of the original implementation.")
]
Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, videos, and folders (searched recursively).")]
Results = Annotated[Path, typer.Option(help="Folder for the results.")]
Formats = Annotated[str, typer.Option("--format", help="Any of csv,coco,npz,dlc,slp, with commas between.")]
Overlay = Annotated[bool, typer.Option("--overlay", help="Also draw every pose over its image; of a video, a video.")]
Useful = Annotated[bool, typer.Option("--useful", help="Leave out idle keypoints, which no strong link holds.")]
Trail = Annotated[
    int,
    typer.Option(min=0, max=1000, metavar="N", help="With --overlay: also the last N positions.", rich_help_panel=VIDEOS),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Where to start in videos: seconds (90), h:mm:ss (0:01:30.5) or a frame (2700f).",
        rich_help_panel=VIDEOS,
    ),
]
Stop = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Where to stop in videos; that frame is not taken.", rich_help_panel=VIDEOS),
]
Every = Annotated[int, typer.Option(min=1, help="Take every Nth frame of videos.", rich_help_panel=VIDEOS)]
Batch = Annotated[int, typer.Option(min=1, help="Images per pass of the network.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove all earlier results in --out first.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run in --out that was stopped or killed, as if it never had been.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MACHINE)]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(help="Precision of the network; auto takes bf16 on a GPU, or a processor with AMX.", rich_help_panel=MACHINE),
]


def split_commas(text: str) -> tuple[str, ...]:
    """`csv,npz` -> ("csv", "npz"), each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def only_one(places: list[Path] | None) -> Path | None:
    """The one value of --data, which ppl train takes several times."""
    if places and len(places) > 1:
        raise UsageError(f"--data {places[1]}: {places[0]} is given already; expected one folder")
    return places[0] if places else None


def parse_formats(text: str) -> tuple[str, ...]:
    formats = split_commas(text)
    if not formats or set(formats) - {"csv", "coco", "npz", "dlc", "slp"}:
        raise UsageError(f"--format {text}: write any of csv,coco,npz,dlc,slp, with commas between")
    return formats


def say(line: str) -> None:
    """A note or a line of progress: to stderr, since stdout is for results."""
    print(on_screen(line), file=sys.stderr, flush=True)
