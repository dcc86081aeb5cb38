"""`ppl export-prior` from the command line: files, round trip through training, other tools, bad input."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ppl_cli.api.export import export_prior
from ppl_cli.checkpoints.model_file import Known, load_model, save_model
from ppl_cli.errors import UsageError
from ppl_cli.prior.prior import load_prior, save_prior
from tests import conftest
from tests.conftest import lively_model


def ppl(*arguments) -> int:
    return conftest.ppl(*arguments, "--device", "cpu")


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


def test_everything_is_written_and_fits_together(run, tmp_path):
    out = tmp_path / "prior"
    assert ppl("export-prior", run, "--out", out, "--prototypes", 4, "--format", "coco,sleap,deeplabcut") == 0
    prior = load_prior(out / "prior.json")
    model = load_model(run).model
    assert np.allclose(prior.points, model.distil_prior().numpy())
    assert np.allclose(prior.weights, model.link_weights().detach().numpy())
    assert 1 <= len(prior.prototypes) <= 4
    assert sum(prototype.frequency for prototype in prior.prototypes) == pytest.approx(1)
    assert len(prior.banks) == 3
    assert all(sum(bank.use) == pytest.approx(1) for bank in prior.banks)
    assert prior.prototypes[0].nearest_image.startswith("figure ")
    for name in ("skeleton.png", "links.png", "prototypes.png", "banks.png"):
        assert min(Image.open(out / name).size) > 150, name
    assert Image.open(out / "evolution.gif").n_frames == 2  # steps 0 and 6
    svg = (out / "skeleton.svg").read_text()
    assert svg.count("<circle") == 5

    links = [list(pair) for pair in prior.strong_links()]
    category = json.loads((out / "categories.json").read_text())["categories"][0]
    assert category["keypoints"] == [f"k{k}" for k in range(5)]
    assert category["skeleton"] == [[i + 1, j + 1] for i, j in links]
    deeplabcut = yaml.safe_load((out / "skeleton.deeplabcut.yaml").read_text())
    assert deeplabcut == {"bodyparts": prior.names, "skeleton": [[f"k{i}", f"k{j}"] for i, j in links]}
    assert sleap_links(json.loads((out / "skeleton.sleap.json").read_text())) == (prior.names, links)


def sleap_links(content):
    """Names and links as a reader of jsonpickle resolves them."""
    known, names = [], {}

    def resolve(value):
        if "py/id" in value:
            return known[value["py/id"] - 1]
        known.append(value.get("py/state", {}).get("py/tuple", ["edge"])[0])
        return known[-1]

    pairs = []
    for link in content["links"]:
        source, target = resolve(link["source"]), resolve(link["target"])
        assert resolve(link["type"]) == "edge"
        pairs.append([source, target])
    names = [resolve(node["id"]) for node in content["nodes"]]
    return names, [[names.index(a), names.index(b)] for a, b in pairs]


def test_in_python_it_returns_what_it_wrote_and_is_silent(run, tmp_path, capsys):
    done = export_prior(run, tmp_path / "prior", prototypes=2, formats=("sleap",), device="cpu")
    assert capsys.readouterr().out == ""
    assert done.folder == tmp_path / "prior"
    assert done.page.is_file()
    assert (done.folder / "skeleton.sleap.json").is_file()
    assert not (done.folder / "categories.json").exists()
    assert done.prior.points.shape == (5, 2)
    assert done.prior.weights.shape == (5, 5)
    assert done.prior == load_prior(done.folder / "prior.json")
    assert np.array_equal(done.prior.prototypes[0].points, done.prior.prototypes[0].keypoints)
    with pytest.raises(UsageError, match="already holds prior"):
        export_prior(run, tmp_path / "prior", device="cpu")
    with pytest.raises(UsageError, match="--format xml: expected any of coco, sleap, deeplabcut"):
        export_prior(run, tmp_path / "other", formats="xml", device="cpu")
    for wrong in ({"prototypes": "9"}, {"prototypes": 2.5}, {"prototypes": -1}, {"prototypes": 5000}, {"data": ["photos"]}):
        with pytest.raises(UsageError, match=rf"{next(iter(wrong))} is .*: expected"):
            export_prior(run, tmp_path / "other", **wrong, device="cpu")
    assert not (tmp_path / "other").exists()


def test_export_import_export_gives_the_same_file(run, tmp_path):
    assert ppl("export-prior", run, "--out", tmp_path / "a") == 0
    save_prior(tmp_path / "again.json", load_prior(tmp_path / "a/prior.json"))
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "a/prior.json").read_bytes()
    assert ppl("export-prior", run, "--out", tmp_path / "b") == 0
    assert (tmp_path / "b/prior.json").read_bytes() == (tmp_path / "a/prior.json").read_bytes()


@pytest.mark.usefixtures("no_pictures")
def test_a_frozen_prior_comes_through_training_as_it_was(run, tmp_path, tiny_yaml):
    assert ppl("export-prior", run, "--out", tmp_path / "a") == 0
    given = tmp_path / "a/prior.json"
    again = ("train", tiny_yaml, "--init-prior", given, "--freeze", "keypoints,links", "--set", "seed=3")
    assert ppl(*again, "--out", tmp_path / "frozen") == 0
    assert ppl("export-prior", tmp_path / "frozen", "--out", tmp_path / "b") == 0
    first, second = (load_prior(tmp_path / name / "prior.json") for name in "ab")
    assert np.array_equal(first.points, second.points)
    assert np.allclose(first.weights, second.weights, atol=1e-6)
    # The file is not needed any more, neither to load nor to go on.
    shutil.rmtree(tmp_path / "a")
    assert ppl("train", tiny_yaml, "--out", tmp_path / "frozen", "--resume", "--set", "train.steps=8") == 0
    assert np.array_equal(load_prior(tmp_path / "frozen/prior.json").points, first.points)


VARIANTS = [
    ("memory", "random", "[]"),
    ("memory", "random", "[links]"),
    ("memory", "given", "[]"),
    ("memory", "given", "[links]"),
    ("given", "random", "[]"),
    ("given", "random", "[links]"),
    ("given", "random", "[keypoints]"),
    ("given", "given", "[]"),
    ("given", "given", "[keypoints]"),
    ("given", "given", "[links]"),
    ("given", "given", "[keypoints, links]"),
]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("keypoints", "links", "freeze"), VARIANTS)
def test_the_eleven_ways_to_start_from_a_prior(run, tmp_path, tiny_yaml, keypoints, links, freeze):
    chosen = (f"prior.keypoints={keypoints}", f"prior.links={links}", f"prior.freeze={freeze}")
    settings = (*chosen, "train.learning_rate=0.01", "train.steps=2", "data.figures=8")
    options = [word for setting in settings for word in ("--set", setting)]
    out = tmp_path / "started"
    assert ppl("train", tiny_yaml, "--init-prior", run / "prior.json", "--out", out, *options) == 0
    given, start, end = (
        load_prior(file) for file in (run / "prior.json", out / "samples/prior-000000.json", out / "prior.json")
    )
    assert np.array_equal(start.points, given.points) == (keypoints == "given")
    assert np.allclose(start.weights, given.weights, rtol=1e-4, atol=1e-5) == (links == "given")
    assert np.array_equal(start.points, end.points) == ("keypoints" in freeze)
    assert np.array_equal(start.weights, end.weights) == ("links" in freeze)


@pytest.mark.usefixtures("no_pictures")
def test_a_prior_drawn_by_hand_starts_training(tmp_path, tiny_yaml):
    links = np.zeros((5, 5))
    for i in range(4):
        links[i, i + 1] = links[i + 1, i] = 1.0
    names = ["head", "neck", "hip", "knee", "foot"]
    content = {
        "format_version": 1,
        "keypoints": [{"name": name, "x": 0.0, "y": -0.8 + 0.4 * k} for k, name in enumerate(names)],
        "links": links.tolist(),
    }
    (tmp_path / "drawn.json").write_text(json.dumps(content))
    short = ("--set", "train.steps=2")
    assert ppl("train", tiny_yaml, "--init-prior", tmp_path / "drawn.json", "--out", tmp_path / "run", *short) == 0
    start = load_prior(tmp_path / "run/samples/prior-000000.json")
    assert np.allclose(start.weights, links, atol=2e-6)
    assert start.strong_links() == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert ppl("export-prior", tmp_path / "run", "--out", tmp_path / "out") == 0
    assert load_prior(tmp_path / "out/prior.json").names == names
    assert json.loads((tmp_path / "out/categories.json").read_text())["categories"][0]["keypoints"] == names
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    assert ppl("infer", tmp_path / "run", tmp_path / "x.png", "--out", tmp_path / "poses") == 0
    assert (
        (tmp_path / "poses/keypoints.csv")
        .read_text()
        .splitlines()[1]
        .startswith('x.png,"ok, but unlike the training images",head,')
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--init-prior", "nowhere.json"), "nowhere.json: No such file"),
        (("--init-prior", "bad.json"), "is not JSON"),
        (("--init-prior", "RUN", "--set", "model.keypoints=7"), "has 5 keypoints, the model 7: add --set model.keypoints=5"),
        (("--freeze", "keypoints"), "only given keypoints can be frozen"),
        (("--freeze", "poses", "--init-prior", "RUN"), "write keypoints, links or keypoints,links"),
        (("--set", "prior.links=given"), "add --init-prior FILE"),
    ],
)
def test_a_prior_that_does_not_fit_is_one_line(run, tmp_path, tiny_yaml, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    words = [str(run / "prior.json") if word == "RUN" else word for word in arguments]
    capsys.readouterr()
    assert ppl("train", tiny_yaml, "--out", tmp_path / "new", *words) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert expected in error[0]
    assert not (tmp_path / "new").exists()


def test_prototypes_of_images_name_the_nearest(run, pictures, tmp_path, capsys):
    (pictures / "broken.jpg").write_text("no")
    assert ppl("export-prior", run, "--out", tmp_path / "out", "--data", pictures, "--prototypes", 3) == 0
    prior = load_prior(tmp_path / "out/prior.json")
    assert {prototype.nearest_image for prototype in prior.prototypes} <= {
        *(f"{i}.jpg" for i in range(6)),
        "sub/6.png",
        "sub/7.png",
    }
    assert "1 unreadable image is left out: broken.jpg" in capsys.readouterr().err
    assert len({prototype.nearest_image for prototype in prior.prototypes}) == len(prior.prototypes)  # of its own each
    page = (tmp_path / "out/prior.html").read_text()
    assert page.count("data:image/jpeg;base64") == len(prior.prototypes)


def test_images_unlike_those_of_the_training_are_counted_and_said(tiny, pictures, tmp_path, capsys):
    file, model = tmp_path / "model.safetensors", lively_model(tiny)
    save_model(file, model, tiny, 7, conftest.measured(model, tiny, limit=1e-6))
    assert ppl("export-prior", file, "--out", tmp_path / "out", "--data", pictures) == 0
    assert "note: 8 of 8 images are unlike those that the model was trained on, and counted" in capsys.readouterr().err


def test_a_model_file_alone_still_has_a_prior(tmp_path, tiny, capsys):
    config = tiny.model_copy(update={"data": tiny.data.model_copy(update={"kind": "folder"})})
    file = tmp_path / "model.safetensors"
    save_model(file, lively_model(tiny), config, 7)
    assert ppl("export-prior", file, "--out", tmp_path / "bare") == 0
    assert "does not remember training poses" in capsys.readouterr().err
    assert load_prior(tmp_path / "bare/prior.json").prototypes == []
    tokens = torch.randint(0, 4, (30, 3), generator=torch.Generator().manual_seed(0))
    save_model(file, lively_model(tiny), config, 7, Known(tokens))
    assert ppl("export-prior", file, "--out", tmp_path / "known") == 0
    prior = load_prior(tmp_path / "known/prior.json")
    assert len(prior.prototypes) == 9
    assert np.allclose(prior.banks[0].use, np.bincount(tokens[:, 0], minlength=4) / 30)


def test_the_page_needs_nothing_else_and_no_name_can_break_it(run, tmp_path):
    prior = load_prior(run / "prior.json")
    prior.keypoints[0].name = "</script><script>alert(1)</script>"
    from ppl_cli.drawing.page import save_page

    save_page(tmp_path / "prior.html", prior, [])
    page = (tmp_path / "prior.html").read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "</script><script>alert" not in page
    content = re.search(r'<script type="application/json" id="prior">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(content)["keypoints"][0]["name"] == "</script><script>alert(1)</script>"


def test_what_lies_in_samples_cannot_stop_an_export(run, tmp_path, capsys):
    (run / "samples/prior-copy.json").write_text("{}")
    (run / "samples/prior-000001.json").write_text("{")
    assert ppl("export-prior", run, "--out", tmp_path / "out") == 0
    assert "left out of evolution.gif" in capsys.readouterr().err
    assert Image.open(tmp_path / "out/evolution.gif").n_frames == 2


@pytest.mark.usefixtures("no_pictures")
def test_links_of_zero_give_no_skeleton(run, tmp_path, tiny_yaml):
    prior = load_prior(run / "prior.json")
    prior.links = np.zeros((5, 5)).tolist()
    save_prior(tmp_path / "none.json", prior)
    out = tmp_path / "started"
    options = ("--init-prior", tmp_path / "none.json", "--freeze", "links", "--set", "train.steps=2")
    assert ppl("train", tiny_yaml, "--out", out, *options) == 0
    assert load_prior(out / "prior.json").strong_links() == []


def test_of_several_processes_one_exports(run, tmp_path, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert ppl("export-prior", run, "--out", tmp_path / "out") == 0
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("RANK", "0")
    assert ppl("export-prior", run, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out/prior.json").is_file()


def test_an_export_is_not_written_over(run, tmp_path, capsys):
    assert ppl("export-prior", run, "--out", tmp_path / "out") == 0
    assert ppl("export-prior", run, "--out", tmp_path / "out") == 2
    assert "already holds prior.json" in capsys.readouterr().err
    assert ppl("export-prior", run, "--out", tmp_path / "out", "--overwrite", "--prototypes", 0) == 0
    assert not (tmp_path / "out/prototypes.png").exists()
    assert ppl("export-prior", run, "--out", tmp_path / "x", "--format", "xml") == 2
