"""Listing folders: the order, what is left out, and what a name costs."""

import os
import random
import re
import shutil
import subprocess
import tracemalloc

import pytest

from ppl_cli.data.names import Others, image_names, list_names, natural_order, note_others
from ppl_cli.errors import UsageError
from ppl_cli.inference.inputs import gather_inputs
from tests.conftest import ppl


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
    monkeypatch.setattr("ppl_cli.data.names.READ", (".png",))  # as without pillow-heif
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
        with pytest.raises(UsageError, match=r"all images lie in .*, the folder for the results"):
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


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_linked_folders_are_followed_and_each_folder_counts_once(tmp_path):
    touch(tmp_path, "in/own/a.png", "in/.cache/b.png", "elsewhere/sub/c.png", "elsewhere/d.png")
    root = tmp_path / "in"
    for name, target in {
        "1_out": "../elsewhere",
        "2_twice": "../elsewhere/sub",  # listed below 1_out already
        "3_hidden": ".cache",
        "4_own": "own",  # listed as own
        "own/circle": "..",
        "5_up": "../..",
        "6_lost": "nowhere",
    }.items():
        (root / name).symlink_to(target, target_is_directory=True)
    others = Others()
    assert list(image_names(root, others=others)) == ["1_out/d.png", "1_out/sub/c.png", "3_hidden/b.png", "own/a.png"]
    assert others.lost == 1
    (tmp_path / "link").symlink_to(root)
    assert len(gather_inputs([root, tmp_path / "link", tmp_path / "elsewhere"], tmp_path / "out").paths) == 4


def test_what_other_programs_left_is_counted_and_left_out(tmp_path):
    touch(tmp_path, "walk1/1.png", "walk1/2.png", "walk1_labeled/1.png", "walk1_labeled/2.png", "other_labeled/1.png")
    touch(tmp_path, ".ipynb_checkpoints/1-checkpoint.png", ".thumbnails/1.png", "__MACOSX/walk1/._1.png", "walk1/._1.png")
    touch(tmp_path, ".git/x.png", "@eaDir/1.jpg/thumb.jpg", "Thumbs.db")
    others = Others()
    assert list_names(tmp_path, others) == ["other_labeled/1.png", "walk1/1.png", "walk1/2.png"]
    files, copies = note_others(others)
    assert "1 db" in files
    for found in ("2 in walk1_labeled", "1 in .ipynb_checkpoints", "1 in .thumbnails", "1 in __MACOSX", "1 elsewhere"):
        assert found in copies
    assert list_names(tmp_path / "walk1_labeled") == ["1.png", "2.png"]  # who asks for it gets it


def test_at_the_top_of_a_drive_the_systems_own_folders_are_left_out(tmp_path, monkeypatch):
    touch(tmp_path, "1.png", "$RECYCLE.BIN/S-1-5/$R1.png", "System Volume Information/x.bin", "lost+found/x.png")
    listed = os.scandir

    def scandir(place):  # as nobody but the system may
        if str(place).endswith("lost+found/"):
            raise PermissionError(13, "Permission denied")
        return listed(place)

    monkeypatch.setattr("ppl_cli.data.names.os.scandir", scandir)
    others = Others()
    assert list_names(tmp_path, others) == ["1.png"]
    assert "1 in $RECYCLE.BIN" in note_others(others)[-1]


def test_what_ppl_drew_among_the_images_is_left_out(trained_run, pictures, tmp_path, capsys):
    images, run = list_names(pictures), shutil.copytree(trained_run, pictures / "runs/mine")
    assert ppl("eval", run, "--device", "cpu") == 0
    assert ppl("export-prior", run, "--out", pictures / "prior", "--device", "cpu") == 0
    for command, out, *drawn in (("infer", "poses", "--overlay"), ("refine", "repaired", "--overlay", "--gif")):
        assert ppl(command, run, pictures, "--out", pictures / out, *drawn, "--device", "cpu") == 0
    drawn = {file for file in pictures.rglob("*") if file.suffix in (".png", ".gif", ".jpg")} - {pictures / i for i in images}
    assert {file.parent.name for file in drawn} > {"mine", "try", "samples", "eval-1", "prior", "overlay", "strips", "gifs"}
    others = Others()
    assert list_names(pictures, others) == images
    assert others.own.total() == len(drawn) + 1  # the video in try/
    counts = "24 in repaired, 8 in poses, 6 in mine, 5 in prior, 2 in eval-1"
    assert note_others(others)[-1] == f"images that ppl wrote are left out: {counts}"
    assert len(list_names(run / "try")) == 4  # who asks for it gets it
    with pytest.raises(UsageError, match=r"no images in .*poses: it holds .*, 8 images in poses; ppl reads"):
        list_names(pictures / "poses")


def test_names_alone_say_nothing_of_who_drew(tmp_path):
    images = ["a/overlay/1.png", "a/samples/1.png", "b/curves.png", "b/links.png"]
    touch(tmp_path, *images, "a/poses.csv", "b/skipped.csv", "b/prior.json")
    assert list_names(tmp_path) == images


def test_a_folder_without_images_says_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("ppl_cli.data.names.READ", (".png",))  # as without pillow-heif
    touch(tmp_path, "v/a.ogv", "v/b.ogv", "h/a.HEIC", "l/notes.txt", "m_labeled/a.png", "m/a.csv")
    (tmp_path / "l" / "lost").symlink_to("nowhere")
    (tmp_path / "e").mkdir()
    for name, words in {
        "v": "it holds 2 ogv; ppl reads .* mp4",
        "h": "it holds 1 heic; .* pip install pillow-heif reads HEIC and AVIF",
        "l": "it holds 1 txt, 1 link that leads nowhere",
        "e": "it is empty",
        "m": "it holds 1 csv",
    }.items():
        with pytest.raises(UsageError, match=f"no images in .*/{name}: {words}"):
            list_names(tmp_path / name)
