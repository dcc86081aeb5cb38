import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ppl_cli.checkpoints.model_file import load_model, prepare_names, read_file, save_finder, save_model, write_file
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.errors import UsageError
from ppl_cli.model.finder import OcclusionFinder
from tests.conftest import lively_model, measured


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


def test_what_is_known_is_kept_exactly(tiny, tmp_path):
    model, file = lively_model(tiny), tmp_path / "model.safetensors"
    known = measured(model, tiny)
    save_model(file, model, tiny, 3, known)
    prepare_names(file, list("abcde"))()
    loaded = load_model(file).known
    assert torch.equal(loaded.tokens, known.tokens.to(torch.int16))
    assert all(torch.equal(a, b) for a, b in zip(loaded.calibration, known.calibration, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"doubts": None},
        {"usual": torch.zeros(2, 4, 3)},
        {"limit": torch.tensor(float("nan"))},
        {"seen": torch.zeros(5, 8, dtype=torch.float64)},
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(tiny, tmp_path, change):
    model, file = lively_model(tiny), tmp_path / "model.safetensors"
    save_model(file, model, tiny, 3, measured(model, tiny))
    with safe_open(file, "pt") as opened:
        metadata, tensors = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for name, value in change.items():
        tensors.pop(f"calibration.{name}")
        if value is not None:
            tensors[f"calibration.{name}"] = value
    save_file(tensors, file, metadata)
    with pytest.raises(UsageError, match="missing or damaged"):
        load_model(file)


@pytest.mark.parametrize(
    "change",
    [
        {"decide.1.bias": None},
        {"decide.1.bias": torch.zeros(2)},
        {"decide.1.bias": torch.tensor([float("nan")])},
        {"decide.1.bias": torch.zeros(1, dtype=torch.float64)},
        {"more": torch.zeros(1)},
    ],
)
def test_what_finds_occlusions_is_refused_where_it_does_not_fit(model_file, change):
    save_finder(model_file, OcclusionFinder())
    tensors, header = read_file(model_file)
    tensors |= {f"finder.{name}": value for name, value in change.items()}
    write_file(model_file, {name: value for name, value in tensors.items() if value is not None}, header)
    with pytest.raises(UsageError, match="missing or damaged"):
        load_model(model_file)


def test_what_finds_occlusions_stays_with_other_names_and_can_be_removed(model_file):
    save_finder(model_file, OcclusionFinder())
    prepare_names(model_file, [f"part {number}" for number in range(load_model(model_file).config.model.keypoints)])()
    assert load_model(model_file).occlusions is not None
    save_finder(model_file, None)
    assert load_model(model_file).occlusions is None
    assert load_model(model_file).config.prior.names[0] == "part 0"


def test_what_is_no_model_is_named(tmp_path, tiny, model_file):
    def refused(path, words):
        with pytest.raises(UsageError, match=words) as caught:
            load_model(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "nothing", "no model at")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no model.safetensors")
    (tmp_path / "empty" / "model.safetensors").touch()
    (tmp_path / "empty" / "config.yaml").write_text("hello")
    refused(tmp_path / "empty" / "config.yaml", "is no model: give its folder")
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
