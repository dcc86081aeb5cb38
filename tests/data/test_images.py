import os
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from ppl_cli.data.frame import Frame
from ppl_cli.data.images import UnreadableImageError, decode, decode_to_fit
from ppl_cli.data.names import list_names
from ppl_cli.errors import UsageError


def test_lists_recursively_in_natural_order_without_hidden_files(tmp_path):
    for name in ["frame_10.jpg", "frame_2.JPG", "b/x.png", ".hidden.png", ".cache/y.png", "notes.txt", "B2/z.webp"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_names(tmp_path) == ["b/x.png", "B2/z.webp", "frame_2.JPG", "frame_10.jpg"]


@pytest.mark.parametrize(("make", "words"), [(lambda p: None, "no such folder"), (lambda p: p.mkdir(), "no images")])
def test_no_images_is_a_usage_error(tmp_path, make, words):
    make(tmp_path / "x")
    with pytest.raises(UsageError, match=words):
        list_names(tmp_path / "x")


def picture(mode: str) -> Image.Image:
    grey = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (16, 1))
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    return Image.fromarray(grey).convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", "png"),
        ("L", "jpg"),
        ("CMYK", "jpg"),
        ("P", "png"),
        ("1", "bmp"),
        ("I;16", "png"),
        ("I;16", "tiff"),
        ("F", "tiff"),
    ],
)
def test_every_mode_becomes_rgb_with_the_same_look(tmp_path, mode, suffix):
    path = tmp_path / f"x.{suffix}"
    picture(mode).save(path)
    image = decode(path)
    assert image.mode == "RGB"
    assert image.size == (32, 16)
    pixels = np.asarray(image).astype(int).mean(2)
    if mode != "1":
        assert np.abs(pixels - np.linspace(0, 255, 32)).max() < 12


def test_transparent_pixels_show_grey(tmp_path):
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    image.save(tmp_path / "x.png")
    assert decode(tmp_path / "x.png").getpixel((5, 5)) == (128, 128, 128)
    assert decode(tmp_path / "x.png").getpixel((0, 0)) == (255, 0, 0)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "colour.png", transparency=(255, 0, 0))
    assert decode(tmp_path / "colour.png").getpixel((5, 5)) == (128, 128, 128)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "x.jpg", exif=exif)
    assert decode(tmp_path / "x.jpg").size == (20, 40)


def test_animation_shows_its_first_frame(tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / "x.webp", save_all=True, append_images=[second], lossless=True)
    assert decode(tmp_path / "x.webp").getpixel((3, 3)) == (255, 0, 0)


def test_one_pixel_is_an_image(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "x.png")
    assert decode(tmp_path / "x.png").size == (1, 1)


def test_what_is_no_image_says_why(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:700])
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, words in {
        "text": "not an image",
        "empty": "not an image",
        "cut": "damaged",
        "pipe": "regular",
        "no": "no such",
    }.items():
        path = tmp_path / f"{name}.{'png' if name == 'empty' else 'jpg'}"
        with pytest.raises(UnreadableImageError, match=words):
            decode(path)


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (64, 64)).save(tmp_path / "x.png")
    with pytest.raises(UnreadableImageError, match="too large"):
        decode(tmp_path / "x.png")


def test_a_dark_16_bit_image_stays_dark(tmp_path):
    for brightest in (255, 256, 60000):
        Image.fromarray(np.full((4, 4), brightest, np.uint16)).save(tmp_path / "x.png")
        assert abs(decode(tmp_path / "x.png").getpixel((0, 0))[0] - brightest / 257) <= 1


def deep_colour(values: np.ndarray) -> bytes:
    """(H, W, 3) uint16 -> a PNG with 16 bits a colour, which Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_deep_colours_of_a_camera_are_refused_and_whole_ones_read(tmp_path):
    """Pillow drops their lower 8 bits, and with them nearly all of a 12-bit picture."""
    values = np.random.default_rng(0).integers(0, 65536, (6, 5, 3), np.uint16)
    (tmp_path / "whole.png").write_bytes(deep_colour(values))
    (tmp_path / "camera.png").write_bytes(deep_colour(values >> 4))
    assert np.array_equal(np.asarray(decode(tmp_path / "whole.png")), values >> 8)
    with pytest.raises(UnreadableImageError, match="up to about 4095 of 65,535"):
        decode(tmp_path / "camera.png")


@pytest.mark.parametrize(("size", "side", "shrink"), [((640, 320), 16, 2), ((642, 321), 16, 1), ((640, 320), 24, 1)])
def test_a_large_jpeg_is_decoded_smaller(tmp_path, size, side, shrink):
    """Where both sides can be divided and enough is left; it is turned all the same, and looks alike in the square."""
    grey = np.add.outer(np.arange(size[1]), np.arange(size[0])) * 0.25
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(grey.astype(np.uint8)).convert("RGB").save(tmp_path / "a.jpg", quality=95, exif=exif)
    image, own_size = decode_to_fit(tmp_path / "a.jpg", None, partial(Frame, size=side))
    assert own_size == size[::-1] == decode(tmp_path / "a.jpg").size
    assert image.size == (own_size[0] // shrink, own_size[1] // shrink)
    frame = Frame(*own_size, side)
    whole, small = (frame.apply_image(picture).astype(int) for picture in (decode(tmp_path / "a.jpg"), image))
    assert np.abs(whole - small).max() <= 2
