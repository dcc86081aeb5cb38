"""A model is built for a file's tensors without drawing numbers that they replace, and sees to it that they are finite."""

import math

import pytest
import torch

from ppl_cli.checkpoints.shapes import all_finite, build_model, check_tensors, fill_model
from ppl_cli.errors import UsageError


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 7, 99])
def test_one_number_that_is_not_finite_is_found(wrong, place):
    tensor = torch.full((10, 10), -3e38)
    assert all_finite(tensor)
    tensor.view(-1)[place] = wrong
    assert not all_finite(tensor)


def test_counts_and_empty_tensors_are_finite():
    assert all_finite(torch.tensor(2**62))
    assert all_finite(torch.zeros(0, 3))


def test_a_filled_model_has_the_tensors_given_and_draws_none(tiny, tmp_path):
    torch.manual_seed(1)
    like = build_model(tiny)
    given = like.state_dict()
    weight = "encoder.regress.0.weight"
    given[weight] = given[weight].mT.contiguous().mT  # as another program may have laid it out
    before = torch.get_rng_state()
    filled = check_tensors(tmp_path, tiny, {name: (tuple(t.shape), t.dtype) for name, t in given.items()})
    fill_model(tmp_path, filled, given.__getitem__)
    assert torch.equal(torch.get_rng_state(), before)
    assert not filled.training
    assert filled.state_dict().keys() == given.keys()
    for name, tensor in filled.state_dict().items():
        assert torch.equal(tensor, given[name])
        assert tensor.is_contiguous()
        assert tensor.data_ptr() != given[name].data_ptr()
    assert [p.requires_grad for p in filled.parameters()] == [p.requires_grad for p in like.parameters()]
    assert all(tensor.device.type == "cpu" for tensor in filled.buffers())


def test_what_is_not_finite_is_named_with_its_file(tiny, tmp_path):
    model = build_model(tiny)
    given = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given["decoder.last.bias"][1] = math.nan
    with pytest.raises(UsageError, match=r"decoder\.last\.bias holds numbers that are not finite"):
        fill_model(tmp_path / "model.safetensors", model, given.__getitem__)
