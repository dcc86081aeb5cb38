import pytest
import torch
from safetensors.torch import save_file

from ppl_cli.api.train import run_training
from ppl_cli.config.loading import to_yaml
from ppl_cli.config.sections import LossConfig
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import decode
from ppl_cli.data.names import list_names
from ppl_cli.errors import UsageError
from ppl_cli.training.reconstruction import reconstruction_loss
from tests.conftest import shared


def vgg19_weights() -> str:
    return str(shared("weights", "vgg19_conv4_4_normed.safetensors"))


def test_pretrained_features_see_content_more_than_brightness():
    folder = shared("data", "tiger", "train")
    path = folder / list_names(folder)[0]
    loss = reconstruction_loss(LossConfig(weights=vgg19_weights(), stages=3, size=64))
    photo = torch.from_numpy(Frame(256, 256, 64, "squash").apply_image(decode(path)).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        same, darker, upside_down, nothing = (
            float(loss(image, photo)) for image in (photo, photo - 0.1, photo.flip(2), torch.zeros_like(photo))
        )
    assert same == 0
    assert 0 < darker < 0.3 * upside_down
    assert darker < 0.3 * nothing


def test_trains_with_pretrained_features_and_keeps_them_out_of_the_checkpoint(tiny, tmp_path):
    loss = LossConfig(kind="perceptual", weights=vgg19_weights(), stages=2, size=32)
    data = tiny.data.model_copy(update={"kind": "folder", "path": str(shared("data", "hand"))})
    train = tiny.train.model_copy(update={"steps": 2})
    (tmp_path / "c.yaml").write_text(to_yaml(tiny.model_copy(update={"loss": loss, "data": data, "train": train}), {}))
    run_training(str(tmp_path / "c.yaml"), tmp_path / "run", lambda line: None, device="cpu")
    assert (tmp_path / "run" / "training.pt").stat().st_size < 4 << 20
    assert (tmp_path / "run" / "model.safetensors").stat().st_size < 2 << 20


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"features.0.weight": torch.zeros(3)},
        {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(2)},
    ],
)
def test_foreign_weights_are_one_line(tmp_path, content):
    save_file(content, tmp_path / "x.safetensors")
    torch.save(content, tmp_path / "x.pth")
    for name in ("x.safetensors", "x.pth"):
        with pytest.raises(UsageError, match="does not hold the first 12 convolutions") as caught:
            reconstruction_loss(LossConfig(weights=str(tmp_path / name)))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"features.0.weight": 3}, "text"])
def test_a_pth_without_tensors_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UsageError, match="does not hold"):
        reconstruction_loss(LossConfig(weights=str(tmp_path / "x.pth")))


def test_a_pth_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"features.0.weight": Evil()}, tmp_path / "x.pth")
    with pytest.raises(UsageError, match="not read for safety"):
        reconstruction_loss(LossConfig(weights=str(tmp_path / "x.pth")))
    assert not (tmp_path / "owned").exists()
