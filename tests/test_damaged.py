"""Every kind of file that ppl reads, damaged at random: it is read, or refused in one line that names it."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from ppl_cli.checkpoints.model_file import load_model, save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.checkpoints.training_state import load_training, save_training
from ppl_cli.config.loading import load_config, to_yaml
from ppl_cli.config.sections import Config, DataConfig
from ppl_cli.data.coco import read_coco
from ppl_cli.data.cub import cub_birds
from ppl_cli.data.deeplabcut import read_table
from ppl_cli.data.human36m import read_landmarks
from ppl_cli.data.taichi import taichi_videos
from ppl_cli.errors import PPLError
from ppl_cli.prior.prior import Prior, load_prior, save_prior
from ppl_cli.training.loop import make_optimiser
from ppl_cli.training.metrics import COLUMNS, read_metrics
from tests import lookalike
from tests.conftest import TINY

CONFIG = Config.model_validate(TINY)
PIECES = ["null", "-1", "1e400", "NaN", "9" * 30, "9" * 5000, '"x"', "[", "]", "{}", ",", ": "]
PIECES += ["\n", "\0", "\r", "&a", "*a", "!!", "é", "=cmd"]
EDGE = 600  # bytes at either end of a file, where its structure mostly lies


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Some bytes flipped, pieces cut out, put in or written twice."""
    end = len(content)
    place = st.one_of(st.integers(0, end), st.integers(0, min(EDGE, end)), st.integers(max(0, end - EDGE), end))
    piece = st.one_of(st.sampled_from(PIECES).map(str.encode), st.binary(min_size=1, max_size=8))
    change = st.tuples(st.sampled_from(["flip", "put", "replace", "cut", "twice", "end"]), place, st.integers(1, 60), piece)

    def carry_out(changes: list[tuple]) -> bytes:
        changed = content
        for kind, at, length, inserted in changes:
            before, middle, after = changed[:at], changed[at : at + length], changed[at + length :]
            if kind == "flip" and middle:
                middle = bytes([middle[0] ^ inserted[0] or 255]) + middle[1:]
            elif kind == "put":
                middle = inserted + middle
            elif kind == "replace":
                middle = inserted
            elif kind == "twice":
                middle *= 2
            changed = before if kind == "end" else before + (b"" if kind == "cut" else middle) + after
        return changed

    return st.lists(change, min_size=1, max_size=3).map(carry_out)


def small_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(CONFIG)


def fill(path: Path) -> None:
    """A sound file of the kind that its name says."""
    points = np.random.default_rng(0).random((6, 3, 2))
    match path.name:
        case "model.safetensors":
            save_model(path, small_model(), CONFIG, 3)
        case "training.pt":
            model = small_model()
            optimiser = make_optimiser(model, CONFIG)
            sum(parameter.sum() for parameter in model.parameters()).backward()
            optimiser.step()
            save_training(path, model, optimiser, 3, torch.zeros(1, 8), ["a"])
        case "reference.pth":
            lookalike.save(path, **lookalike.TINY)
        case "config.yaml":
            path.write_text(to_yaml(CONFIG, {"ppl": "0"}))
        case "prior.json":
            save_prior(path, Prior.of(points[0], np.zeros((3, 3))))
        case "metrics.csv":
            rows = [f"{step}," + ",".join(["0.25"] * (len(COLUMNS) - 1)) for step in range(5)]
            path.write_text("\n".join([",".join(COLUMNS), *rows, ""]))
        case "coco.json":
            images = [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 40} for i in range(6)]
            flat = [np.c_[9 * p, np.full(3, 2)].ravel().tolist() for p in points]
            objects = [{"id": i, "image_id": i, "category_id": 1, "keypoints": flat[i], "area": 3} for i in range(6)]
            categories = [{"id": 1, "name": "x", "keypoints": ["a", "b", "c"]}]
            path.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
        case "deeplabcut.csv":
            header = ["scorer,s,s,s,s,s,s", "bodyparts,a,a,b,b,c,c", "coords,x,y,x,y,x,y"]
            rows = [f"labeled-data/v/{i}.png," + ",".join(map(str, p.ravel())) for i, p in enumerate(points)]
            path.write_text("\n".join([*header, *rows, ""]))
        case "landmarks.mat" | "compressed.mat":
            savemat(path, {"keypoints_2d": np.tile(points[0], (11, 1))[:32], "other": "x"}, do_compression="c" in path.name[:1])
        case "birds.h5":
            with h5py.File(path, "w") as file:
                for part in ("train", "test"):
                    file[f"{part}_img"] = np.zeros((6, 3, 8, 8), np.uint8)
                    file.create_dataset(f"{part}_kp", data=points, compression="gzip")
                    file[f"{part}_vis"] = np.ones((6, 3))
        case "taichi_test_gt.pkl":
            frame = {"file_name": [f"{i}.png" for i in range(6)], "frame_number": list(range(6)), "value": list(points)}
            pd.DataFrame(frame).to_pickle(path)
            for i in range(6):
                (path.parent / f"{i}.png").touch()


def resume(path: Path) -> None:
    model = small_model()
    load_training(path, model, make_optimiser(model, CONFIG), ["a"])


def birds(path: Path) -> None:
    listing = cub_birds(DataConfig(kind="h5", path=str(path)), "test", 0, 32)
    listing.open_image(0)


READERS: dict[str, Callable[[Path], object]] = {
    "model.safetensors": load_model,
    "training.pt": resume,
    "reference.pth": load_model,
    "config.yaml": lambda path: load_config(str(path)),
    "prior.json": load_prior,
    "metrics.csv": read_metrics,
    "coco.json": lambda path: read_coco(path, path.parent),
    "deeplabcut.csv": read_table,
    "landmarks.mat": read_landmarks,
    "compressed.mat": read_landmarks,
    "taichi_test_gt.pkl": lambda path: taichi_videos(DataConfig(kind="taichi", path=str(path.parent)), "test", 0, 32),
    "birds.h5": birds,  # only cut: what HDF5's own library does with flipped bytes is not in our hands
}
FEWER = {"model.safetensors": 60, "training.pt": 60, "reference.pth": 60}  # examples, as they take long
EXAMPLES = 200


def refusal(name: str, path: Path) -> str | None:
    """What is said of the file; None if it is read. Any other exception passes through."""
    try:
        READERS[name](path)
    except PPLError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [name for name in READERS if name != "birds.h5"])
def test_a_damaged_file_is_read_or_named(tmp_path, name):
    path, examples = tmp_path / name, FEWER.get(name, EXAMPLES)
    fill(path)
    assert refusal(name, path) is None
    content = path.read_bytes()
    refused = 0

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(content))
    def check(changed: bytes) -> None:
        nonlocal refused
        path.write_bytes(changed)
        said = refusal(name, path)
        if said is not None:
            refused += 1
            assert str(path) in said
            assert len(said.splitlines()) == 1
            assert len(said) < 2000

    check()
    assert refused > examples // 4  # the damage reaches what is read


FOREIGN = [b"\0" * 3000, b"hello\nthere,1,2\n", bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n" + bytes(40), b"PK\x03\x04", b"["]
# A text cut at the end of a line, or a file cut behind what is read of it, may be whole all the same.
MAY_END_EARLY = ("config.yaml", "metrics.csv", "deeplabcut.csv", "landmarks.mat", "compressed.mat", "birds.h5")


@pytest.mark.parametrize("name", READERS)
def test_a_foreign_file_and_one_cut_anywhere_are_named(tmp_path, name):
    path = tmp_path / name
    fill(path)
    assert refusal(name, path) is None
    content = path.read_bytes()
    cuts = [content[: len(content) * share // 20] for share in range(1, 20)]
    for changed in [*FOREIGN, *cuts]:
        path.write_bytes(changed)
        said = refusal(name, path)
        if said is None:
            assert changed in cuts, changed[:80]
            assert name in MAY_END_EARLY
        else:
            assert str(path) in said
            assert len(said.splitlines()) == 1
    path.unlink()
    path.mkdir()
    assert str(path) in refusal(name, path)
