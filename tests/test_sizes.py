"""Files that ask for more memory than there is: refused in one line, before it is taken.

Each is small, and each would need at least several GiB if what it declares were made, or would nest without end.
"""

import io
import json
import pickle
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.checkpoints.training_state import load_training, save_training
from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import DataConfig
from ppl_cli.data.coco import read_coco
from ppl_cli.data.cub import cub_birds
from ppl_cli.data.human36m import read_landmarks
from ppl_cli.data.pickled_tables import read_table
from ppl_cli.data.taichi import taichi_videos
from ppl_cli.errors import UsageError
from ppl_cli.prior.prior import load_prior
from ppl_cli.training.loop import make_optimiser

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's way")

MOST = 400 << 20  # bytes of memory that a refusal may take


def status(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def refused(read, path: Path, words: str) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = status("VmRSS")
    with pytest.raises(UsageError, match=words) as caught:
        read(path)
    assert status("VmHWM") - before < MOST
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def test_the_peak_is_seen(tmp_path):
    """The check above can fail."""

    def read(path):
        assert len(bytearray(b"x") * (600 << 20))
        raise UsageError(f"{path} x")

    with pytest.raises(AssertionError):
        refused(read, tmp_path, "x")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"width": 10**6}, "model.width: expected a number less than"),
        ({"keypoints": 10**9}, "model.keypoints: expected a number less than"),
        ({"image_size": 10**6}, "model.image_size: expected a number less than"),
        ({"width": 1024, "dimension": 65_536}, "do not fit its own configuration"),
        ({"banks": 4096, "vectors": 32_767, "dimension": 65_536}, "do not fit its own configuration"),
        ({"keypoints": 6}, r"raw_links is 5x5 of float32, expected 6x6"),
        ({"thickness": 1e400}, "model.thickness"),
    ],
)
def test_a_model_of_other_sizes_than_its_tensors_is_not_built(tmp_path, tiny, sizes, words):
    model = build_model(tiny)
    header = {"format_version": 1, "config": tiny.model_dump(), "step": 0}
    header["config"]["model"] |= sizes
    save_file(dict(model.state_dict()), tmp_path / "m.safetensors", {"ppl": json.dumps(header)})
    refused(load_model, tmp_path / "m.safetensors", words)


@pytest.mark.parametrize("nest", ['{"a":' * 100_000, "[" * 100_000, "9" * 10_000])
def test_a_header_that_nests_without_end(tmp_path, nest):
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", {"ppl": nest})
    refused(load_model, tmp_path / "m.safetensors", "was not written by ppl")
    (tmp_path / "h.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")
    refused(load_model, tmp_path / "h.safetensors", "not a readable safetensors file")


def test_a_training_state_whose_storages_are_compressed_or_newer(tmp_path, tiny):
    model = build_model(tiny)
    optimiser = make_optimiser(model, tiny)
    save_training(tmp_path / "training.pt", model, optimiser, 3, torch.zeros(1, 8), ["a"])

    def read(path):
        return load_training(path, model, optimiser, ["a"])

    assert read(tmp_path / "training.pt")[0] == 3
    with zipfile.ZipFile(tmp_path / "training.pt") as sound, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as bomb:
        for member in sound.infolist():
            bomb.writestr(member.filename, sound.read(member))
        bomb.writestr("training/data/9999", bytes(200 << 20), zipfile.ZIP_DEFLATED)
    refused(read, tmp_path / "bomb.pt", "is compressed")
    torch.save({"format_version": 4}, tmp_path / "newer.pt")
    refused(read, tmp_path / "newer.pt", "format version 4: update ppl")
    torch.save({"x": Path("a")}, tmp_path / "foreign.pt")
    refused(read, tmp_path / "foreign.pt", "it names pathlib")


def laughs(reference: str, start: str, depth: int) -> str:
    return start + "".join(reference.format(new=i, old=i - 1) for i in range(1, depth))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (laughs("a{new}: &a{new} [*a{old}, *a{old}]\n", "a0: &a0 [1]\n", 60) + "name: *a59\n", r"got the alias \*a0"),
        (laughs("a{new}: &a{new} {{<<: [*a{old}, *a{old}]}}\n", "a0: &a0 {x: 1}\n", 40), r"got the alias \*a0"),
        ("a: &a [*a]\n", r"got the alias \*a"),
        ("a: " + "[" * 50_000, "not valid YAML"),
        ("seed: " + "9" * 100_000, "not valid YAML|seed"),
        ("seed: 0x" + "f" * 100_000, "seed"),
        ("seed: 1" + ":00" * 50_000, "seed|not valid YAML"),
        ("x" * (300 << 10), "reads up to"),
        ("a: !!python/object/apply:os.system [touch canary]", "could not determine a constructor"),
    ],
)
def test_yaml_bombs(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    refused(lambda path: load_config(str(path)), tmp_path / "c.yaml", words)


def test_priors_and_annotations_that_nest_or_do_not_end(tmp_path):
    point = '{"name": "a", "x": 0, "y": 0}'
    (tmp_path / "p.json").write_text(f'{{"format_version": 1, "links": [], "keypoints": [{point}' + f", {point}" * 10**6 + "]}")
    refused(load_prior, tmp_path / "p.json", "at most 128 items")
    with (tmp_path / "sparse.json").open("wb") as file:
        file.truncate(1 << 40)
    refused(load_prior, tmp_path / "sparse.json", "reads up to 64 MiB")
    refused(lambda path: read_coco(path, path.parent), tmp_path / "sparse.json", "reads up to 1024 MiB")
    for number, nest in enumerate(["[" * 10**6, '{"images":' * 10**5, '{"images": [{"id": ' + "9" * 10**4 + "}]}"]):
        (tmp_path / f"{number}.json").write_text(nest)
        refused(lambda path: read_coco(path, path.parent), tmp_path / f"{number}.json", "not a COCO keypoint file")
        refused(load_prior, tmp_path / f"{number}.json", "is not JSON")


def test_compressed_matlab_files(tmp_path):
    savemat(tmp_path / "big.mat", {"keypoints_2d": np.zeros((4000, 4000))}, do_compression=True)
    assert (tmp_path / "big.mat").stat().st_size < 256 << 10
    refused(read_landmarks, tmp_path / "big.mat", "4000x4000, expected 32x2")
    sound = io.BytesIO()
    savemat(sound, {"keypoints_2d": np.zeros((32, 2))})
    content = sound.getvalue()[128:]
    lying = content.replace(struct.pack("<II", 9, 32 * 2 * 8), struct.pack("<II", 9, 2**31))  # the size of its numbers
    assert lying != content
    packed = zlib.compress(lying + bytes(100 << 20))
    (tmp_path / "lie.mat").write_bytes(sound.getvalue()[:128] + struct.pack("<II", 15, len(packed)) + packed)
    refused(read_landmarks, tmp_path / "lie.mat", "not a .mat file")


def test_birds_without_end_or_in_another_file(tmp_path):
    def read(path):
        return cub_birds(DataConfig(kind="h5", path=str(path)), "test", 0, 32)

    with h5py.File(tmp_path / "many.h5", "w") as file:
        file.create_dataset("test_img", (10**12, 3, 8, 8), np.uint8, chunks=(1, 3, 8, 8))
    refused(read, tmp_path / "many.h5", "more than ppl reads")
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file.create_dataset("test_img", (2, 3, 10**6, 10**6), np.uint8, chunks=(1, 3, 64, 64))
    refused(read, tmp_path / "wide.h5", "more than ppl reads")
    (tmp_path / "secret").write_bytes(bytes(1000))
    with h5py.File(tmp_path / "out.h5", "w") as file:
        file.create_dataset("test_img", (1, 3, 8, 8), np.uint8, external=[(str(tmp_path / "secret"), 0, 192)])
    refused(read, tmp_path / "out.h5", "lies in another file")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["test_img"] = h5py.ExternalLink(str(tmp_path / "out.h5"), "test_img")
    refused(read, tmp_path / "link.h5", "lies in another file")


def frame(names: object, blocks: list[tuple[object, slice]]) -> bytes:
    """A pickled pandas table of any content, built of stand-ins."""
    import pandas as pd

    table = pd.DataFrame({"file_name": ["a"], "value": [0.5]})
    axes = [pd.Index(names), table.index]
    manager = table._mgr

    class Manager:
        def __reduce__(self):
            built = tuple((pd._libs.internals._unpickle_block, (values, place, 2)) for values, place in blocks)
            return type(manager), (tuple(Call(*block) for block in built), axes)

    return pickle.dumps(Call(pd.DataFrame, (), {"_mgr": Manager()}), 4)


class Call:
    def __init__(self, function, arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def test_tables_whose_parts_are_one_object_many_times_over(tmp_path):
    def write(names, blocks):
        (tmp_path / "taichi_test_gt.pkl").write_bytes(frame(names, blocks))
        return tmp_path / "taichi_test_gt.pkl"

    def videos(path):
        return taichi_videos(DataConfig(kind="taichi", path=str(path.parent)), "test", 0, 32)

    shared = np.zeros((1, 1_000_000))
    names = [f"c{i}" for i in range(500)]
    refused(read_table, write(names, [(shared, slice(i, i + 1)) for i in range(500)]), "more than 2000000 cells")
    laughing: list = [0.0, 0.0]
    for _ in range(60):
        laughing = [laughing, laughing]
    cells = np.empty((1, 1), object)
    cells[0, 0] = laughing
    texts = np.array([["a.png"]], object)
    path = write(["file_name", "value"], [(texts, slice(0, 1)), (cells, slice(1, 2))])
    refused(videos, path, "a `value` is not a list")
    path = write(["file_name", "value"], [(cells, slice(0, 1)), (cells, slice(1, 2))])
    refused(videos, path, "a `file_name` is no text")
    nested = np.empty(1, object)
    nested[0] = cells
    path = write(["file_name", "value"], [(texts, slice(0, 1)), (nested.reshape(1, 1), slice(1, 2))])
    refused(videos, path, "an array of arrays of objects")
    (tmp_path / "keys.pkl").write_bytes(b"\x80\x02}N" + b"q\x01h\x01\x86" * 100 + b"Ns.")
    refused(read_table, tmp_path / "keys.pkl", "a key of the type tuple")
    (tmp_path / "memo.pkl").write_bytes(b"\x80\x02Nr\xff\xff\xff\xff.")
    refused(read_table, tmp_path / "memo.pkl", "is not a pickled table")
