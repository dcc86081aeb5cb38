"""What a training may start from instead of chance: a prior, or the weights of another model. Checked before anything runs."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ppl_cli.checkpoints.model_file import Checkpoint, load_model
from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.prior.prior import Prior, load_prior
from ppl_cli.training.pretrained import read_backbone

SIZES = (
    "keypoints",
    "encoder",
    "backbone",
    "width",
    "banks",
    "vectors",
    "dimension",
)  # what the shapes of the weights follow from


@dataclass(frozen=True)
class Start:
    prior: Prior | None = None  # that of `prior.init`; it is set upon the weights
    weights: PosePriorLearner | None = None  # those of `train.init`
    names: list[str] = field(default_factory=list)  # of the keypoints, as either has them
    backbone: dict[str, torch.Tensor] | None = None  # pretrained weights, where `weights` do not have them already


ANEW = Start()


def read_start(config: Config) -> Start:
    """UsageError if what the configuration names cannot be read or does not fit the model."""
    prior, checkpoint = read_prior(config), read_init(config)
    names = prior.names if prior else checkpoint.config.prior.names if checkpoint else []
    return Start(prior, checkpoint and checkpoint.model, names, None if checkpoint else read_backbone(config))


def read_prior(config: Config) -> Prior | None:
    """UsageError if it cannot be read or has another number of keypoints than the model."""
    if config.prior.init is None:
        return None
    file = Path(config.prior.init)
    prior = load_prior(file / "prior.json" if file.is_dir() else file)
    count = len(prior.keypoints)
    if count != config.model.keypoints:
        raise UsageError(
            f"{config.prior.init} has {count} keypoints, the model {config.model.keypoints}: add --set model.keypoints={count}"
        )
    return prior


def read_init(config: Config) -> Checkpoint | None:
    """Reads what `train.init` names. UsageError if it cannot be read or has other sizes than the one to be trained."""
    source = config.train.init
    if source is None:
        return None
    checkpoint = load_model(source)
    theirs, ours = checkpoint.config.model, config.model
    differ = [f"model.{name}={getattr(theirs, name)}" for name in SIZES if getattr(theirs, name) != getattr(ours, name)]
    if differ:
        raise UsageError(f"{checkpoint.path} has other sizes than the model to be trained: add --set {' --set '.join(differ)}")
    if checkpoint.config.prior.keypoints == "given" and config.prior.keypoints != "given":
        raise UsageError(f"{checkpoint.path} was trained with a given keypoint prior: add --init-prior FILE here too")
    return checkpoint
