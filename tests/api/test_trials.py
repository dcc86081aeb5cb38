"""`ppl_cli.api.trials.compare`, and `ppl train --seeds` and `--try` on top of it."""

import json
import shutil
import signal

import pytest
import torch

import ppl_cli.api.train
import ppl_cli.api.trials
from ppl_cli.api.trials import compare
from ppl_cli.api.unlabelled import report_training
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.cli.train import count_seeds
from ppl_cli.device import Compute
from ppl_cli.errors import InterruptedRunError, PPLError, UsageError
from ppl_cli.lock import locked
from ppl_cli.runtime import Runtime
from ppl_cli.training.trials import Trials, read_trials, unfinished
from tests.api.test_train import ppl
from tests.forks import NO_PICTURES

SEEDS = Trials("seed", (0, 1), keep_best=True)
SHORT = {"train.steps": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def reports(monkeypatch, no_pictures):
    """Trainings report a score alone, in which seed 1 is the best."""

    def report(run, listing, say):
        content = {"model": str(run.folder), "score": 1.5 if run.config.seed == 1 else 1.1, "keypoints": [], "bank_use": 1}
        (run.folder / "report.json").write_text(json.dumps(content))
        return run

    monkeypatch.setattr(ppl_cli.api.train, "report_training", report)


@pytest.fixture
def stopping(monkeypatch, reports):
    """A function that makes the training of a trial raise an error, when it has come to its end."""
    train = ppl_cli.api.trials.train

    def stop(name: str, error: Exception) -> None:
        def stopped(config, out, **how):
            train(config, out=out, **how)
            if out.name == name:
                (out / "report.json").unlink()
                raise error

        monkeypatch.setattr(ppl_cli.api.trials, "train", stopped)

    return stop


def test_the_best_of_two_seeds_becomes_the_run_itself_and_the_other_stays(tiny_yaml, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    words = ("train", tiny_yaml, "--out", out, "--set", "train.steps=1", "--device", "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(ppl_cli.api.train, "report_training", report_training)
        code, printed, error = ppl(capsys, *words, "--seeds", 2, "--keep", "best")
    assert code == 0, error
    trials = read_trials(out)
    reports = {place: json.loads((place / "report.json").read_text()) for place in (out, *out.glob("seed-?"))}
    assert len(reports) == 2
    assert reports[out]["score"] == max(report["score"] for report in reports.values())
    assert f"{trials.kept} is the run in {out}" in printed
    assert "movement" in printed, "as the report calls it, in the same unit"
    row = next(line for line in printed.splitlines() if "kept" in line)
    useful = [keypoint["shift"] for keypoint in reports[out]["keypoints"] if keypoint["useful"]]
    assert f"{sum(useful) / max(len(useful), 1):.2f}" in row
    assert "even the best one has hardly learned poses" in error
    assert reports[out]["model"] == str(out)
    assert f"<h1>{out}, judged without labels</h1>" in (out / "report.html").read_text(encoding="utf-8")
    assert load_model(out).config.seed == trials.folders[trials.kept]
    assert not unfinished(out)
    # It is a run as any other: it goes on, and others replace it with all that stands beside it.
    assert ppl(capsys, "train", "--out", out, "--resume", "--set", "train.steps=2", "--device", "cpu")[1].startswith("2 steps")
    assert ppl(capsys, *words)[0] == 2
    assert ppl(capsys, *words, "--overwrite")[0] == 0
    assert not {"trials.json", "seed-0", "seed-1", "seed-0.yaml"} & {path.name for path in out.iterdir()}


def test_the_lock_that_a_killed_training_left_does_not_replace_ours(tmp_path):
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / ".lock").write_text("1")
    (tmp_path / "seed-0" / "metrics.csv").write_text("")
    Trials("seed", (0, 1), kept="seed-0").write(tmp_path)
    with locked(tmp_path):
        ours = (tmp_path / ".lock").stat().st_ino
        ppl_cli.api.trials.move_kept(tmp_path)
        assert (tmp_path / ".lock").stat().st_ino == ours
    assert {path.name for path in tmp_path.iterdir()} == {"trials.json", "metrics.csv"}


def test_trials_that_were_stopped_go_on_where_they_were(tiny_yaml, tmp_path, stopping):
    stopping("seed-1", InterruptedRunError("stopped at step 1"))
    with pytest.raises(
        InterruptedRunError, match=r"seed-1 was stopped, everything is saved; go on with: ppl train --out .*run --resume"
    ):
        compare(SEEDS, tiny_yaml, tmp_path / "run", **SHORT)
    first = (tmp_path / "run" / "seed-0" / "model.safetensors").stat().st_mtime_ns
    stopping("none", InterruptedRunError())
    with pytest.raises(UsageError, match="other values are tried, seed=0,1"):
        compare(Trials("seed", (0, 1, 2)), None, tmp_path / "run", resume=True)
    assert compare(resume=True, out=tmp_path / "run", device="cpu").trials.kept == "seed-1"
    assert first in {file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("model.safetensors")}


def test_the_command_with_resume_goes_on_and_other_settings_are_refused(tiny_yaml, tmp_path, capsys, stopping):
    stopping("seed-5", InterruptedRunError("stopped at step 1"))
    out, device = tmp_path / "run", ("--device", "cpu")
    words = (
        "train",
        tiny_yaml,
        "--out",
        out,
        *device,
        "--set",
        "train.steps=1",
        "--set",
        "train.jitter=0.01",
        "--set",
        "seed=5",
    )
    assert ppl(capsys, *words, "--seeds", 2)[0] == 130
    for more in ((), ("--seeds", 2)):
        code, _, error = ppl(capsys, *words, *more, "--resume", "--set", "train.steps=2")
        assert (code, error.count("\n")) == (2, 1)
        assert f"train.steps was 1 in the trials in {out} and cannot become 2; leave it out, or choose another --out" in error
    code, _, error = ppl(capsys, "train", "quickstart", "--out", out, *device, "--resume")
    assert (code, "name was tiny in the trials" in error) == (2, True)
    (out / "seed-6.yaml").rename(tmp_path / "seed-6.yaml")
    code, _, error = ppl(capsys, *words, "--seeds", 2, "--resume")
    assert (code, f"{out / 'seed-6.yaml'} is missing" in error) == (2, True)
    (tmp_path / "seed-6.yaml").rename(out / "seed-6.yaml")
    stopping("none", InterruptedRunError())
    assert ppl(capsys, *words, "--seeds", 2, "--resume")[0] == 0
    runs = [load_model(out / f"seed-{seed}") for seed in (5, 6)]
    assert [(run.step, run.config.seed, run.config.train.jitter) for run in runs] == [(1, 5, 0.01), (1, 6, 0.01)]


def test_images_may_have_moved_when_trials_go_on(tiny_yaml, tmp_path, pictures, stopping):
    out, settings = tmp_path / "run", SHORT | {"data.kind": "folder", "reference.kind": "mask"}
    stopping("seed-0", InterruptedRunError("stopped at step 1"))
    with pytest.raises(InterruptedRunError):
        compare(SEEDS, tiny_yaml, out, **settings, **{"data.path": str(pictures)})
    moved = pictures.rename(tmp_path / "moved")
    with pytest.raises(InterruptedRunError):
        compare(resume=True, out=out, device="cpu", **{"data.path": str(moved)})
    (tmp_path / "others").mkdir()
    shutil.copy(moved / "1.jpg", tmp_path / "others")
    with pytest.raises(
        UsageError, match=r"the images in .*others are not those that the trials .* \(they had 8 images, \w+, now 1 im"
    ):
        compare(resume=True, out=out, device="cpu", **{"data.path": str(tmp_path / "others")})
    stopping("none", InterruptedRunError())
    assert compare(resume=True, out=out, device="cpu").best == "seed-1"  # also where that is not said once more
    assert {load_model(place).config.data.path for place in (out, out / "seed-0")} == {str(moved)}


def test_the_wish_to_keep_the_best_may_come_later_and_the_folder_is_the_latest(tiny_yaml, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("train", tiny_yaml, "--set", "train.steps=1", "--device", "cpu")
    assert "the best one: runs/tiny-1/seed-1" in ppl(capsys, *words, "--seeds", 2)[1]
    for more in ((), ("--seeds", 2)):
        code, printed, error = ppl(capsys, *words, "--resume", "--keep", "best", *more)
        assert code == 0, error
        assert "seed-1 is the run in runs/tiny-1" in printed
    assert load_model("runs/tiny-1").config.seed == 1
    code, _, error = ppl(capsys, *words, "--resume", "--keep", "best")
    assert (code, "runs/tiny-1 is the best of its trainings already" in error) == (2, True)


def test_two_processes_try_together_and_go_on_after_a_kill_within_the_move(forks, tiny_yaml, tmp_path):
    """The leader moves while the other process is free to look."""
    reporting = """
import json, os, time
from ppl_cli.api import train, trials
def report(run, listing, say):
    (run.folder / "report.json").write_text(json.dumps({"model": "", "score": run.config.seed, "keypoints": [], "bank_use": 1}))
    return run
train.report_training = report
"""
    moving = """
class Moving:
    def replace(self, source, target):
        if KILLED:
            os.kill(os.getpid(), 9)
        time.sleep(0.5 * (source.name == "report.json"))
        os.replace(source, target)
trials.os = Moving()
"""
    out, prepare = tmp_path / "run", NO_PICTURES + reporting + moving
    words = ("--out", out, "--device", "cpu", "--set", "train.steps=1", "--seeds", 2, "--keep", "best")
    done = forks.run_two("train", tiny_yaml, *words, prepare=f"{prepare}KILLED = True")
    assert done.wait() == [-signal.SIGKILL, 1], done.error
    assert (out / "seed-1").is_dir()
    done = forks.run_two("train", "--out", out, "--resume", "--device", "cpu", prepare=f"{prepare}KILLED = False")
    assert done.wait() == [0, 0], done.error
    assert done.out.count("seed-1 is the run in") == 1
    assert load_model(out).config.seed == 1
    assert load_model(out / "seed-0").step == 1
    assert not (out / "seed-1").exists()


def test_a_training_that_fails_is_named_and_the_others_are_compared(tiny_yaml, tmp_path, stopping):
    said = []
    stopping("keypoints-4", PPLError("step 7: a loss is no longer a number"))
    trials = Trials("model.keypoints", (4, 5))
    compared = compare(trials, tiny_yaml, tmp_path / "run", **SHORT | {"device": Runtime("cpu", say=said.append)})
    assert "keypoints-4 failed and is left out: step 7: a loss is no longer a number" in said
    assert (list(compared.reports), compared.best, compared.trials.kept) == (["keypoints-5"], "keypoints-5", None)
    assert load_model(tmp_path / "run" / "keypoints-5").config.model.keypoints == 5
    stopping("keypoints-4", PPLError("still"))
    assert compare(resume=True, out=tmp_path / "run", device="cpu").best == "keypoints-5"


def test_a_move_that_was_killed_is_brought_to_its_end(tiny_yaml, tmp_path, monkeypatch):
    out, replace, moved = tmp_path / "run", ppl_cli.api.trials.os.replace, []

    def killed(source, target):
        if source.parent.name != target.parent.name and moved.append(source.name) is None and len(moved) == 3:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(ppl_cli.api.trials.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            compare(SEEDS, tiny_yaml, out, **SHORT)
    assert unfinished(out)
    compared = compare(resume=True, out=out, device="cpu")
    assert load_model(out).config.seed == SEEDS.folders[compared.trials.kept]
    assert len(compared.reports) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", 1), "greater than or equal to 2"),
        (("--keep", "best"), "add --seeds 3"),
        (("--try", "keypoints=6,8", "--try", "seed=1,2"), "--try seed=1,2: one field at a time, and keypoints=6,8 is given"),
        (("--try", "keypoints=6"), "expected two values or more"),
        (("--try", "keypoints=6,6"), "all different"),
        (("--try", "keypoints=6,x"), "model.keypoints: expected"),
        (("--try", "data.path=a/b,c"), "only numbers and words"),
        (("--seeds", 2, "--try", "keypoints=4,5"), "exclude each other"),
        (("--seeds", 2, "--resume"), "nothing to resume: there is no trials.json"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(tiny_yaml, tmp_path, capsys, words, said):
    code, _, error = ppl(capsys, "train", tiny_yaml, "--out", tmp_path / "run", "--device", "cpu", *words)
    assert (code, said in " ".join(error.replace("│", " ").split())) == (2, True), error
    assert not (tmp_path / "run").exists()


def test_every_trial_is_checked_before_the_first_begins(trained_run, tiny_yaml, tmp_path, capsys):
    words = ("--init-prior", trained_run / "prior.json", "--try", "keypoints=5,6", "--out", tmp_path / "run", "--device", "cpu")
    code, _, error = ppl(capsys, "train", tiny_yaml, *words)
    assert (code, "has 5 keypoints, the model 6" in error) == (2, True), error
    assert not (tmp_path / "run").exists()


def test_seeds_begin_with_that_of_the_configuration(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 40\ndata: {kind: figures}")
    assert count_seeds(3, str(tmp_path / "mine.yaml"), {}, None) == (40, 41, 42)
    assert count_seeds(2, str(tmp_path / "mine.yaml"), {"seed": 7}, None) == (7, 8)
    assert count_seeds(2, None, {}, Trials("seed", (5, 6))) == (5, 6)


def test_going_on_names_a_seed_that_is_not_tried_and_images_that_are_not_there(tiny_yaml, tmp_path, stopping):
    out = tmp_path / "run"
    stopping("seed-0", InterruptedRunError("stopped at step 1"))
    with pytest.raises(InterruptedRunError):
        compare(SEEDS, tiny_yaml, out, **SHORT)
    with pytest.raises(UsageError, match="seed=9 is none of what is tried"):
        compare(resume=True, out=out, device="cpu", seed=9)
    before = (out / "seed-0.yaml").read_text()
    with pytest.raises(UsageError, match="typo is not there"):
        compare(resume=True, out=out, device="cpu", **{"data.path": str(tmp_path / "typo")})
    assert (out / "seed-0.yaml").read_text() == before
    stopping("none", InterruptedRunError())
    compare(resume=True, out=out, device="cpu", **{"train.save_every": 7})  # what a run may change, trials may too
    assert all("save_every: 7" in (out / f"seed-{seed}.yaml").read_text() for seed in (0, 1))


def test_too_few_gpus_are_said_before_earlier_trials_are_removed(tiny_yaml, tmp_path, monkeypatch):
    compare(SEEDS, tiny_yaml, tmp_path / "out", **SHORT)
    before = sorted(tmp_path.rglob("*"))
    for name, number in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, str(number))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(Runtime, "compute", lambda self: Compute(torch.device("cuda:0"), "bf16", ""))
    with pytest.raises(UsageError, match="this process sees 1 GPU"):
        compare(SEEDS, tiny_yaml, tmp_path / "out", overwrite=True, device="cuda")
    assert sorted(tmp_path.rglob("*")) == before
