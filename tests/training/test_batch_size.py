import pytest
import torch

from ppl_cli.api.train import train
from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.device import choose_compute
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.model.losses import MultiscaleLoss
from ppl_cli.runtime import Runtime
from ppl_cli.training import batch_size
from ppl_cli.training.batch_size import bytes_per_image, largest_batch
from ppl_cli.training.step import TrainingStep

CPU = choose_compute("cpu")


def test_bytes_grow_with_the_picture(tiny):
    larger = tiny.model_copy(update={"model": tiny.model.model_copy(update={"image_size": 64})})
    small, large = (bytes_per_image(config, MultiscaleLoss(), CPU) for config in (tiny, larger))
    pixels = 32 * 32
    assert small > 4 * 4 * 50 * pixels / 10  # 4 channels of float32 in some dozen maps
    assert 3 < large / small < 5


@pytest.mark.parametrize(("free", "expected"), [(2**40, 64), (0, None)])
def test_as_many_as_fit_up_to_64(tiny, monkeypatch, free, expected):
    monkeypatch.setattr(batch_size, "free_memory", lambda device: free)
    if expected:
        assert largest_batch(tiny, MultiscaleLoss(), CPU) == expected
    else:
        with pytest.raises(UsageError, match=r"train\.batch=auto: a step takes .* GiB an image and 0\.0 GiB are free"):
            largest_batch(tiny, MultiscaleLoss(), CPU)


def test_half_the_memory_is_half_the_batch(tiny, monkeypatch):
    need = bytes_per_image(tiny, MultiscaleLoss(), CPU) * batch_size.BEYOND / batch_size.SHARE
    for batch in (8, 16, 32):
        monkeypatch.setattr(batch_size, "free_memory", lambda device, room=batch * need: room * 1.01)
        assert largest_batch(tiny, MultiscaleLoss(), CPU) == batch


@pytest.mark.usefixtures("no_pictures")
def test_auto_becomes_a_number_in_the_run(tiny_yaml, tmp_path, monkeypatch):
    need = 10 * bytes_per_image(load_config(str(tiny_yaml)), MultiscaleLoss(), CPU)
    monkeypatch.setattr(batch_size, "free_memory", lambda device: need)
    said = []
    settings = {"train.batch": "auto", "train.steps": 2}
    train(tiny_yaml, out=tmp_path / "run", device=Runtime("cpu", say=said.append), **settings)
    written = load_config(str(tmp_path / "run" / "config.yaml"))
    assert written.train.batch == 4
    assert any("train.batch: 4 (auto" in line for line in said)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("not enough memory: you tried to allocate 9"), MemoryError()]
)
def test_out_of_memory_says_the_batch_and_what_to_set(tiny_yaml, tmp_path, monkeypatch, error):
    def full(*arguments):
        raise error

    monkeypatch.setattr(TrainingStep, "forward", full)
    expected = r"out of memory on cpu with 4 images at a time .*--set train.accumulate=2 .*--set train.batch=2"
    with pytest.raises(PPLError, match=expected):
        train(tiny_yaml, out=tmp_path / "run", device="cpu")


def test_a_batch_is_cut_into_equal_pieces(tiny):
    values = tiny.model_dump()
    values["train"]["accumulate"] = 3
    with pytest.raises(ValueError, match=r"train.batch \(4\) cannot be cut into train.accumulate \(3\)"):
        Config.model_validate(values)
