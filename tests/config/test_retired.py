"""Files written when configurations still had fields that are gone since."""

import json
import re
import struct

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ppl_cli.api.train import train
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.config.loading import load_config, parse_config
from ppl_cli.config.retired import RETIRED
from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError

ANOTHER = {3: 2, "random": "identity", "mean": "usage", "constant": "cosine", None: 0.5, 0: 0.3, 1: 0.5, 4: 2}


def as_before(config: Config, **changed: object) -> dict:
    """The values that the version before wrote, with `changed` fields (`train__warmup`)."""
    values = config.model_dump()
    for key, neutral in RETIRED.items():
        section, field = key.split(".")
        values[section][field] = changed.get(f"{section}__{field}", neutral)
    return values


def test_neutral_fields_change_nothing(tiny, tmp_path):
    assert parse_config(as_before(tiny), "header") == tiny
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**as_before(tiny), "written_by": {"ppl": "0.1.0"}}))
    assert load_config(file) == tiny
    assert load_config("quickstart", RETIRED) == load_config("quickstart")


@pytest.mark.parametrize("key", RETIRED)
def test_other_values_say_since_when_they_are_gone(tiny, tmp_path, key):
    values = as_before(tiny, **{key.replace(".", "__"): ANOTHER[RETIRED[key]]})
    with pytest.raises(UsageError, match=rf"^header: {re.escape(key)} is gone since ppl 0\.2: expected .*, got .*") as caught:
        parse_config(values, "header")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=rf"^settings: {re.escape(key)} is gone"):
        load_config("quickstart", {key: ANOTHER[RETIRED[key]]})


def test_a_model_file_of_then_is_the_same_model(tiny, model_file, tmp_path):
    content = model_file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["ppl"])
    header["config"] = as_before(tiny)
    save_file(load_file(model_file), tmp_path / "old.safetensors", {"ppl": json.dumps(header)})
    old, new = load_model(tmp_path / "old.safetensors"), load_model(model_file)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert old.config == new.config
    assert torch.equal(old.model.estimate(images).keypoints, new.model.estimate(images).keypoints)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_of_then_goes_on(tiny_yaml, tiny, tmp_path):
    run = tmp_path / "run"
    train(tiny_yaml, out=run, device="cpu", **{"train.steps": 2})
    old = as_before(load_config(run / "config.yaml"))
    (run / "config.yaml").write_text(yaml.safe_dump({**old, "written_by": {"ppl": "0.1.0"}}))
    state = torch.load(run / "training.pt", weights_only=True)
    state["sizes"] |= {"affine_start": "random", "affine_limit": 0.0, "attention_temperature": 1.0, "attention_stride": 4}
    state["sizes"] |= {"counts_start": 0.0, "distil_by_usage": False}
    for group in state["optimiser"]["param_groups"]:
        group["decoupled_weight_decay"] = True  # AdamW's, of weight 0
    torch.save(state, run / "training.pt")
    assert train(out=run, resume=True, device="cpu", **{"train.steps": 4}).step == 4
    whole = train(tiny_yaml, out=tmp_path / "whole", device="cpu", **{"train.steps": 4})
    assert all(tensor.equal(load_file(whole.model)[name]) for name, tensor in load_file(run / "model.safetensors").items())
