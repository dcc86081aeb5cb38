import numpy as np
import pytest
from PIL import Image

from ppl_cli.drawing import resampling
from ppl_cli.drawing.resampling import resample


@pytest.mark.parametrize("size", [(90, 70), (400, 300), (20, 260), (1, 1), (1, 64), (64, 1), (80, 60)])
def test_resamples_as_pillow_does(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    found = resample(image, *size)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.abs(found - np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(int)).max() <= 2


def test_of_a_photograph_nearly_every_pixel_is_pillows():
    """A smooth one: of noise, sums of many pixels are rounded more often."""
    rows, columns = np.mgrid[:480, :640] / 640
    smooth = np.stack([127 + 127 * np.sin(9 * rows * k + 7 * columns) for k in range(3)], -1).astype(np.uint8)
    image = Image.fromarray(smooth)
    apart = np.abs(resample(image, 64, 48) - np.asarray(image.resize((64, 48), Image.Resampling.BICUBIC)).astype(int))
    assert apart.max() <= 1
    assert apart.mean() < 0.01


@pytest.mark.parametrize(("name", "value"), [("FAST", False), ("LARGE", 60 * 80 - 1)])
def test_pillow_does_it_where_pytorch_is_slow_and_where_a_copy_would_be_large(monkeypatch, name, value):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    monkeypatch.setattr(resampling, name, value)
    monkeypatch.setattr(resampling, "interpolate", None)
    assert np.array_equal(resample(image, 20, 15), np.asarray(image.resize((20, 15), Image.Resampling.BICUBIC)))
