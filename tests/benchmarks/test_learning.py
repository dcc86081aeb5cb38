"""The benchmark's own promises: rows that load, results that only grow, keypoints told to be on the object or beside it."""

import json
import sys

import numpy as np
import pytest

from ppl_cli.cli.train import parse_settings
from ppl_cli.config.loading import load_config
from ppl_cli.data.figures import figure_keypoints
from ppl_cli.data.frame import Frame
from ppl_cli.evaluation.protocols import Sample
from tests.benchmarks import from_above, learning, moving_camera
from tests.benchmarks.outlines import on_outline


def test_every_row_is_a_configuration_of_its_own():
    for size in learning.SIZES.values():
        for data in learning.SETS.values():
            load_config("folder", parse_settings([*size, *data]))
    size, video = learning.SIZES["cpu"], learning.SETS["tiger"]
    seen = [load_config("folder", parse_settings([*size, *video, *settings])) for settings in learning.ROWS.values()]
    assert all(seen[i] != seen[j] for i in range(len(seen)) for j in range(i))


def made_up(error: float) -> dict:
    return {"regression": error, "ridge": error - 1, "mean_pose": 8.0, "collapsed": error > 7, "spread": 0.3} | {
        "spread_of_truth": 0.4,
        "on_object": 0.5,
        "perplexity": 9.0,
    }


def test_results_go_on_where_they_stopped_and_are_averaged_over_seeds(tmp_path, monkeypatch, capsys):
    trained = []

    def train(row, data, seed, size, out, device):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((row, seed))
        return {"seconds": 1, "cpu_seconds": 2, "settings": []}

    monkeypatch.setattr(learning, "train", train)
    monkeypatch.setattr(learning, "examine", lambda out, data, device: made_up(4.0 + 2 * len(trained)))
    arguments = ["learning", str(tmp_path), "--rows", "paper,ppl", "--sets", "figures", "--seeds", "0,1"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(KeyboardInterrupt):
        learning.main()
    trained.remove(("paper", 0))
    learning.main()
    assert trained == [("ppl", 0), ("paper", 1), ("ppl", 1)]
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["row"], line["seed"]) for line in lines] == [("paper", 0), ("ppl", 0), ("paper", 1), ("ppl", 1)]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| figures")]
    assert table[0].startswith("| figures | paper | 2 | 8.00 ± 2.83 | 7.00 ± 2.83 | 8.00 | 1 of 2 | 0.75 | 50 % |")


def test_joints_of_figures_are_on_the_figure_and_corners_are_not(tiny):
    frame = Frame(32, 32, 32)
    joints = [(frame.to_pixels(figure_keypoints(i, tiny.seed + 10**6)) + 0.5) / 32 for i in range(4)]
    corners = np.broadcast_to([[0.0, 0.0], [1.0, 0.0]], (4, 2, 2))
    for found, share in ((np.stack(joints), 1.0), (corners, 0.0)):
        sample = Sample([f"figure {i}" for i in range(4)], found, np.stack(joints), np.full((4, 2), 32))
        assert learning.on_limbs(sample, "figures", tiny) == share


def test_the_camera_pans_and_joints_are_on_the_figure(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(moving_camera, "FIT", 4)
    monkeypatch.setattr(moving_camera, "TEST", 2)
    folder = moving_camera.write_video(tmp_path / "video", tiny.seed)
    fit, test = (json.loads((folder / f"{part}.json").read_text()) for part in ("train", "test"))
    assert [image["file_name"] for image in test["images"]] == ["test/00004.png", "test/00005.png"]
    lefts = [moving_camera.view(frame, tiny.seed)[0] for frame in range(6)]
    assert lefts[5] - lefts[0] > moving_camera.SIZE
    keypoints = np.array([annotation["keypoints"] for annotation in fit["annotations"]]).reshape(4, -1, 3)[..., :2]
    found = (keypoints + 0.5) / moving_camera.SIZE
    sample = Sample([image["file_name"] for image in fit["images"]], found, found, np.full((4, 2), moving_camera.SIZE))
    assert learning.on_limbs(sample, "panned", tiny) == 1


def test_the_lizard_turns_round_and_joints_are_on_it(tiny, tmp_path, monkeypatch):
    for part in ("TRAIN", "FIT", "TEST"):
        monkeypatch.setattr(from_above, part, 60)
    folder = from_above.write_one_way(tmp_path / "video", tiny.seed)
    assert not (folder / "train.json").exists()
    frames = {part: [int(image.stem) for image in sorted((folder / part).glob("*.png"))] for part in ("train", "fit", "test")}
    assert len({frame for part in frames.values() for frame in part}) == 180
    heads = {part: np.degrees([from_above.heading(frame, tiny.seed) for frame in of]) for part, of in frames.items()}
    assert (abs(heads["train"]) >= 130).all()
    assert all(len(set((heads[part] // 90).tolist())) == 4 for part in ("fit", "test"))
    fit = json.loads((folder / "fit.json").read_text())
    keypoints = np.array([annotation["keypoints"] for annotation in fit["annotations"]]).reshape(60, -1, 3)[..., :2]
    found = (keypoints + 0.5) / from_above.SIZE
    sample = Sample([image["file_name"] for image in fit["images"]], found, found, np.full((60, 2), from_above.SIZE))
    assert learning.on_limbs(sample, "from_above", tiny) == 1


def test_near_the_hull_is_on_the_object():
    truth = np.array([[[0.3, 0.3], [0.7, 0.3], [0.5, 0.7]]])
    found = np.array([[[0.5, 0.4], [0.5, 0.26], [0.5, 0.2], [0.9, 0.9]]])
    assert learning.on_hull(Sample(["a"], found, truth, np.full((1, 2), 100), list("abc"))) == 0.5
    assert learning.spread_of(truth) == pytest.approx(2 * np.mean(np.std(truth[0], 0, ddof=1)))


def test_near_the_outline_is_on_the_mouse():
    """Of the first outline: its back, the gap above its tail, the wheel below its belly, and the middle seen from below."""
    found = np.array([[[0.5, 0.05], [0.05, 0.1], [0.5, 0.38], [0.5, 0.75]]])
    sample = Sample(["test/045.jpg"], found, found, np.full((1, 2), 192), list("abcd"))
    assert on_outline(sample, 0.05) == 0.5
    assert on_outline(sample, 0.12) == 0.75  # the wheel begins 10 % below the paws
