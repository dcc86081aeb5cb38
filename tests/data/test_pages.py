"""Files of several pages: each is an image, found at once and read as Pillow reads it."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image, ImageSequence

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.datasets import list_part
from ppl_cli.data.images import UnreadableImageError, decode
from ppl_cli.data.names import list_names
from ppl_cli.data.pages import count_pages
from ppl_cli.inference.inputs import gather_inputs
from tests.training_images import open_dataset

COUNT = 5
KINDS = {
    "plain.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "big.tif": {"big_tiff": True},
    "deep.tif": {"compression": "tiff_adobe_deflate"},
    "a.png": {},
    "default.png": {"default_image": True},
    "a.webp": {"lossless": True},
    "a.gif": {},
}


def frames(name: str, count: int = COUNT) -> list[Image.Image]:
    values = np.random.default_rng(0).integers(0, 256, (count, 12, 20, 3), dtype=np.uint8)
    if name == "deep.tif":
        return [Image.fromarray(picture[..., 0].astype(np.uint16) * 16) for picture in values]
    pictures = [Image.fromarray(picture) for picture in values]
    return [picture.quantize(200) for picture in pictures] if name.endswith(".gif") else pictures


def save(place, count: int = COUNT):
    first, *rest = frames(place.name, count)
    first.save(place, save_all=True, append_images=rest, **KINDS[place.name])
    return place


@pytest.mark.parametrize("name", KINDS)
def test_every_page_is_an_image_in_any_order(tmp_path, name):
    file = save(tmp_path / name)
    with Image.open(file) as opened:
        expected = [frame.copy() for frame in ImageSequence.Iterator(opened)]
    assert list_names(tmp_path) == [f"{name}#{page}" for page in range(COUNT)]
    for page in (0, 3, 4, 1, 1):
        found = decode(tmp_path / f"{name}#{page}", (0, 4095) if name == "deep.tif" else None)
        if name == "deep.tif":
            assert np.abs(np.asarray(found)[..., 0] - np.asarray(expected[page]) / 4095 * 255).max() <= 0.51
        else:
            assert (np.asarray(found) == np.asarray(expected[page].convert("RGB"))).all()
    with pytest.raises(UnreadableImageError, match="no such page"):
        decode(tmp_path / f"{name}#{COUNT}")


@pytest.mark.parametrize("name", KINDS)
def test_one_page_keeps_the_plain_name(tmp_path, name):
    save(tmp_path / name, 1)
    if name != "default.png":  # a picture and an animation of one frame are two
        assert list_names(tmp_path) == [name]


def test_names_with_a_number_sign_of_their_own(tmp_path):
    for name in ("a#3.png", "b.tif#1", "c.tif#1.png"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name, "PNG")
        assert decode(tmp_path / name).getpixel((1, 1)) == (255, 0, 0)
    assert list_names(tmp_path) == ["a#3.png", "c.tif#1.png"]
    with pytest.raises(UnreadableImageError, match="no such file"):
        decode(tmp_path / "nothing.tif#1")


def test_inputs_given_as_files_and_pages(tmp_path):
    save(tmp_path / "plain.tif")
    assert gather_inputs([tmp_path / "plain.tif"], tmp_path / "out").paths.names == [f"plain.tif#{k}" for k in range(COUNT)]
    assert gather_inputs([tmp_path / "plain.tif#2"], tmp_path / "out").paths.names == ["plain.tif#2"]


def test_training_learns_from_every_page(tmp_path):
    save(tmp_path / "a.gif")
    save(tmp_path / "lzw.tif")
    images = open_dataset(DataConfig(kind="folder", path=str(tmp_path)), 32, 0)
    assert len(images) == 2 * COUNT
    assert len({picture.numpy().tobytes() for picture in images.cache}) == 2 * COUNT


def test_smaller_copies_in_a_tiff_are_no_pages(tmp_path):
    pictures = frames("plain.tif")
    small = pictures[0].resize((5, 3))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    pictures[0].save(tmp_path / "x.tif", save_all=True, append_images=[small])
    assert list_names(tmp_path) == ["x.tif"]


def test_a_header_that_claims_billions_of_frames_is_not_believed(tmp_path):
    file = save(tmp_path / "a.png")
    content = bytearray(file.read_bytes())
    at = content.index(b"acTL") + 4
    content[at : at + 4] = struct.pack(">I", 2**31 - 1)
    file.write_bytes(content)
    assert count_pages(file) == COUNT


def test_a_chain_of_pages_in_a_circle_ends(tmp_path):
    page = struct.pack("<HHHIIHHIII", 2, 256, 3, 1, 8, 257, 3, 1, 8, 8)
    (tmp_path / "x.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + page)
    assert count_pages(tmp_path / "x.tif") == 1


def test_directories_that_overlap_take_no_longer_than_the_file_is_large(tmp_path):
    """19,000 directories of 1000 tags each in 280 kB, one every 14 bytes."""
    cells = [struct.pack("<HHIHHH", 1000, 0, 8 + 14 * max(0, k - 856), 0, 0, 0) for k in range(20_000)]
    (tmp_path / "x.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(cells))
    assert 10 < count_pages(tmp_path / "x.tif") < 30


def test_pages_of_what_is_no_file_or_cut_off(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    assert count_pages(tmp_path / "pipe.tif") == 1
    content = save(tmp_path / "a.gif").read_bytes()
    for name in KINDS:
        content = save(tmp_path / name).read_bytes()
        for cut in range(0, len(content), max(1, len(content) // 40)):
            (tmp_path / name).write_bytes(content[:cut])
            assert 1 <= count_pages(tmp_path / name) <= COUNT + 1


def test_a_stack_of_many_pages_is_opened_at_any_place(tmp_path):
    """Neither memory nor a walk over all pages before it."""
    content = io.BytesIO()
    pictures = [Image.new("L", (2, 2), k % 251) for k in range(600)]
    pictures[0].save(content, "TIFF", save_all=True, append_images=pictures[1:])
    (tmp_path / "x.tif").write_bytes(content.getvalue())
    listing = list_part(DataConfig(kind="folder", path=str(tmp_path)), "train", 0, 32)
    assert len(listing) == 600
    assert [listing.open_image(k).getpixel((0, 0))[0] for k in (599, 0, 300)] == [599 % 251, 0, 300 % 251]
