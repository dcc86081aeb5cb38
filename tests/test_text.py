import os
import shlex

import pytest

from ppl_cli.text import as_command, as_set, in_csv, in_utf8, on_screen


@pytest.mark.parametrize(
    "name", ["a.jpg", "-3.jpg", "+15 deg.png", "-30/-2.5.jpg", "猫🐈.png", " =x.jpg", "x=1.jpg", "a'b\"c,d.png"]
)
def test_plain_names_stay_as_they_are_in_tables(name):
    assert in_csv(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "=cmd|' /C calc'!A0.png",
        "@SUM(1).png",
        "-2+3+cmd|' /C calc'!A0",
        "+A1(B2).jpg",
        "\t=x",
        "\r=x",
        "\n=x",
        "\uff1dx",
        "-1\n=x",
    ],
)
def test_formulas_become_the_same_path_spelt_otherwise(name):
    assert in_csv(name) == f"./{name}"
    assert os.path.normpath(os.path.join("folder", in_csv(name))) == os.path.join("folder", name)


def test_odd_bytes_are_spelt_out():
    assert in_utf8(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert in_utf8("café.jpg") == "café.jpg"


def test_nothing_on_the_screen_commands_the_terminal():
    hostile = "\x1b[2J\x1b]0;title\x07 \x9b31m a\rb\nc \u202egpj.exe" + os.fsdecode(b"\xff") + "猫 é"
    shown = on_screen(hostile)
    assert shown.isprintable()
    assert shown == "\\x1b[2J\\x1b]0;title\\x07 \\x9b31m a\\rb\\nc \\u202egpj.exe\\xff猫 é"


def test_values_are_shown_as_they_are_set():
    assert [as_set(value) for value in (True, False, None, 1, 0.5, "auto")] == ["true", "false", "none", "1", "0.5", "auto"]


def test_commands_run_as_they_are_shown():
    words = ["ppl", "infer", r"runs\my run", "it's"]
    assert shlex.split(as_command(words, windows=False)) == words
    assert as_command(words, windows=True) == r"""ppl infer "runs\my run" it's"""
