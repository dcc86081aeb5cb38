"""The way of JPEG files through torchvision; on this machine its CPU decoder stands in for the GPU's."""

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.data.figures import figure
from ppl_cli.data.images import decode
from ppl_cli.device import choose_compute
from ppl_cli.inference import run
from ppl_cli.inference.estimate import Estimator, decode_square, estimate_poses, stack_squares
from ppl_cli.inference.jpeg import decode_jpeg_square, has_gpu_decoder

CPU = torch.device("cpu")


@pytest.mark.parametrize("resize", ["letterbox", "squash"])
@pytest.mark.parametrize("shape", [(200, 120), (61, 64), (128, 128), (20, 30)])
def test_gives_the_pixels_that_pillow_gives(tmp_path, shape, resize):
    file = tmp_path / "a.jpg"
    Image.fromarray(figure(1, 128)[0]).resize(shape).save(file, quality=95)
    ours = decode_jpeg_square(file, 64, resize, CPU)
    expected = decode_square(lambda index: decode(file), 0, 64, resize)
    assert ours.frame == expected.frame
    assert np.abs(ours.pixels.numpy().astype(int) - expected.pixels.astype(int)).max() <= 2


def test_leaves_to_pillow_what_is_not_plain(tmp_path):
    picture = Image.fromarray(figure(1, 64)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    picture.save(tmp_path / "other.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    picture.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:300])
    assert decode_jpeg_square(tmp_path / "whole.jpg", 32, "letterbox", CPU) is not None
    for name in ("turned.jpg", "other.png", "cmyk.jpg", "broken.jpg", "cut.jpg", "absent.jpg"):
        assert decode_jpeg_square(tmp_path / name, 32, "letterbox", CPU) is None


def test_both_ways_mix_in_a_batch_and_find_the_same(model_file, pictures):
    estimator = Estimator(load_model(model_file).model, choose_compute("cpu"))
    paths = sorted(pictures.rglob("*.*g"))
    fast = [0, 0]

    def decode_fast(index, size, resize):
        decoded = decode_jpeg_square(paths[index], size, resize, CPU)
        fast[decoded is None] += 1
        return decoded

    arguments = estimator, lambda index: decode(paths[index]), range(len(paths)), "letterbox", 4
    plain, ours = list(estimate_poses(*arguments)), list(estimate_poses(*arguments, decode_fast))
    assert fast == [6, 2]
    for one, other in zip(plain, ours, strict=True):
        assert np.abs(one.keypoints_px - other.keypoints_px).max() < 0.5


def test_grey_stands_for_what_could_not_be_read():
    from ppl_cli.inference.estimate import Decoded

    held = [Decoded(torch.zeros(4, 4, 3, dtype=torch.uint8), None, None), Decoded(None, None, "broken")]
    squares = stack_squares(held, 4)
    assert squares.shape == (2, 4, 4, 3)
    assert (squares[1] == 128).all()


def test_a_cpu_has_no_such_decoder():
    assert not has_gpu_decoder(CPU)
    assert run.has_gpu_decoder is has_gpu_decoder
