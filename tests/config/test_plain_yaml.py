"""Values of configurations and of --set."""

import math

import pytest
import yaml

from ppl_cli.config.plain_yaml import PlainDumper, PlainLoader


def load(text: str) -> object:
    return yaml.load(text, PlainLoader)


def dump(value: object) -> str:
    return yaml.dump(value, Dumper=PlainDumper)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e3", 1000.0),
        ("1e-4", 1e-4),
        ("2.5E+2", 250.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("010", "010"),
        ("0809", "0809"),
        ("0", 0),
        ("0.5", 0.5),
        ("+7", 7),
        ("12:30", "12:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("e5", "e5"),
        ("true", True),
        ("null", None),
    ],
)
def test_numbers_are_decimal(text, expected):
    assert load(text) == expected
    assert type(load(text)) is type(expected)
    assert load(f"[{text}]") == [expected]


@pytest.mark.parametrize("value", ["1e3", "5.", "010", "08", "12:30", ".nan", "true", "1", "", 1, 1e-5, 1e300, -2, True, None])
def test_what_is_written_comes_back(value):
    for read in (load, yaml.safe_load):
        back = read(dump({"a": [value]}))["a"][0]
        assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize("text", ["train: {steps: 5}\nmodel: {}\ntrain: {batch: 4}", "a: {steps: 1, steps: 2}"])
def test_a_key_that_stands_twice_is_refused(text):
    with pytest.raises(yaml.YAMLError, match=r"(train|steps) stands there twice"):
        load(text)


def test_aliases_are_refused():
    with pytest.raises(yaml.YAMLError, match="the alias"):
        load("a: &b [1]\nc: *b")
