"""Images that anyone may have made: each is a picture or unreadable for a reason of one line, quickly and quietly."""

import csv
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.depth import own_range, to_8_bits
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import UnreadableImageError, decode
from tests.corpus import png, write_corpus
from tests.training_images import open_dataset

MALFORMED = 600
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # as ppl does, and pytest undoes


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "in"
    write_corpus(folder, MALFORMED)
    return folder


def test_600_malformed_images_are_poses_or_rows_of_skipped(corpus, forks, model_file, tmp_path):
    done = forks.run("infer", model_file, corpus, "--out", tmp_path / "out")
    assert done.wait() == 0, done.error
    assert len(done.error.splitlines()) <= 2, done.error  # which device is used, and what is black and white
    skipped = {row["image"]: row["reason"] for row in table(tmp_path / "out" / "skipped.csv")}
    rows = table(tmp_path / "out" / "keypoints.csv")
    posed = {row["image"] for row in rows if row["status"].startswith("ok")}
    assert {name.partition("#")[0] for name in posed | set(skipped)} == {path.name for path in corpus.iterdir()}
    assert not posed & set(skipped)
    assert min(len(posed), len(skipped)) > MALFORMED / 5  # the corpus holds both
    assert all(row["x"] == "" for row in rows if row["image"] in skipped)
    assert all(reason.isprintable() and 0 < len(reason) <= 200 for reason in skipped.values())

    training = open_dataset(DataConfig(kind="folder", path=str(corpus)), 32, 0)
    assert set(training.names) == posed
    assert dict(training.skipped) == skipped


def test_training_data_is_read_quietly(corpus, capfd):
    images = open_dataset(DataConfig(kind="folder", path=str(corpus), cache_gib=0), 32, 0)
    for first in range(0, 200, 8):
        images.fetch(torch.arange(first, first + 8))
    assert len(images.skipped) > 20
    assert capfd.readouterr().err == ""


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(50_000, 50_000), "too large"),
        (png(2**31 - 1, 1), "too large"),
        (png(0, 8), "pixels|not an image|damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "not an image"),
        (bmp(0, 5), "pixels|not an image|damaged"),
    ],
)
def test_bombs_programs_and_nothing(tmp_path, content, words):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=words):
        decode(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("kind", "value"), [(3, 0), (3, 9), (3, 65535), (2, 0x36), (5, 0xFFFFFFF0), (7, 6), (0, 6), (99, 6), (12, 6)]
)
def test_an_orientation_that_is_none_turns_nothing(tmp_path, kind, value):
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, kind, 1, value, 0)
    Image.new("RGB", (40, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert decode(tmp_path / "x.jpg").size == (40, 20)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tiff"])
def test_garbage_as_exif_and_icc_profile_costs_no_picture(tmp_path, extension):
    picture = Image.new("RGB", (40, 20), "red")
    more = {} if extension == "tiff" else {"exif": b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 200}
    picture.save(tmp_path / f"x.{extension}", icc_profile=bytes(range(200)), **more)
    image = decode(tmp_path / f"x.{extension}")
    assert image.size == (40, 20)
    assert np.abs(np.asarray(image).astype(int)[10, 20] - (255, 0, 0)).max() < 10


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (100_000, 40)])
@pytest.mark.parametrize("resize", ["letterbox", "squash"])
def test_a_strip_fits_the_square_and_its_overlay(tmp_path, size, resize):
    from ppl_cli.drawing.overlay import overlay

    Image.new("RGB", size, "red").save(tmp_path / "x.png")
    tracemalloc.start()
    image = decode(tmp_path / "x.png")
    frame = Frame(*image.size, 64, resize)
    square = frame.apply_image(image)
    corners = np.array([[-1, -1], [1, 1], [0, 0]])
    picture = overlay(image, frame.to_pixels(corners), np.ones((3, 3)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert square.shape == (64, 64, 3)
    assert (square == (255, 0, 0)).all(-1).any()
    assert max(picture.size) <= 1024
    assert np.abs(frame.to_normalised(frame.to_pixels(corners)) - corners).max() < 1e-9
    assert peak < 50 * 2**20


def test_float_pixels_that_are_no_numbers():
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    assert to_8_bits(values, own_range(values, "F")).tolist() == [[0, 255, 0, 128]]
    nothing = np.full((2, 2), np.nan, np.float32)
    assert to_8_bits(nothing, own_range(nothing, "F")).tolist() == [[0, 0], [0, 0]]


def test_what_is_no_file_does_not_hang(forks, model_file, pictures, tmp_path):
    os.mkfifo(pictures / "pipe.png")
    for name, target in {"zero": "/dev/zero", "terminal": "/dev/tty", "loop": "loop.png", "broken": "nowhere"}.items():
        (pictures / f"{name}.png").symlink_to(target)
    (pictures / "circle").symlink_to(pictures)
    (pictures / "folder.png").mkdir()
    done = forks.run("infer", model_file, pictures, "--out", tmp_path / "out", "--overlay")
    assert done.wait() == 0, done.error
    skipped = {row["image"] for row in table(tmp_path / "out" / "skipped.csv")}
    assert skipped == {"pipe.png", "zero.png", "terminal.png", "loop.png", "broken.png"}
    assert len({row["image"] for row in table(tmp_path / "out" / "keypoints.csv")}) == 8 + 5
