"""The folder of results, from the first image of a run to its last: what lies there, who may write, how a run goes on.

While a run lasts, `.unfinished/` in it holds `run.json` (which model, images and options) and journals of the poses found so
far. A run that is killed leaves it behind, and the same command with `--resume` goes on from it; a run that ends removes it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ppl_cli.device import Compute
from ppl_cli.distributed import ALONE, World
from ppl_cli.errors import UsageError
from ppl_cli.files import find_earlier, make_folder, remove_leftovers, replace_text
from ppl_cli.lock import locked
from ppl_cli.results.deeplabcut import FOLDER as DEEPLABCUT
from ppl_cli.results.files import FILES, ITERATIONS_FILE, SKIPPED_FILE
from ppl_cli.results.journal import FORMAT_VERSION
from ppl_cli.runtime import Output

FOLDER, RUN = ".unfinished", "run.json"
FOLDERS = ("overlay", "gifs", "strips", DEEPLABCUT)
OTHERWISE = "give what it was started with, or start anew with --overwrite"


@contextmanager
def results_folder(
    output: Output, identity: dict[str, object], say: Callable[[str], None], world: World = ALONE
) -> Iterator[Path]:
    """Yields the folder for journals (see `hold_folder`). Of several processes the leader alone makes and removes it."""
    if not world.leader:
        yield world.from_leader(Path())
        return
    with hold_folder(output, identity | {"number of processes": world.size}, say) as kept:
        yield world.from_leader(kept)


@contextmanager
def hold_folder(output: Output, identity: dict[str, object], say: Callable[[str], None]) -> Iterator[Path]:
    """Yields the folder for journals, which is empty unless an unfinished run goes on. `output.folder` is locked meanwhile.

    `identity` is what must be the same for a run to go on; its keys are words for the user. UsageError if something else
    lies in the folder, unless with `overwrite`, or if the unfinished run is another one.
    """
    out, resume, overwrite = output.folder, output.resume, output.overwrite
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    make_folder(out)
    kept = out / FOLDER
    with locked(out):
        going_on = (kept / RUN).is_file() and not overwrite
        if going_on:
            if not resume:
                raise UsageError(f"{out} holds an unfinished run: add --resume to go on with it, or --overwrite to start anew")
            check_same(kept / RUN, identity)
            remove_leftovers(out)
            for name in FOLDERS:
                remove_leftovers(out / name, below=True)
        else:
            clear(output)
            if resume:
                say(f"nothing to resume in {out}: starting at the beginning")
            kept.mkdir()
            replace_text(kept / RUN, json.dumps(identity, indent=1))
        try:
            yield kept
        except BaseException:
            if any(file.name != RUN and file.stat().st_size for file in kept.iterdir()):
                say(f"what is done is kept in {kept}: add --resume to go on")
            else:
                forget(kept)
                remove_folders(out)  # those of a batch that was not finished
            raise
        forget(kept)


def clear(output: Output) -> None:
    """Results of an earlier run are an error, or with `overwrite` go, so that no two runs mix."""
    out = output.folder
    found = find_earlier(out, (*FILES.values(), ITERATIONS_FILE, SKIPPED_FILE, *FOLDERS), output.overwrite or output.resume)
    if found and output.resume:
        raise UsageError(
            f"all is done: {out} holds {found[0]} of a run that came to its end; for another run choose another --out, or "
            "--overwrite in place of --resume"
        )
    forget(out / FOLDER)
    remove_leftovers(out)
    for form, name in FILES.items():
        if form not in output.formats and name not in FOLDERS:  # the others are replaced when the new ones are complete
            (out / name).unlink(missing_ok=True)
    (out / ITERATIONS_FILE).unlink(missing_ok=True)
    remove_folders(out)


def remove_folders(out: Path) -> None:
    for folder in FOLDERS:
        if (out / folder).is_symlink():
            (out / folder).unlink()
        elif (out / folder).is_dir():
            shutil.rmtree(out / folder)


def forget(kept: Path) -> None:
    """run.json goes first: without it nothing is left to resume, wherever a kill falls."""
    (kept / RUN).unlink(missing_ok=True)
    if kept.is_dir():
        shutil.rmtree(kept)


def check_same(file: Path, identity: dict[str, object]) -> None:
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} is damaged: start anew with --overwrite") from error
    now = json.loads(json.dumps(identity))
    for key in now | before:
        if before.get(key) != now.get(key):
            was, is_now = (str(value.get(key, "absent")) for value in (before, now))
            raise UsageError(f"--resume: the unfinished run in {file.parents[1]} had {key} {was}, now {is_now}: {OTHERWISE}")


def identify(command: str, model: Path, images: str, compute: Compute, **options: object) -> dict[str, object]:
    """`images` is their fingerprint. The batch size is left out: a smaller one may be needed to go on."""
    with model.open("rb") as file:
        content = hashlib.file_digest(file, "blake2b").hexdigest()[:16]
    identity: dict[str, object] = {"format_version": FORMAT_VERSION, "command": command, "model": content, "images": images}
    return identity | {"device": compute.device.type, "precision": compute.precision} | options
