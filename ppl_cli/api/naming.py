"""Names for the keypoints of a trained model."""

from pathlib import Path

from ppl_cli.checkpoints.model_file import load_model, save_names
from ppl_cli.lock import locked
from ppl_cli.prior.names import read_names
from ppl_cli.prior.prior import load_prior, save_prior


def name_keypoints(model: str | Path, file: str | Path) -> list[str]:
    """Store the names of `file`, one a line, in a run folder or a model.safetensors: all that is done with it later uses them.

    Returns them. UsageError if they do not fit or the model is a .pth, which cannot hold names; TakenError while it is trained.
    """
    checkpoint = load_model(model)
    names = read_names(Path(file).expanduser(), checkpoint.config.model.keypoints)
    folder = checkpoint.path.parent
    with locked(folder):
        save_names(checkpoint.path, names)
        if (place := folder / "prior.json").is_file():
            prior = load_prior(place)
            keypoints = [known.model_copy(update={"name": name}) for known, name in zip(prior.keypoints, names, strict=True)]
            save_prior(place, prior.model_copy(update={"keypoints": keypoints}))
    return names
