"""Listing folders: the order, what is left out, and what a name costs."""

import os
import random
import re
import subprocess
import tracemalloc

import pytest

from ppl_cli.data.names import Others, image_names, list_names, natural_order, note_others
from ppl_cli.errors import UsageError
from ppl_cli.inference.inputs import gather_inputs


def by_definition(name: str) -> tuple:
    """Numbers by value and before letters, letters whatever their case; names that differ in no more by their characters."""
    return [(0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in re.split(r"(\d+)", name)], name


def test_natural_order_is_what_it_says():
    letters = "aAbßZ09123_-. \n\t\x01é猫٣" + os.fsdecode(b"\xff")
    draw = random.Random(0)
    names = ["".join(draw.choices(letters, k=draw.randint(1, 9))) for _ in range(4000)]
    assert sorted(names, key=natural_order) == sorted(names, key=by_definition)


def test_a_folder_nested_deeper_than_python_calls(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("x.png", os.O_CREAT, dir_fd=here))
    os.close(here)
    try:
        assert list_names(tmp_path) == ["d/" * 1200 + "x.png"]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest would nest too deep to tidy up


def test_files_of_other_types_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("ppl_cli.data.names.SUFFIXES", (".png",))  # as without pillow-heif
    for name in ["a.heic", "b.HEIC", "c.mp4", "d.png", "e", ".hidden.heic", "f.\x1b[31m", "out/keypoints.csv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inputs = gather_inputs([tmp_path], tmp_path / "out")
    assert list(inputs.paths) == [tmp_path / "d.png"]
    (note,) = note_others(inputs.others)
    assert "left out: 2 heic, 1 mp4, 2 of other types" in note
    assert note.isprintable()
    assert note_others(Others()) == []


def test_a_folder_of_results_alone_holds_no_input(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.png").touch()
    for out in (tmp_path / "out", tmp_path):
        with pytest.raises(UsageError, match="no images but those in"):
            gather_inputs([tmp_path], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images in"):
        gather_inputs([tmp_path / "empty"], tmp_path / "out")


def test_an_image_costs_hardly_more_than_its_name(tmp_path):
    count = 20_000
    (tmp_path / "x.png").touch()
    for k in range(1, count):
        (tmp_path / f"frame_{k:06d}.png").hardlink_to(tmp_path / "x.png")
    tracemalloc.start()
    inputs = gather_inputs([tmp_path], tmp_path / "out")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(inputs.paths) == count
    assert held < 120 * count
    assert peak < 260 * count


def test_overlapping_inputs_are_listed_once(tmp_path):
    for name in ["a/1.png", "a/b/1.png", "a/b/2.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    inputs = gather_inputs([tmp_path / "a" / "b", tmp_path / "a", tmp_path / "a" / "b" / "2.png"], tmp_path / "out")
    assert [inputs.name(i) for i in range(3)] == ["b/1.png", "b/2.png", "1.png"]
    assert [path.exists() for path in inputs.paths] == [True] * 3
    assert list(image_names(tmp_path / "a", {str(tmp_path / "a" / "b")})) == ["1.png"]
