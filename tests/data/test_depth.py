"""Images of more than 8 bits look like their 8-bit twins, by one rule for the whole set."""

import struct

import numpy as np
import pytest
from PIL import Image

from ppl_cli.config.loading import parse_config
from ppl_cli.config.sections import DataConfig
from ppl_cli.data.datasets import list_part
from ppl_cli.data.images import decode, find_range, read_deep
from ppl_cli.errors import UnreadableImageError, UsageError
from ppl_cli.inference.inputs import gather_inputs

GREY = np.tile(np.linspace(0, 255, 128).round().astype(np.uint8), (96, 1))


def write(place, values: np.ndarray, suffix: str = "tif", signed: bool = False):
    if signed:
        Image.fromarray(values.astype(np.int16).view(np.uint16)).save(place.with_suffix(".tif"), tiffinfo={339: 2})
    else:
        Image.fromarray(values).save(place.with_suffix(f".{suffix}"))


KINDS = {
    "10 bits": (lambda grey: (grey.astype(np.uint16) * 4, "tif", False), (0, 1023)),
    "12 bits": (lambda grey: (grey.astype(np.uint16) * 16, "png", False), (0, 4095)),
    "14 bits": (lambda grey: (grey.astype(np.uint16) * 64, "tif", False), (0, 16383)),
    "16 bits": (lambda grey: (grey.astype(np.uint16) * 257, "png", False), (0, 65535)),
    "8 bits in 16": (lambda grey: (grey.astype(np.uint16), "png", False), (0, 255)),
    "signed": (lambda grey: (grey.astype(np.int32) * 8 - 1024, "tif", True), (-1024, 1016)),
    "float": (lambda grey: (grey.astype(np.float32) / 255, "tif", False), (0, 1)),
    "float of whole numbers": (lambda grey: (grey.astype(np.float32), "tif", False), (0, 255)),
    "float beyond": (lambda grey: (grey.astype(np.float32) / 10 - 3, "tif", False), (-3, 22.5)),
    "32 bits": (lambda grey: (grey.astype(np.int32) * 1000, "tif", False), (0, 255_000)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_looks_like_its_twin_of_8_bits(tmp_path, kind):
    """Also its dark images, which alone would be taken for others, and those with a hot pixel."""
    make, expected = KINDS[kind]
    greys = [GREY // 2, GREY, GREY // 8]
    for number, grey in enumerate(greys):
        values, suffix, signed = make(grey)
        if number == 0 and kind != "8 bits in 16":
            values[5, 5] = values.max() if kind == "16 bits" else 32767
        write(tmp_path / str(number), values, suffix, signed)
    listing = list_part(DataConfig(kind="folder", path=str(tmp_path)), "train", 0, 32)
    assert np.allclose(listing.range, expected)
    (note,) = listing.notes
    assert f"data.range=[{expected[0]:g}, {expected[1]:g}]" in note
    for number, grey in enumerate(greys):
        found = np.asarray(listing.open_image(number)).astype(int)[..., 0]
        assert np.quantile(np.abs(found - grey), 0.999) <= 1


def test_white_at_0_and_32_bits_without_a_sign_are_what_tiff_says(tmp_path):
    grey = GREY.astype(np.uint16) * 257
    Image.fromarray(65535 - grey).save(tmp_path / "white.tif", tiffinfo={262: 0})
    assert np.array_equal(read_deep(tmp_path / "white.tif"), grey)
    wide = GREY.astype(np.uint32) << 24
    (tmp_path / "wide.tif").write_bytes(tiff(wide, {339: 1}))
    assert np.array_equal(read_deep(tmp_path / "wide.tif"), wide)
    (tmp_path / "negative.tif").write_bytes(tiff(GREY[:6, :5], {339: 2}))
    with pytest.raises(UnreadableImageError, match="8 bits have a sign"):
        decode(tmp_path / "negative.tif")
    (tmp_path / "planes.tif").write_bytes(tiff(np.zeros((3, 6, 5), np.uint16), {284: 2, 262: 2}))
    with pytest.raises(UnreadableImageError, match="in separate planes"):
        decode(tmp_path / "planes.tif")


def tiff(values: np.ndarray, more: dict[int, int]) -> bytes:
    """(H, W) or (planes, H, W) as an uncompressed TIFF with these tags besides; Pillow writes no such ones."""
    planes, bits = values.shape[0] if values.ndim == 3 else 1, 8 * values.itemsize
    height, width = values.shape[-2:]
    tags = {256: [width], 257: [height], 258: [bits] * planes, 259: [1], 262: [1], 277: [planes], 278: [height]}
    tags |= {tag: [value] * (planes if tag == 339 else 1) for tag, value in more.items()}
    tags |= {273: [0] * planes, 279: [values.nbytes // planes] * planes}
    at = 8 + 2 + 12 * len(tags) + 4  # of what is longer than a tag
    data = at + sum(4 * len(held) for held in tags.values())
    tags[273] = [data + plane * values.nbytes // planes for plane in range(planes)]
    entries, longer = b"", b""
    for tag, held in sorted(tags.items()):
        packed = struct.pack(f"<{len(held)}I", *held)
        entries += struct.pack("<HHI", tag, 4, len(held)) + (packed if len(held) == 1 else struct.pack("<I", at + len(longer)))
        longer += packed if len(held) > 1 else b""
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + longer
    return content + bytes(data - len(content)) + values.tobytes()


def test_images_of_8_bits_are_as_they_were(tmp_path):
    write(tmp_path / "a", GREY // 4, "png")
    assert find_range([tmp_path / "a.png"]) == (None, [])
    write(tmp_path / "b", GREY.astype(np.uint16) * 16)
    listing = list_part(DataConfig(kind="folder", path=str(tmp_path)), "train", 0, 32)
    assert (np.asarray(listing.open_image(0))[..., 0] == GREY // 4).all()


def test_a_range_given_is_taken(tmp_path):
    write(tmp_path / "a", GREY.astype(np.uint16) * 4)
    listing = list_part(DataConfig(kind="folder", path=str(tmp_path), range=(0, 4095)), "train", 0, 32)
    assert listing.notes == []
    assert abs(int(np.asarray(listing.open_image(0)).max()) - 1020 / 4095 * 255) < 1
    with pytest.raises(UsageError, match=r"data.range: .*BLACK below WHITE"):
        parse_config({"data": {"range": [5, 5]}}, "x")


def test_cameras_that_differ_are_named(tmp_path):
    for number, factor in enumerate((4, 257)):
        write(tmp_path / str(number), GREY.astype(np.uint16) * factor)
    _, (note,) = find_range([tmp_path / "0.tif", tmp_path / "1.tif"])
    assert "1020 to 65535" in note
    assert "folder of their own" in note


def test_few_deep_images_among_many_others_are_looked_at(tmp_path):
    for number in range(300):
        Image.new("L", (4, 4), 100).save(tmp_path / f"{number:03d}.jpg")
    write(tmp_path / "001b", GREY.astype(np.uint16) * 16)
    listing = list_part(DataConfig(kind="folder", path=str(tmp_path)), "train", 0, 32)
    inputs = gather_inputs([tmp_path], None)
    inputs.choose_range(None, listing.notes.append)
    assert listing.range == inputs.range == (0, 4095)
    assert len(listing.notes) == 2


def test_a_flat_or_empty_picture_gives_a_range(tmp_path):
    write(tmp_path / "flat", np.full((4, 4), -3.5, np.float32))
    assert find_range([tmp_path / "flat.tif"])[0] == (-3.5, -2.5)
    write(tmp_path / "nan", np.full((4, 4), np.nan, np.float32))
    assert find_range([tmp_path / "nan.tif"]) == (None, [])
    assert decode(tmp_path / "nan.tif").getpixel((0, 0)) == (0, 0, 0)
