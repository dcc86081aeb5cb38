"""Names for the keypoints of a trained model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ppl_cli.checkpoints.model_file import Checkpoint, find_run, load_model, prepare_names
from ppl_cli.files import at_home
from ppl_cli.lock import locked
from ppl_cli.prior.names import read_names
from ppl_cli.prior.prior import load_prior, save_prior


@contextmanager
def naming_keypoints(model: str | Path, file: str | Path) -> Iterator[Checkpoint]:
    """The model with the names of `file`, one a line. When the block has succeeded they are stored in the run folder or
    model.safetensors, and all that is done with it later uses them.

    UsageError if they do not fit or the model is a .pth, which cannot hold names; TakenError while it is trained.
    """
    checkpoint = load_model(model)
    names = read_names(at_home(file), checkpoint.config.model.keypoints)
    file, run = checkpoint.path.resolve(), find_run(checkpoint.path)
    with locked(run or file.parent):
        store = prepare_names(file, names)
        yield replace(checkpoint, config=checkpoint.config.with_fields("prior", names=names))
        if run and (place := run / "prior.json").is_file():  # first: its names are those that count
            prior = load_prior(place)
            keypoints = [known.model_copy(update={"name": name}) for known, name in zip(prior.keypoints, names, strict=True)]
            save_prior(place, prior.model_copy(update={"keypoints": keypoints}))
        store()
