"""`ppl train --fields`: nothing is missing, and lines are as wide as the terminal."""

import pytest

from ppl_cli.config.describe import describe_fields, is_section
from ppl_cli.config.sections import Config


def keys() -> list[str]:
    found = []
    for name, field in Config.model_fields.items():
        found += [f"{name}.{inner}" for inner in field.annotation.model_fields] if is_section(field) else [name]
    return found


@pytest.mark.parametrize("width", [80, 120])
def test_every_field_has_a_type_a_default_and_a_meaning(width):
    lines = describe_fields(width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for key in keys():
        assert "default" in text.split(f"\n  {key}: ")[1][:300], key
    for section in (Config, *(field.annotation for field in Config.model_fields.values() if is_section(field))):
        assert section.__doc__
        assert all(field.description for name, field in section.model_fields.items() if not is_section(field)), section


def test_types_units_and_defaults_of_each_recipe_are_in_words():
    text = describe_fields(200)
    assert "model.image_size: whole number >= 32, <= 2048, a multiple of 16 [pixels]; default 128\n" in text
    assert "memory.revive: number >= 0, < 1; default 0.1 (paper, reference: 0)\n" in text
    assert "train.learning_rate: number > 0; default 0.0005 (paper: 0.001; reference: 0.0001)\n" in text
    assert "train.batch: whole number > 0 or auto [images]; default 64\n" in text
    assert "data.path: text or none; default none\n" in text
