"""What several tests need: a tiny configuration, a tiny trained model, folders of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from ppl_cli.checkpoints.model_file import Known, save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.sections import Config
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.figures import figure
from ppl_cli.training.save import know
from tests.forks import Forks

SHARED = Path(__file__).parents[2] / "shared"

TINY = {
    "name": "tiny",
    "data": {"kind": "figures", "figures": 24},
    "model": {"image_size": 32, "keypoints": 5, "width": 4, "banks": 3, "vectors": 4, "dimension": 16, "thickness": 6e-3},
    "reference": {"cells": 8, "missing": 0.9},
    "loss": {"kind": "multiscale", "equivariance": 1.0, "separation": 0.3},
    "memory": {"revive": 0.1},
    "train": {"steps": 6, "batch": 4, "log_every": 2, "save_every": 3, "sample_every": 6, "learning_rate": 1e-3},
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def few_figures():
    """Models of drawn figures are measured on 40 of them, not on 500, and leave two of each to try them on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppl_cli.data.figures.TEST", 40)
        patch.setattr("ppl_cli.training.examples.IMAGES", 2)
        patch.setattr("ppl_cli.training.examples.FRAMES", 2)
        yield


@pytest.fixture
def no_pictures(monkeypatch):
    leave_out_pictures(monkeypatch)


def leave_out_pictures(patch: pytest.MonkeyPatch) -> None:
    """Trainings draw next to nothing, and report nothing: that takes most of the time of a tiny run and decides nothing."""
    patch.setattr("ppl_cli.training.save.sample_sheet", lambda *arguments: Image.new("RGB", (1, 1)))
    patch.setattr("ppl_cli.api.train.report_training", lambda run, listing, say: run)
    patch.setattr("ppl_cli.training.loop.save_curves", lambda path, rows: path.touch())


@pytest.fixture
def tiny() -> Config:
    return Config.model_validate(TINY)


@pytest.fixture
def tiny_yaml(tmp_path, tiny) -> Path:
    import yaml

    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny.model_dump()))
    return file


@pytest.fixture
def model_file(tmp_path, tiny) -> Path:
    torch.manual_seed(0)
    file = tmp_path / "model.safetensors"
    model = build_model(tiny).eval()
    save_model(file, model, tiny, 7, measured(model, tiny))
    return file


def lively_model(config: Config) -> torch.nn.Module:
    """An untrained model that looks at single cells, so that its keypoints move with the image."""
    torch.manual_seed(0)
    model = build_model(config)
    with torch.no_grad():
        model.encoder.attend.weight *= 100
        model.encoder.regress[2].weight *= 8
        model.decoder.last.weight *= 30  # reconstructions that differ from grey
    return model.eval()


def measured(model: torch.nn.Module, config: Config, **parts: float) -> Known:
    """What `model` knows of its training images; `parts` of the calibration that are to be otherwise."""
    size = config.model.image_size
    known = know(model, open_listing(list_part(config.data, "train", config.seed, size), config.data, size), config)
    parts = {name: torch.tensor(value) for name, value in parts.items()}
    return Known(known.tokens, known.calibration._replace(**parts))


@pytest.fixture(scope="session")
def lively_file(tmp_path_factory) -> Path:
    """The model file of a lively model; not to be changed."""
    file, config = tmp_path_factory.mktemp("lively") / "model.safetensors", Config.model_validate(TINY)
    model = lively_model(config)
    save_model(file, model, config, 7, measured(model, config))
    return file


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Path:
    """The run folder of a tiny model after six steps; not to be changed."""
    import yaml

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert ppl("train", folder / "tiny.yaml", "--out", folder / "run", "--device", "cpu") == 0
    return folder / "run"


@pytest.fixture(scope="session")
def forks(tmp_path_factory) -> Forks:
    """Starts programs in processes of their own, without the seconds that importing torch takes."""
    return Forks(tmp_path_factory.mktemp("forks"))


def ppl(*arguments) -> int:
    """`ppl` in this process; its exit code."""
    from ppl_cli.cli.app import main

    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of eight images of several sizes and kinds, two of them in a sub-folder."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for i, (width, height) in enumerate([(64, 64), (90, 50), (50, 90), (33, 47), (128, 128), (200, 120), (61, 64), (40, 41)]):
        pixels, _ = figure(i, 64)
        name = f"sub/{i}.png" if i > 5 else f"{i}.jpg"
        Image.fromarray(pixels).resize((width, height)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A folder with every clip of `clips.GOOD` in good/ and of `clips.BROKEN` in broken/; not to be changed."""
    from tests.clips import BROKEN, GOOD  # PyAV is not on every machine with a GPU

    folder = tmp_path_factory.mktemp("clips")
    for place, writers in (("good", GOOD), ("broken", BROKEN)):
        (folder / place).mkdir()
        for name, write in writers.items():
            write(folder / place / name)
    return folder


class Operations(TorchDispatchMode):
    """Remembers the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*arguments, **(settings or {}))


def shared(*parts: str) -> Path:
    """A file of ../shared; skips the test where it is not."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"../shared/{'/'.join(parts)} is not on this machine")
    return path


def relative_error(ours, theirs) -> float:
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
