import json

import pytest
import torch
from safetensors.torch import save_file

from ppl_cli.checkpoints.model_file import load_model, save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.errors import UsageError


def test_what_is_saved_is_loaded(tiny, tmp_path):
    torch.manual_seed(1)
    model = build_model(tiny)
    save_model(tmp_path / "model.safetensors", model, tiny, 42)
    for source in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_model(source)
        assert loaded.step == 42
        assert loaded.config == tiny
        assert not loaded.model.training
        assert all(
            torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.model.state_dict().values(), strict=True)
        )


def test_what_is_no_model_is_named(tmp_path, tiny, model_file):
    def refused(path, words):
        with pytest.raises(UsageError, match=words) as caught:
            load_model(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "nothing", "no model at")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no model.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    refused(tmp_path / "text.safetensors", "not a readable safetensors file")
    (tmp_path / "cut.safetensors").write_bytes(model_file.read_bytes()[:-100])
    refused(tmp_path / "cut.safetensors", "not a readable safetensors file")
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    refused(tmp_path / "foreign.safetensors", "was not written by ppl")
    header = {"format_version": 99, "config": tiny.model_dump(), "step": 0}
    save_file({"a": torch.zeros(3)}, tmp_path / "newer.safetensors", {"ppl": json.dumps(header)})
    refused(tmp_path / "newer.safetensors", "format version 99")
    header["format_version"] = 1
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors", {"ppl": json.dumps(header)})
    refused(tmp_path / "other.safetensors", "do not fit")
