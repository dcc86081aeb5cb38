"""A look at a model leaves it in the mode that it was in, also where the look fails."""

import pytest
import torch

from ppl_cli.model.evaluating import evaluating


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_gradients_come_back(training):
    model = torch.nn.Linear(2, 2).train(training)
    with evaluating(model):
        assert not model.training
        assert not model(torch.ones(2)).requires_grad
    assert model.training is training
    assert model(torch.ones(2)).requires_grad
    with pytest.raises(ZeroDivisionError), evaluating(model):
        raise ZeroDivisionError
    assert model.training is training
    assert torch.is_grad_enabled()
