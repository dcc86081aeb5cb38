"""Files with names of any kind: tables that parse, in every format the same, and nothing written outside --out."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl_cli.cli.app import main
from ppl_cli.errors import PPLError
from ppl_cli.files import folder_below
from ppl_cli.inference.inputs import gather_inputs
from ppl_cli.inference.pictures import name_overlay
from ppl_cli.text import in_csv, in_utf8
from ppl_cli.training.run_folder import write_skipped

ESCAPE = "\x1b[31mred\x1b]0;title\x07.png"
NAMES = [
    "new\nline.png",
    "tab\tand\rreturn.png",
    "qu\"o'te,;.png",
    "..png",
    "...png",
    "a..b.png",
    "back\\slash..\\x.png",
    os.fsdecode(b"caf\xe9 \xff.png"),
    "猫🐈‍⬛.png",
    "<script>alert(1)<",
    "=cmd|' !A0.png",
    "-3.png",
    "@x(1).png",
    "%s{0}$x^.png",
    ESCAPE,
    " space .png",
    "-rf.png",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    for number, name in enumerate(NAMES):
        if name.endswith("<"):  # </script> needs a folder
            (place / name).mkdir()
            name = f"{name}/script>.png"
        if name == "..png":
            continue  # hidden
        Image.new("RGB", (20 + number, 20)).save(place / name, "PNG")
        (place / f"{name}.broken.png").write_text("no")
    return place


def infer(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main(["infer", *map(str, arguments)])
    return end.value.code or 0


def column(file: Path, name: str) -> list[str]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(dict.fromkeys(row[name] for row in csv.DictReader(opened, strict=True)))


def test_every_name_comes_through(folder, model_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert infer(model_file, folder, "--out", out, "--overlay") == 0
    names = [in_utf8(name) for name in gather_inputs([folder], out).paths.names]
    read = [name for name in names if ".broken" not in name]
    assert len(names) == 2 * len(read) == 2 * (len(NAMES) - 2)  # without the hidden ones
    assert column(out / "keypoints.csv", "image") == [in_csv(name) for name in names]
    assert column(out / "skipped.csv", "image") == [in_csv(name) for name in names if ".broken" in name]
    assert np.load(out / "keypoints.npz")["images"].tolist() == names
    coco = json.loads((out / "keypoints.coco.json").read_text(encoding="utf-8"))
    assert [image["name"] for image in coco["images"]] == read
    drawn = [path.relative_to(out / "overlay") for path in (out / "overlay").rglob("*.*") if path.is_file()]
    assert sorted(in_utf8(str(path)) for path in drawn) == sorted(map(name_overlay, read))
    assert not [cell for cell in column(out / "keypoints.csv", "image") if cell[0] in "=@\t\r\n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "model.safetensors", "out"]
    said = capsys.readouterr()
    assert all(line.isprintable() for line in (said.out + said.err).splitlines())


def test_errors_and_notes_leave_the_terminal_alone(folder, model_file, tmp_path, capsys):
    for arguments in (
        [folder / f"{ESCAPE}.broken.png", "--strict"],
        [folder / f"no {ESCAPE}"],
        [folder / ESCAPE, "--format", f"csv,{ESCAPE}"],
    ):
        assert infer(model_file, *arguments, "--out", tmp_path / "out") != 0
        lines = capsys.readouterr().err.splitlines()
        assert "\\x1b" in lines[-1]
        assert all(line.isprintable() for line in lines)


def test_names_too_long_for_their_overlay_keep_their_pose(model_file, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("x" * 250, "猫" * 83, "short"):
        Image.new("RGB", (20, 20)).save(folder / f"{name}.bmp")
    assert infer(model_file, folder, "--out", tmp_path / "out", "--overlay") == 0
    assert len(column(tmp_path / "out" / "keypoints.csv", "image")) == 3
    assert len(list((tmp_path / "out" / "overlay").iterdir())) == 1
    assert "2 pictures could not be written; the first: " in capsys.readouterr().err


@pytest.mark.parametrize("linked", ["overlay", "overlay/sub"])
def test_links_in_the_results_folder_lead_nothing_outside(model_file, pictures, tmp_path, linked, monkeypatch):
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    assert infer(model_file, pictures, "--out", out, "--overlay") == 0
    shutil.rmtree(out / linked)
    (out / linked).symlink_to(outside)
    (out / "keypoints.csv").unlink()
    (out / "keypoints.csv").symlink_to(outside / "mine.txt")
    assert infer(model_file, pictures, "--out", out, "--overlay", "--overwrite") == 0
    assert (out / "overlay" / "sub" / "6.png").is_file()
    assert [path.name for path in outside.iterdir()] == ["mine.txt"]
    assert (outside / "mine.txt").read_text() == "mine"


def test_pictures_refuse_a_place_outside(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path)
    for place in ("sub/x.png", "../x.png", "a/../../x.png", "/etc/x.png"):
        with pytest.raises(PPLError, match="outside"):
            folder_below(tmp_path / "out", tmp_path / "out" / place)
    folder_below(tmp_path / "out", tmp_path / "out" / "a" / "b" / "x.png")
    assert (tmp_path / "out" / "a" / "b").is_dir()


def test_training_names_them_too(tmp_path):
    write_skipped(tmp_path, [(name, "damaged") for name in NAMES])
    assert column(tmp_path / "skipped.csv", "image") == [in_csv(name) for name in NAMES]


def test_no_two_overlays_have_one_name():
    names = ["a.png", "a.jpg", "a.jpg.png", "a.jpg.png.png", "a.tif#3", "a.tif#3.png", "sub.png/a.PNG", "2026.11.27.png"]
    assert len(set(map(name_overlay, names))) == len(names)
    assert [name for name in names if name_overlay(name) == name] == ["a.png", "a.jpg", "sub.png/a.PNG", "2026.11.27.png"]
