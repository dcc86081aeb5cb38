"""Which frames of videos are learned from, read off the pictures themselves."""

import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from ppl_cli.api.export import find_pictures
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.config.sections import DataConfig
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.paths import ImageFinder
from ppl_cli.data.video_frames import share_out, spread_out
from ppl_cli.runtime import Runtime
from tests.clips import draw_number, read_number, write_clip, write_text
from tests.conftest import ppl
from tests.forks import NO_PICTURES


@pytest.mark.parametrize("seed", range(50))
def test_shares_are_alike_except_where_a_video_is_short(seed):
    random = np.random.default_rng(seed)
    counts, most = random.integers(1, 60, random.integers(1, 9)).tolist(), int(random.integers(0, 200))
    shares = share_out(counts, most)
    assert sum(shares) == min(most, sum(counts))
    in_part = [share for share, count in zip(shares, counts, strict=True) if share < count]
    assert all(share <= count for share, count in zip(shares, counts, strict=True))
    assert not in_part or max(shares) - min(in_part) <= 1


@pytest.mark.parametrize(("count", "share"), [(1, 1), (7, 7), (10, 3), (54_012, 2000), (5, 0), (9, 8)])
def test_frames_are_spread_over_the_whole_video(count, share):
    taken = spread_out(count, share)
    assert len(set(taken)) == share
    assert taken == sorted(taken)
    gaps = np.diff([-taken[0] - 1, *taken, 2 * count - taken[-1]]) if share else np.ones(1)
    assert gaps.max() - gaps.min() <= 2


@pytest.fixture
def mixed(tmp_path):
    """A long video, a short one, and two images."""
    from PIL import Image

    folder = tmp_path / "mixed"
    folder.mkdir()
    write_clip(folder / "long.mp4", range(100, 160))
    write_clip(folder / "short.avi", range(5))
    for number in (500, 501):
        Image.fromarray(draw_number(number, (64, 48))).save(folder / f"photo-{number}.png")
    return folder


def numbers(images):
    return [read_number(picture[:, 4:28].permute(1, 2, 0).numpy()) for picture in images.cache]


def test_the_frames_taken_are_those_of_their_names(mixed):
    config = DataConfig(path=str(mixed), frames=15)
    listing = list_part(config, "train", 0, 32)
    assert listing.notes[0] == "2 videos, 65 frames, 15 taken"
    images = open_listing(listing, config, 32)
    assert numbers(images) == [*(100 + k for k in spread_out(60, 10)), 500, 501, *range(5)]
    assert listing.names[0] == "long.mp4#3"
    assert images.groups.tolist() == [0] * 10 + [1, 2] + [3] * 5
    assert list_part(config, "train", 1, 32).names == listing.names


class Entries(list):
    """Of a folder, in an order of their own."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_every_process_and_export_prior_take_the_same_frames(mixed, tmp_path, monkeypatch, lively_file):
    """Processes of torchrun list the data each by itself, and folders may list their files in any order."""
    scan, lists = os.scandir, []
    for rank, backwards in enumerate((False, True)):
        monkeypatch.setenv("RANK", str(rank))
        order = partial(sorted, key=lambda entry: entry.name, reverse=backwards)
        monkeypatch.setattr("os.scandir", lambda folder, order=order: Entries(order(scan(folder))))
        lists.append(list_part(DataConfig(path=str(mixed), frames=15, split="all"), "train", rank, 32).names)
    monkeypatch.undo()
    names = lists[0]
    assert lists[1] == names
    checkpoint = load_model(lively_file)
    data = checkpoint.config.data.model_copy(update={"frames": 15})
    checkpoint = replace(checkpoint, config=checkpoint.config.model_copy(update={"data": data}))
    said = []
    pictures = find_pictures(mixed, tmp_path / "out", checkpoint, Runtime("cpu", say=said.append))
    assert pictures.names == names
    assert said == ["2 videos, 65 frames, 15 taken"]
    assert [read_number(pictures.open_image(index)) for index in (0, 9, 10, 16)] == [103, 157, 500, 4]


def test_a_prior_over_videos(mixed, tmp_path, lively_file, capsys):
    assert ppl("export-prior", lively_file, "--data", mixed, "--out", tmp_path / "out", "--device", "cpu") == 0
    assert "2 videos, 65 frames, 65 taken" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["finder", "deeplabcut"])
def test_where_images_are_looked_for_no_video_is_opened(mixed, monkeypatch, kind):
    monkeypatch.setattr("ppl_cli.data.pages.open_video", lambda path: pytest.fail(f"{path} was opened"))
    if kind == "finder":
        finder = ImageFinder(mixed / "train.json", mixed)
        assert finder.find(["/elsewhere/photo-500.png"]) == [mixed / "photo-500.png"]
    else:
        (mixed / "labeled-data").mkdir()
        for path in mixed.glob("*.*"):
            path.rename(mixed / "labeled-data" / path.name)
        listing = list_part(DataConfig(path=str(mixed), kind="deeplabcut"), "train", 0, 32)
        assert listing.names == ["labeled-data/photo-500.png", "labeled-data/photo-501.png"]


def test_a_folder_of_images_and_videos_is_learned_from_and_resumed(mixed, tmp_path, tiny_yaml, no_pictures, capsys):
    write_text(mixed / "text.mp4")
    run = tmp_path / "run"
    given = [
        "--data",
        mixed,
        "--device",
        "cpu",
        "--set",
        "reference.kind=auto",
        "--set",
        "data.kind=folder",
    ]
    assert ppl("train", tiny_yaml, "--out", run, *given, "--set", "train.steps=4") == 0
    said = capsys.readouterr().err
    assert "2 videos, 65 frames, 65 taken" in said
    assert "text.mp4: not a video" in said
    assert "kind: video\n" in (run / "config.yaml").read_text()
    assert ppl("train", "--out", run, "--resume", "--device", "cpu", "--set", "train.steps=6") == 0
    assert ppl("train", "--out", run, "--resume", "--device", "cpu", "--set", "data.frames=9") == 2
    write_clip(mixed / "long.mp4", range(61))
    assert ppl("train", "--out", run, "--resume", "--device", "cpu", "--set", "train.steps=8") == 2
    assert "the images are not those of this run" in capsys.readouterr().err


def test_a_video_is_video_frames_too_and_two_processes_share_it(forks, mixed, tmp_path, tiny_yaml):
    given = ["--device", "cpu", "--data", mixed / "long.mp4", "--set", "data.kind=video_frames", "--set", "train.steps=2"]
    done = forks.run_two("train", tiny_yaml, "--out", tmp_path / "run", *given, prepare=NO_PICTURES)
    assert done.wait() == [0, 0], done.error
    assert "1 video, 60 frames, 60 taken" in done.error
    assert load_model(tmp_path / "run").step == 2


def test_several_videos_and_folders_are_learned_from_as_one_set(mixed, tmp_path, tiny_yaml, no_pictures, capsys):
    stills = tmp_path / "stills"
    stills.mkdir()
    (mixed / "photo-501.png").rename(stills / "photo-501.png")
    config = DataConfig(path=str(mixed / "long.mp4"), also=[str(stills), str(mixed / "short.avi"), str(stills)], frames=15)
    listing = list_part(config, "train", 0, 32)
    images = open_listing(listing, config, 32)
    assert numbers(images) == [*(100 + k for k in spread_out(60, 10)), 501, *range(5)]
    assert listing.names[10:12] == ["stills/photo-501.png", "mixed/short.avi#0"]
    assert images.groups.tolist() == [0] * 10 + [1] + [2] * 5

    given = ["train", tiny_yaml, "--out", tmp_path / "run", "--device", "cpu", "--set", "data.kind=folder"]
    given += ["--set", "train.steps=2"]
    assert ppl(*given, "--data", mixed / "long.mp4", "--data", stills) == 0
    said = capsys.readouterr()
    assert "61 images, in memory" in said.err
    assert said.out.splitlines()[-1].split()[3:5] == [str(mixed / "long.mp4"), str(stills)]  # what to go on with
    assert ppl("eval", tmp_path / "run", "--out", tmp_path / "report", "--device", "cpu") == 0
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert (report["images"], report["data"]["also"]) == (61, [str(stills)])
    assert f"images in {mixed / 'long.mp4'}, {stills}, without annotations" in capsys.readouterr().err

    moved = tmp_path / "moved"
    stills.rename(moved)
    assert ppl("train", "--resume", "--out", tmp_path / "run", "--device", "cpu", "--set", "train.steps=3") == 2
    assert f"{stills}: no such folder or video" in capsys.readouterr().err
    for command in (["eval", tmp_path / "run"], ["export-prior", tmp_path / "run", "--out", tmp_path / "prior"]):
        assert ppl(*command, "--data", mixed, "--data", moved) == 2
        assert f"--data {moved}: {mixed} is given already" in capsys.readouterr().err
    assert ppl(*given, "--overwrite", "--set", "data.kind=coco", "--data", mixed, "--data", moved) == 2
    assert "data.kind coco is one folder" in capsys.readouterr().err


def test_a_video_alone_is_learned_from_and_a_broken_one_is_an_error(mixed, tmp_path, tiny_yaml, no_pictures, capsys):
    given = ["--device", "cpu", "--set", "data.kind=folder", "--set", "train.steps=4"]
    assert ppl("train", tiny_yaml, "--out", tmp_path / "a", "--data", mixed / "long.mp4", *given) == 0
    said = capsys.readouterr().err
    assert "1 video, 60 frames, 60 taken" in said
    assert "60 frames, in memory" in said
    broken = write_text(tmp_path / "text.mp4")
    assert ppl("train", tiny_yaml, "--out", tmp_path / "b", "--data", broken, *given) == 1
    assert "text.mp4: not a video" in capsys.readouterr().err.splitlines()[-1]
    assert ppl("train", tiny_yaml, "--out", tmp_path / "c", "--data", mixed / "long.mp4", *given, "--set", "data.frames=0") == 2
    assert "data.frames=0 leaves videos out" in capsys.readouterr().err
