"""`ppl eval` from the command line: numbers against a second computation, files, several models, bad input."""

import json
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.api.evaluate import evaluate
from ppl_cli.checkpoints.model_file import load_model, save_finder, save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.cli.app import expand, spread
from ppl_cli.config.sections import Config, DataConfig
from ppl_cli.data.figures import figure
from ppl_cli.device import choose_compute
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.annotated_data import AnnotatedData, choose_data
from ppl_cli.inference.estimate import Estimator
from ppl_cli.model.finder import OcclusionFinder
from ppl_cli.runtime import Output
from tests.conftest import TINY, ppl
from tests.data import layouts


def run(*arguments) -> int:
    return ppl("eval", *arguments, "--device", "cpu")


@pytest.fixture
def model_file(lively_file, tmp_path):
    return shutil.copy(lively_file, tmp_path / "model.safetensors")


@pytest.fixture(scope="session")
def annotated(tmp_path_factory):
    """Figures with COCO annotations; not to be changed."""
    folder = tmp_path_factory.mktemp("annotated")
    layouts.coco(folder)
    return folder


@pytest.fixture
def data(annotated, tmp_path):
    return shutil.copytree(annotated, tmp_path / "data")


def found_on(model_file, first, count):
    estimator = Estimator(load_model(model_file).model, choose_compute("cpu", "fp32"))
    keypoints = estimator(np.stack([figure(first + i, 32)[0] for i in range(count)])).astype(np.float64)
    return ((keypoints + 1) / 2 * 31 + 0.5) / 32


def test_the_report_agrees_with_a_computation_from_scratch(model_file, data, tmp_path, capsys):
    out = tmp_path / "out"
    code = run(model_file, "--data", data, "--out", out, "--json", "--protocol", "regression,pck,matching")
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "eval.json").read_text())

    found = [found_on(model_file, 0, 40), found_on(model_file, 40, 12)]
    truth = [np.stack([(figure(first + i, 32)[1] + 1) / 2 * 31 for i in range(n)]) for first, n in ((0, 40), (40, 12))]
    for points in truth:
        for i, row in enumerate(points):
            row[[(i + k) % 9 == 0 for k in range(11)]] = np.nan
    truth = [(points + 0.5) / 32 for points in truth]
    errors = np.full((12, 11), np.nan)
    away = np.full((12, 11), np.nan)
    for k in range(11):
        seen = np.isfinite(truth[0][:, k, 0])
        a = np.hstack([found[0][seen].reshape(seen.sum(), -1), np.ones((seen.sum(), 1))])
        weights = np.linalg.solve(a.T @ a, a.T @ truth[0][seen, k])
        z = np.hstack([found[1].reshape(12, -1), np.ones((12, 1))])
        errors[:, k] = np.linalg.norm(z @ weights - truth[1][:, k], axis=-1) * 100
        away[:, k] = np.linalg.norm(truth[0][seen, k].mean(0) - truth[1][:, k], axis=-1) * 100
    protocols = printed["models"][0]["protocols"]
    # The maps are fitted on float32 keypoints of a random model, hence badly conditioned: 1e-5 here, 1e-9 in test_linear.
    assert protocols["regression"]["value"] == pytest.approx(np.nanmean(errors), rel=1e-5)
    assert protocols["regression"]["mean_pose"] == pytest.approx(np.nanmean(away), abs=1e-9)
    per_keypoint = list(protocols["regression"]["per_keypoint"].values())
    assert per_keypoint == pytest.approx(np.nanmean(errors, 0).tolist(), rel=1e-5)
    assert list(protocols["regression"]["per_keypoint"]) == [f"joint{k}" for k in range(11)]
    known = np.isfinite(errors)
    assert protocols["pck@0.05"]["value"] == pytest.approx(100 * (errors[known] <= 5).mean())
    assert set(protocols) == {"regression", "pck@0.05", "pck@0.1", "matching", "matching_squared"}
    for name in ("distribution.png", "cases.png"):
        assert min(Image.open(out / name).size) > 300
    assert printed["data"]["kind"] == "coco"


def test_in_python_the_numbers_are_those_of_the_command(lively_file, annotated, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(lively_file, "--data", annotated, "--out", tmp_path / "out", "--occlusion", "random=0.2", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    report = evaluate(lively_file, annotated, occlusion="random=0.2", device="cpu")
    assert report.to_dict() == printed
    assert capsys.readouterr() == ("", "")
    assert report.folder is None
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert set(report.values) == {"regression", "ridge"}
    assert report.values["ridge"] == printed["models"][0]["protocols"]["ridge"]["value"]
    assert report.mean_pose["ridge"] == printed["models"][0]["protocols"]["ridge"]["mean_pose"]
    assert str(report.values) in repr(report)
    assert len(repr(report)) < 300  # a notebook shows it


def test_reports_come_back_from_other_processes(lively_file, annotated):
    report = evaluate(lively_file, annotated, protocol="ridge,taichi,pck,matching", device="cpu")
    assert pickle.loads(pickle.dumps(report)).to_dict() == report.to_dict()


def test_in_python_a_model_that_is_loaded_already_or_several(lively_file, annotated, tmp_path):
    checkpoint = load_model(lively_file)
    loaded = SimpleNamespace(checkpoint=checkpoint, estimator=Estimator(checkpoint.model, choose_compute("cpu", "fp32")))
    one = evaluate(loaded, annotated, protocol=["ridge"], output=tmp_path / "out")
    assert one.folder == tmp_path / "out"
    assert json.loads((one.folder / "eval.json").read_text()) == one.to_dict()
    for again in (lively_file, f"{lively_file.parent}/", loaded):
        with pytest.raises(UsageError, match=r"is given twice: it would count twice in the mean"):
            evaluate([lively_file, again], annotated, device="cpu")
    copied = shutil.copy(lively_file, tmp_path / "copied.safetensors")
    both = evaluate([loaded, copied], annotated, protocol="ridge", device="cpu")
    assert both.values["ridge"] == pytest.approx(one.values["ridge"])
    assert both.to_dict()["over_models"]["ridge"]["std"] == pytest.approx(0, abs=1e-9)
    assert evaluate(checkpoint, annotated, protocol="ridge", device="cpu").models[0].model == str(lively_file.parent)


def test_paths_may_begin_with_the_home_folder(lively_file, annotated, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = tmp_path / "run"
    shutil.copytree(lively_file.parent, run)
    shutil.copytree(annotated, tmp_path / "annotated")
    report = evaluate("~/run", "~/annotated", protocol="ridge", output=Output(), device="cpu")
    assert report.folder == run / "eval-1"


def test_annotations_of_the_training_are_not_those_of_other_data(tiny, tmp_path):
    (tmp_path / "a").mkdir()
    data = DataConfig(kind="coco", path=str(tmp_path / "a"), annotations=str(tmp_path / "a" / "instances.json"))
    config = tiny.model_copy(update={"data": data})
    assert choose_data(config, AnnotatedData()).annotations == data.annotations
    assert choose_data(config, AnnotatedData(tmp_path / "b", kind="coco")).annotations is None
    (tmp_path / "a").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="is not there any more: give --data FOLDER"):
        choose_data(config, AnnotatedData())


def test_a_model_worse_than_the_mean_pose_is_said_in_words(lively_file, annotated, tmp_path, capsys):
    assert run(lively_file, "--data", annotated, "--out", tmp_path / "out", "--protocol", "matching") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "worse than answering the mean pose" in line]
    assert len(lines) == 1
    assert "matching" in lines[0]
    assert lines[0].removeprefix("note: ") in json.loads((tmp_path / "out/eval.json").read_text())["notes"]


def test_tables_on_stdout_and_the_rest_on_stderr(model_file, data, capsys, tmp_path):
    assert run(model_file, "--data", data, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "regression" in printed.out
    assert "ridge" in printed.out
    assert "mean pose" in printed.out
    assert "joint3" in printed.out
    assert "device cpu" in printed.err


def test_the_occlusion_sweep(model_file, data, tmp_path, capsys):
    out = tmp_path / "out"
    levels = ("--occlusion", "random=0.1,0.4", "center=8", "--iterations", "2")
    assert run(model_file, "--data", data, "--out", out, *levels) == 0
    assert "random 0.4" in capsys.readouterr().out
    sweep = json.loads((out / "eval.json").read_text())["models"][0]
    assert sweep["occlusion"]["whole"] == sweep["protocols"][sweep["occlusion"]["protocol"]]["value"]
    rows = sweep["occlusion"]["iterations"]
    assert list(rows) == ["random 0.1", "random 0.4", "center 8"]
    assert all(len(values) == 3 and np.isfinite(values).all() for values in rows.values())
    assert len({values[0] for values in rows.values()}) == 3
    assert (out / "occlusion.png").is_file()
    # The same holes and numbers whatever the batch.
    again = tmp_path / "again"
    assert run(model_file, "--data", data, "--out", again, *levels, "--batch", "5") == 0
    repeated = json.loads((again / "eval.json").read_text())["models"][0]["occlusion"]["iterations"]
    assert all(np.allclose(rows[name], repeated[name], rtol=1e-4) for name in rows)


@pytest.mark.parametrize(
    ("protocol", "shown"), [(None, "ridge"), ("regression", "regression"), ("matching,regression,ridge", "matching")]
)
def test_ridge_stands_in_for_regression_in_tables_and_pictures(
    model_file, data, tmp_path, capsys, monkeypatch, protocol, shown
):
    drawn = []
    for name in ("save_distribution", "save_cases"):
        monkeypatch.setattr(f"ppl_cli.api.evaluate.{name}", lambda *arguments: drawn.append(arguments))
    chosen = ("--protocol", protocol) if protocol else ()
    assert run(model_file, "--data", data, "--out", tmp_path / "out", "--occlusion", "random=0.1", *chosen) == 0
    tables, model = capsys.readouterr().out, json.loads((tmp_path / "out/eval.json").read_text())["models"][0]
    assert f"{shown} per keypoint" in tables
    assert f"occluded images, {shown} (" in " ".join(tables.split())
    assert model["occlusion"]["protocol"] == shown
    (_, errors, _, its_protocol), (_, rows, cases_protocol) = drawn
    assert its_protocol == cases_protocol == shown
    (errors,) = errors.values()
    assert list(model["per_image"].values()) == pytest.approx(np.nanmean(errors, 1))
    best = rows[0][1][0][-1]
    name = best.split(", ")[1]
    assert best == f"{model['per_image'][name]:.1f} %, {name}"


def test_several_models_give_mean_and_standard_deviation(tmp_path, data, capsys):
    files, values = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        config = Config.model_validate(TINY)
        files.append(tmp_path / f"{seed}.safetensors")
        save_model(files[-1], build_model(config), config, seed)
        values.append(evaluate(files[-1], data, protocol="regression", device="cpu").values["regression"])
    assert run(*files, "--data", data, "--out", tmp_path / "all", "--occlusion", "random=0.2") == 0
    both = json.loads((tmp_path / "all/eval.json").read_text())
    assert both["over_models"]["regression"]["mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert both["over_models"]["regression"]["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-3)
    assert len(both["over_models"]["occlusion"]["random 0.2"]["mean"]) == 5
    assert "mean ± std" in capsys.readouterr().out


def test_a_model_that_cannot_find_what_hides_is_named_before_any_is_measured(model_file, annotated, tmp_path, capsys):
    able = shutil.copy(model_file, tmp_path / "able.safetensors")
    save_finder(able, OcclusionFinder())
    levels = (
        "--data",
        annotated,
        "--occlusion",
        "random=0.1",
        "--iterations",
        "1",
        "--method",
        "found",
        "--out",
        tmp_path / "o",
    )
    assert run(able, *levels) == 0
    capsys.readouterr()
    assert run(able, model_file, *levels, "--overwrite") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"{model_file}: method found: this model has not learned to find what hides the object" in lines[0]


def test_options_that_take_several_words():
    words = ["eval", "--occlusion", "random=0.1", "center=4", "run"]
    assert spread(words) == ["eval", "--occlusion", "random=0.1", "--occlusion", "center=4", "run"]
    words = ["--occlusion=random=0.1", "center=4"]
    assert spread(words) == ["--occlusion=random=0.1", "--occlusion", "center=4"]
    assert spread(["--out", "a", "b"]) == ["--out", "a", "b"]


def test_the_shell_may_list_what_to_learn_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "more", "quickstart"):
        (tmp_path / folder).mkdir()
    words = ["train", "folder_small", "--data", "a.mp4", "--data", "b.mov", "--data", "photos", "--out", "more"]
    assert spread(["train", "folder_small", "--data", "a.mp4", "b.mov", "photos", "--out", "more"]) == words
    assert spread(["train", "--data", "photos", "quickstart"]) == ["train", "--data", "photos", "quickstart"]
    assert spread(["train", "--data", "photos", "mine.yaml"]) == ["train", "--data", "photos", "mine.yaml"]
    assert spread(["eval", "--data", "photos", "more"]) == ["eval", "--data", "photos", "more"]
    assert spread(["train", "--data", "missing", "photos"]) == ["train", "--data", "missing", "--data", "photos"]


def test_wildcards_that_a_shell_leaves_to_programs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.mp4", "a.txt"):
        (tmp_path / name).touch()
    assert expand(["train", "--data", "*.mp4", "--set", "name=*"]) == ["train", "--data", "a.mp4", "b.mp4", "--set", "name=*"]
    assert expand(["infer", "*.png"]) == ["infer", "*.png"]


@pytest.mark.parametrize(
    ("make", "kind", "protocol"),
    [
        (layouts.human36m, "h36m", "h36m"),
        (lambda root: layouts.cub(root / "birds.h5"), "h5", "cub"),
        (layouts.taichi, "taichi", "taichi"),
        (layouts.deeplabcut, "deeplabcut", "regression"),
    ],
)
def test_every_data_set_is_recognised_and_measured_by_its_protocol(make, kind, protocol, tmp_path, model_file):
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    assert run(model_file, "--data", tmp_path / "data", "--out", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out/eval.json").read_text())
    assert content["data"]["kind"] == kind
    assert protocol in content["models"][0]["protocols"]


def test_without_data_the_figures_of_training(model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(model_file) == 0
    content = json.loads((tmp_path / "runs/eval-1/eval.json").read_text())
    assert content["data"]["kind"] == "figures"
    assert content["data"]["test_images"] == 40
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    model_file.rename(run_folder / "model.safetensors")
    assert run(run_folder) == 0
    assert run(run_folder) == 0
    assert (run_folder / "eval-2/eval.json").is_file()


def said(capsys, *arguments) -> tuple[int, str]:
    code = run(*arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    return code, lines[-1]


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_keypoints_in_another_order_are_the_same(model_file, data, tmp_path):
    def turn(content: dict) -> None:
        content["categories"][0]["keypoints"].reverse()
        for annotation in content["annotations"]:
            annotation["keypoints"] = np.reshape(annotation["keypoints"], (-1, 3))[::-1].ravel().tolist()

    where = (model_file, "--data", data, "--protocol", "ridge")
    assert run(*where, "--out", tmp_path / "ordered") == 0
    edit(data / "test.json", turn)
    assert run(*where, "--out", tmp_path / "turned") == 0
    ordered, turned = (json.loads((tmp_path / name / "eval.json").read_text())["models"] for name in ("ordered", "turned"))
    assert ordered == turned


def test_a_keypoint_that_no_test_image_has_is_named(model_file, data, tmp_path, capsys):
    edit(data / "test.json", lambda c: [a["keypoints"].__setitem__(slice(9, 12), [0, 0, 0]) for a in c["annotations"]])
    assert run(model_file, "--data", data, "--out", tmp_path / "out") == 0
    name = json.loads((data / "test.json").read_text())["categories"][0]["keypoints"][3]
    assert f"note: keypoints {name} are annotated on no test image: they are not measured" in capsys.readouterr().err


def test_bad_annotations_get_one_line(model_file, data, tmp_path, capsys):
    where = (model_file, "--data", data, "--out", tmp_path / "out", "--overwrite")
    edit(data / "test.json", lambda c: c["annotations"][0]["keypoints"].__setitem__(slice(3, 6), [-40.0, 5.0, 2]))
    (data / "test/001.png").unlink()
    layouts.picture(data / "test/stray.png", 0)
    layouts.picture(data / "top.png", 0)
    assert run(*where) == 0
    err = capsys.readouterr().err
    assert "1 unreadable annotated image is left out: test/001.png: no such file" in err
    assert "1 image beside the annotated ones without an annotation" in err
    assert "1 image with keypoints beyond the edge, used as they are; the first: test/000.png" in err
    code, line = said(capsys, *where, "--strict")
    assert (code, "test/001.png" in line) == (1, True)

    edit(data / "test.json", lambda c: c["images"][2].update(width=99))
    code, line = said(capsys, *where)
    assert code == 2
    assert "test/002.png has 32x32 pixels, its annotation says 99x32: give images of the size that was annotated" in line

    edit(data / "test.json", lambda c: c["images"][2].update(width=32))
    edit(data / "test.json", lambda c: c["categories"][0].update(keypoints=[f"other{k}" for k in range(11)]))
    code, line = said(capsys, *where)
    assert code == 2
    assert "fit and test images have different keypoints" in line

    edit(data / "test.json", lambda c: [a.update(keypoints=[1, 1, 0] * 11) for a in c["annotations"]])
    code, line = said(capsys, *where)
    assert code == 2
    assert "test.json holds no keypoint annotations" in line

    (data / "test.json").unlink()
    code, line = said(capsys, *where, "--kind", "coco")
    assert code == 2
    assert "no COCO file" in line
    (data / "train.json").unlink()
    code, line = said(capsys, *where, "--protocol", "ridge")
    assert code == 2
    assert "holds no annotations: looked for test.json" in line


def test_a_singular_fit_is_said_and_ridge_goes_on(model_file, data, tmp_path, capsys):
    edit(data / "train.json", lambda c: c.update(images=c["images"][:8]))
    assert run(model_file, "--data", data, "--out", tmp_path / "out") == 0
    err = capsys.readouterr().err
    assert "regression: singular fit of keypoints joint0" in err
    assert "11 unknowns" in err
    assert "ridge: singular" not in err
    assert "annotations belong to images that it does not list" in err


def test_fit_images_are_not_measured_on(model_file, data, tmp_path, capsys):
    where = (model_file, "--data", data, "--out", tmp_path / "out", "--overwrite")
    code, line = said(capsys, *where, "--fit", "test.json", "--test", "test.json")
    assert code == 2
    assert "the test images are the fit images" in line
    content = json.loads((data / "train.json").read_text())
    content["images"] = content["images"][:5]
    content["annotations"] = content["annotations"][:5]
    more = json.loads((data / "test.json").read_text())
    for part in ("images", "annotations"):
        for entry in more[part]:
            entry["id"] += 100
            entry["image_id"] = entry["id"]
        content[part] += more[part]
    (data / "mixed.json").write_text(json.dumps(content))
    assert run(*where, "--test", "mixed.json") == 0
    assert "5 of 17 test images also fit the map" in capsys.readouterr().err


def test_keypoints_annotated_on_one_side_only_are_refused(model_file, data, tmp_path, capsys):
    for part, kept in (("train", 0), ("test", 3)):

        def keep(content, kept=kept):
            for annotation in content["annotations"]:
                for k in range(11):
                    annotation["keypoints"][3 * k + 2] = 2 if k == kept else 0

        edit(data / f"{part}.json", keep)
    code, line = said(capsys, model_file, "--data", data, "--out", tmp_path / "out")
    assert code == 2
    assert "no keypoint is annotated both on fit and on test images" in line


def test_names_cannot_break_tables_or_plots(model_file, data, tmp_path, capsys):
    for part in ("train", "test"):
        edit(data / f"{part}.json", lambda c: c["categories"][0]["keypoints"].__setitem__(0, "[/j0]"))
    strange = tmp_path / "$\\foo$[red]"
    strange.mkdir()
    model_file.rename(strange / "model.safetensors")
    assert run(strange, "--data", data, "--out", tmp_path / "out") == 0
    assert "[/j0]" in capsys.readouterr().out


def test_what_was_done_stands_in_the_report(model_file, data, tmp_path):
    (data / "test" / "003.png").unlink()
    out = tmp_path / "out"
    assert run(model_file, "--data", data, "--out", out, "--protocol", "ridge,matching", "--occlusion", "random=0.1") == 0
    content = json.loads((out / "eval.json").read_text())
    assert content["data"]["fit"] == "train.json"
    assert content["data"]["test"] == "test.json"
    assert content["data"]["test_images"] == 11
    assert content["data"]["refinement"] == {"method": "visible"}
    model = content["models"][0]
    assert len(model["per_image"]) == 11
    assert model["protocols"]["ridge"]["penalty_chosen_by"] == "loo"
    assert model["protocols"]["matching"]["keypoints_compared"] == 5  # the model finds 5, 11 are annotated


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--threshold", "6px"), "--threshold belongs to the protocol pck"),
        (("--protocol", "regression", "--penalty", "loo"), "--penalty belongs to the protocol ridge"),
        (("--protocol", "pck", "--threshold", ","), "expected shares of the image side"),
        (("--occlusion", "center=nan"), "whole numbers of patches"),
        (("--kind", "figures"), "draws its own images"),
        (("--protocol", "regresion"), "did you mean regression"),
        (("--kind", "coc"), "did you mean coco"),
        (("--protocol", "h36m"), "this data has 11 keypoints"),
        (("--protocol", "ridge", "--penalty", "-1"), "--penalty -1"),
        (("--protocol", "pck", "--threshold", "6mm"), "--threshold 6mm"),
        (("--protocol", "regression", "--no-bias", "--origin", "middle"), "'middle' is not one of 'corner', 'centre'"),
        (("--swap-table", "x", "--protocol", "h36m"), "'x' is not one of 'corrected', 'published'"),
        (("--occlusion", "random=1.5"), "shares between 0 and 1"),
        (("--data", "nowhere"), "no such folder"),
        (("--test", "none.json"), "no COCO file"),
    ],
)
def test_wrong_options_get_one_line(model_file, data, tmp_path, capsys, arguments, expected):
    where = () if "--data" in arguments else ("--data", data)
    code, line = said(capsys, model_file, *where, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert expected in line
    assert not (tmp_path / "out").exists()


def test_no_model_and_a_report_that_is_there_already(model_file, data, tmp_path, capsys):
    assert said(capsys, "--data", data) == (2, "ppl: Missing argument 'MODEL...' (see ppl eval --help)")
    assert run(model_file, "--data", data, "--out", tmp_path / "out") == 0
    code, line = said(capsys, model_file, "--data", data, "--out", tmp_path / "out")
    assert code == 2
    assert "already holds eval.json" in line


def test_each_report_gets_a_folder_of_its_own_and_a_failed_one_none(trained_run, few_figures, tmp_path, monkeypatch):
    run = shutil.copytree(trained_run, tmp_path / "run")
    found = [evaluate(run, output=Output(), device="cpu").folder.name for _ in range(2)]
    assert found == ["eval-1", "eval-2"]
    monkeypatch.setattr("ppl_cli.api.evaluate.ask_judges", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(run, output=Output(), device="cpu")
    assert not (run / "eval-3").exists()


def test_images_given_as_a_model_get_a_hint(lively_file, pictures, capsys):
    assert ppl("eval", lively_file, pictures) == 2
    assert f"{pictures} holds no model; images are given with --data {pictures}" in capsys.readouterr().err
