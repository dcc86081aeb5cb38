"""The reference implementation's weights by formula, and what it computes with them (see ../shared/parity)."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.sections import Config
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.original.names import original_name, swap_coordinates

SHARED = Path(__file__).parents[3] / "shared"
FOLDER = SHARED / "parity"


def arrays() -> dict[str, np.ndarray]:
    file = FOLDER / "reference_n16.npz"
    if not file.exists():
        pytest.skip("the reference's arrays (../shared/parity) are not on this machine")
    return dict(np.load(file))


def formula(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var") or name.endswith("ema_cluster_size"):
        n = 1 + (0.1 if name.endswith("running_var") else 1) * np.abs(n)
    elif name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    elif name.endswith("running_mean"):
        n = 0.1 * n
    elif name.endswith(("codebook", "ema_w")):
        pass
    elif name.endswith("skeleton_scalar"):
        n = (n - 4) / 512
    elif name == "alpha":
        n = np.ones(shape)
    elif len(shape) >= 2:
        n = n / np.sqrt(np.prod(shape[1:]))
    else:
        n = (1.0 if name.endswith("weight") else 0.0) + 0.1 * n
    return torch.as_tensor(np.asarray(n), dtype=torch.float32)


def reference_state() -> dict[str, torch.Tensor]:
    shapes = json.loads((FOLDER / "reference_n16_state_dict.json").read_text())
    return {name: formula(name, tuple(shape)) for name, shape in shapes.items() if name != "regressor.coord"}


def model() -> PosePriorLearner:
    model = build_model(Config(model={"thickness": 7.5e-5}))
    theirs = reference_state()
    ours = {name: swap_coordinates(name, theirs[original_name(name)]) for name in model.state_dict()}
    model.load_state_dict(ours)
    return model.eval()
