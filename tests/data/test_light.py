import torch

from ppl_cli.data.light import BRIGHTNESS, CONTRAST, GAMMA, change_light, random_light


def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_neutral_light_changes_nothing():
    images = torch.rand(4, 3, 8, 8) * 2 - 1
    neutral = torch.tensor([1.0, 1.0, 0.0]).expand(4, 3)
    assert torch.allclose(change_light(images, neutral), images, atol=1e-6)


def test_light_is_drawn_within_its_bounds_for_each_image():
    light = random_light(2000, random())
    gamma, contrast, brightness = light.unbind(1)
    for values, bound in ((gamma.log(), GAMMA), (contrast - 1, CONTRAST), (brightness, BRIGHTNESS)):
        assert 0.95 * bound < values.abs().max() <= bound * 1.000001
        assert abs(values.mean()) < 0.05
    assert torch.equal(light, random_light(2000, random()))


def test_brighter_stays_brighter():
    """Light keeps the order of grey levels, so edges stay where they are."""
    ramp = torch.linspace(-1, 1, 64).expand(50, 3, 4, 64)
    changed = change_light(ramp, random_light(50, random()))
    assert (changed.diff(dim=-1) >= 0).all()
    assert changed.isfinite().all()
    assert changed.std(0).mean() > 0.1  # and images differ by it
