import numpy as np
import pytest
from PIL import Image

from ppl_cli.data.frame import Frame

SIZES = [(64, 64), (640, 480), (480, 640), (33, 97), (1, 1), (3000, 7), (128, 128)]


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pixels_to_normalised_and_back(width, height, resize):
    frame = Frame(width, height, 128, resize)
    points = np.random.default_rng(0).uniform(-20, 4000, (50, 2))
    assert np.allclose(frame.to_pixels(frame.to_normalised(points)), points, atol=1e-9 * max(width, height) * 4000)
    assert frame.apply_image(Image.new("RGB", (width, height))).shape == (128, 128, 3)


def test_unchanged_size_keeps_pixel_centres():
    frame = Frame(65, 65, 65, "squash")
    assert np.allclose(frame.to_normalised([[0, 0], [32, 32], [64, 64]]), [[-1, -1], [0, 0], [1, 1]])


def test_missing_stays_missing():
    assert np.isnan(Frame(10, 20, 64).to_normalised([[np.nan, np.nan]])).all()


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize(("width", "height"), [(200, 100), (100, 200), (96, 96), (80, 150)])
def test_a_blob_in_the_picture_lands_where_the_coordinates_say(width, height, resize):
    x, y = 0.7 * width, 0.3 * height
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    blob = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 5.0**2))
    frame = Frame(width, height, 64, resize)
    picture = frame.apply_image(Image.fromarray(np.repeat(blob[..., None], 3, 2).astype(np.uint8))).astype(float)[..., 0]
    left, top = frame.corner
    inner = np.zeros_like(picture)
    inner[top : top + frame.inner[1], left : left + frame.inner[0]] = 1
    picture *= inner
    found = np.array([(picture * np.arange(64)).sum(), (picture * np.arange(64)[:, None]).sum()]) / picture.sum()
    expected = (frame.to_normalised([x, y]) + 1) / 2 * 63
    assert np.abs(found - expected).max() < 0.35
