"""The `ppl` program: its commands, its version, and how an error reaches the user.

Nothing here imports torch: `ppl --help` answers at once. Commands import what they need when they run.
"""

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from ppl_cli.cli.eval import evaluate
from ppl_cli.cli.export_prior import export_prior
from ppl_cli.cli.infer import infer
from ppl_cli.cli.refine import refine
from ppl_cli.cli.train import train
from ppl_cli.distributed import first_to_say, launched
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.text import on_screen

HELP = """Learn where the keypoints of a category are, how they link and which poses are typical, from nothing but a
folder of unlabelled images; then find poses with it.

First steps:

  ppl train quickstart                                 drawn figures

  ppl eval runs/quickstart-1                           measure them

  ppl train folder_small --data PHOTOS --out runs/mine your own images

  ppl infer runs/mine PHOTOS --out poses --overlay     find their poses

The first takes minutes on a laptop and downloads nothing, the third a quarter of an hour; with a GPU train folder instead.
"""

OCCLUSIONS = ("random", "center", "centre")  # what may follow --occlusion


def unwrap(text: str) -> str:
    """A docstring as help text: a paragraph is one line, which the terminal breaks; indented lines stay as they are."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else part.replace("\n", " ") for part in paragraphs)


app = typer.Typer(help=unwrap(HELP), no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

COMMANDS = {"train": train, "eval": evaluate, "infer": infer, "refine": refine, "export-prior": export_prior}
for name, command in COMMANDS.items():
    app.command(name, help=unwrap(command.__doc__))(command)


def show_version(asked: bool) -> None:
    if asked:
        from ppl_cli import __version__

        print(f"ppl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # `ppl --debug train` and `ppl train --debug` both work.
    arguments = [argument for argument in arguments if argument != "--debug"]
    arguments = spread(expand(arguments) if os.name == "nt" else arguments)
    # A stream that was closed (ppl ... 2>&-) is None.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character gets a question mark
    follower = launched()[0] > 0
    if follower:  # of several processes the first one talks
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill cleans up as Ctrl-C does
    try:
        if "" in arguments:  # as a path it would be the current folder, whose results --overwrite removes
            before = ["ppl", *arguments][arguments.index("")]
            raise UsageError(f"the argument behind {before} is empty: write one (in a script, is a variable not set?)")
        code = app(arguments, prog_name="ppl", standalone_mode=False)
    except BaseException as error:
        if follower and type(error).__name__ == "InterruptedRunError":
            sys.exit(error.exit_code)  # the first says it, once all is saved
        if follower:
            sys.stderr = sys.__stderr__
        if debug and not isinstance(error, SystemExit):
            traceback.print_exc()
        sys.exit(report(error, arguments))
    if code == 130:  # typer's answer to Ctrl-C
        print("ppl: interrupted", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def expand(arguments: list[str]) -> list[str]:
    """`*.mp4` as the files that there are, which the shells of Windows leave to programs; as it is where there are none."""
    from glob import glob

    return [match for word in arguments for match in (not word.startswith("-") and sorted(glob(word))) or [word]]


def spread(arguments: list[str]) -> list[str]:
    """`--occlusion A B` as `--occlusion A --occlusion B`, which is what typer can read; so `train --data *.mp4`, too."""
    several = ("--occlusion", "--data") if arguments[:1] == ["train"] else ("--occlusion",)
    result: list[str] = []
    option, values = None, 0
    for word in arguments:
        if word.startswith("-"):
            name, equals, _ = word.partition("=")
            option, values = (name if name in several else None), int(bool(equals))
        elif option and (not values or may_follow(option, word)):
            result += [option] if values else []
            values += 1
        result.append(word)
    return result


def may_follow(option: str, word: str) -> bool:
    if option == "--occlusion":
        return word.partition("=")[0] in OCCLUSIONS
    from ppl_cli.config.shipped import shipped_configs
    from ppl_cli.data.videos import is_video

    return is_video(word) or (os.path.isdir(word) and word not in shipped_configs())


BEHIND = "images are given without an option, behind the model"
HINTS = [  # the command, what typer says of a usual slip, and what was meant
    ("ppl train", ("unexpected extra argument",), "folders and videos are given with --data"),
    ("ppl eval", ("unexpected extra argument",), "annotated images are given with --data"),
    ("ppl export-prior", ("unexpected extra argument",), "images are given with --data"),
    ("ppl infer", ("No such option", "--data"), BEHIND),
    ("ppl refine", ("No such option", "--data"), BEHIND),
]


def give_hint(command: str, message: str, arguments: Sequence[str]) -> str:
    if file := next((word for word in arguments if word.startswith("-") and os.path.exists(word)), None):
        return f": for the file {file} write ./{file}"
    hints = (hint for its, parts, hint in HINTS if its == command and all(part in message for part in parts))
    return next((f": {hint}" for hint in hints), "")


def is_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from ppl_cli.device import is_out_of_memory

    return is_out_of_memory(error)


def report(error: BaseException, arguments: Sequence[str] = ()) -> int:
    """Print one line for the user; returns the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        line, code = "interrupted", 130
    elif isinstance(error, PPLError):
        line, code = str(error), error.exit_code
    elif hasattr(error, "format_message"):  # typer's own usage errors
        if not error.format_message():  # no arguments at all: the help has been printed
            return 2
        command = getattr(error.ctx, "command_path", "ppl")
        message = error.format_message().replace("Value error, ", "").removesuffix(".")
        line, code = f"{message}{give_hint(command, message, arguments)} (see {command} --help)", 2
    elif isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains again when it exits
        return 1
    elif is_memory(error):
        line, code = "out of memory; use a smaller batch (train: --set train.batch=..., else --batch ...)", 1
    elif isinstance(error, OSError) and error.filename:
        line, code = f"{error.filename}: {error.strerror}", 1
    else:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        line, code = f"internal error: {text[:500]} (add --debug for the traceback)", 1
    if first_to_say(line):
        print(f"ppl: {on_screen(line)}", file=sys.stderr)
    return code
