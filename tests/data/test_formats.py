"""What cannot be read is named by what it is."""

import numpy as np
import pytest
from PIL import Image, features

from ppl_cli.data import formats
from ppl_cli.data.images import UnreadableImageError, decode
from ppl_cli.data.names import list_names


def tiff(channels: int, bits: int, kind: int) -> bytes:
    """A little TIFF of 1 x 1 pixels, its values after the directory where they do not fit in."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, channels)]
    entries += [(278, 3, 1, 1), (279, 4, 1, channels * bits // 8)]
    after = 8 + 2 + 12 * (len(entries) + 2) + 4
    for tag, value, at in ((258, bits, after), (339, kind, after + 2 * channels)):
        entries.append((tag, 3, channels, at if channels > 2 else value))
    rows = b"".join(
        tag.to_bytes(2, "little") + form.to_bytes(2, "little") + count.to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, form, count, value in sorted(entries)
    )
    values = bits.to_bytes(2, "little") * channels + kind.to_bytes(2, "little") * channels
    return b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little") + rows + bytes(4) + values + bytes(64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(5, 16, 1), r"a TIFF with 5 channels of 16 bits \(unsigned integer\); save it with"),
        (tiff(1, 64, 3), r"a TIFF with 1 channel of 64 bits \(float\); save it with"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC image|damaged|not an image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", r"a video \(MP4\)"),
        (b"RIFF\0\0\0\0AVI LIST", r"a video \(AVI\)"),
        (b"<!DOCTYPE html><title>404</title>", "a web page; was the download refused?"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"%PDF-1.7", "a PDF"),
        (b"hello", "not an image, or of an unknown format"),
    ],
)
def test_a_type_is_named_by_its_content(tmp_path, content, words):
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=words):
        decode(tmp_path / "x.tif")


def test_heic_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("ppl_cli.data.images.FORMATS", ("JPEG", "PNG"))
    (tmp_path / "x.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    with pytest.raises(UnreadableImageError, match="not an image that ppl reads but a HEIC image: pip install pillow-heif"):
        decode(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_heic_and_avif_are_read_where_they_can_be(tmp_path, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif")
    elif not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = (250, 10, 10)
    Image.fromarray(picture).save(tmp_path / f"x.{suffix}", quality=95)
    assert f".{suffix}" in formats.SUFFIXES
    assert list_names(tmp_path) == [f"x.{suffix}"]
    assert np.abs(np.asarray(decode(tmp_path / f"x.{suffix}")).astype(int) - picture)[:, :28].max() < 30


def test_too_many_pixels_are_counted(tmp_path, monkeypatch):
    Image.new("L", (64, 64)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImageError, match="4,096 pixels, ppl reads up to 2,000; scale it down or cut it up"):
        decode(tmp_path / "x.png")
