import numpy as np
import pytest
from PIL import Image

from ppl_cli.data.resampling import resample

KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(90, 70), (400, 300), (20, 260), (1, 1), (80, 60)])
def test_resamples_as_pillow_does(size, kernel):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize(size, KERNELS[kernel])).astype(int)
    found = resample(pixels, *size, kernel)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.abs(found - expected).max() <= 2


def test_of_a_photograph_nearly_every_pixel_is_pillows():
    """A smooth one: of noise, sums of many pixels are rounded more often."""
    rows, columns = np.mgrid[:480, :640] / 640
    smooth = np.stack([127 + 127 * np.sin(9 * rows * k + 7 * columns) for k in range(3)], -1).astype(np.uint8)
    expected = np.asarray(Image.fromarray(smooth).resize((64, 48), Image.Resampling.BILINEAR)).astype(int)
    apart = np.abs(resample(smooth, 64, 48, "bilinear") - expected)
    assert apart.max() <= 1
    assert apart.mean() < 0.01
