"""What can go wrong outside the program: every fault is one line, costs nothing that was done, and the run goes on."""

import csv
import errno
import gc
import itertools
import os
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.cli.app import main
from ppl_cli.config.loading import to_yaml
from ppl_cli.inference import overlays
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.pictures import Pictures
from ppl_cli.lock import locked
from ppl_cli.results.journal import Journal
from ppl_cli.training import loop
from tests.training.test_kills import table


@pytest.fixture
def ppl(capfd):
    """(exit code, the last line of stderr); every line that begins with `ppl: ` is that one."""

    def run(*arguments) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, arguments), "--device", "cpu"])
        error = capfd.readouterr().err.strip()
        assert "Traceback" not in error
        lines = error.splitlines()
        assert [line for line in lines if line.startswith("ppl: ")] == ([lines[-1]] if stopped.value.code else [])
        return stopped.value.code, error if stopped.value.code == 0 else lines[-1]

    return run


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, and a function that remounts it with other options; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only the superuser can mount a disk")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True, capture_output=True)

    yield place, remount
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def file_of(config, tmp_path, pictures=None, **settings):
    data = config.data
    if pictures is not None:
        data = data.model_copy(update={"kind": "folder", "path": str(pictures), "cache_gib": 0})
    train = config.train.model_copy(update=settings)
    place = tmp_path / "config.yaml"
    place.write_text(to_yaml(config.model_copy(update={"data": data, "train": train}), {}))
    return place


def same_weights(first, second) -> bool:
    a, b = (load_file(run / "model.safetensors") for run in (first, second))
    return all(a[name].equal(b[name]) for name in a)


def files(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def used(folder) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*"))


def skipped(folder) -> dict[str, str]:
    with (folder / "skipped.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.usefixtures("no_pictures")
def test_a_full_disk_while_training(ppl, tiny, pictures, tmp_path, disk):
    """Full in each of the files in turn."""
    config = file_of(tiny, tmp_path, pictures)
    assert ppl("train", config, "--out", tmp_path / "whole")[0] == 0
    place, remount = disk
    assert ppl("train", config, "--out", tmp_path / "begun", "--set", "train.steps=1")[0] == 0
    model, state = ((tmp_path / "whole" / name).stat().st_size for name in ("model.safetensors", "training.pt"))
    first = torch.load(tmp_path / "whole" / "training.pt", weights_only=True)
    first["optimiser"]["state"] = {}  # before the first step there is nothing of the optimiser
    torch.save(first, tmp_path / "first.pt")
    begun = (tmp_path / "first.pt").stat().st_size
    others = used(tmp_path / "begun" / "samples") // 2 + 3 * 4096
    sizes = {
        8192: ("config.yaml", "metrics.csv"),
        others + begun // 2: ("training.pt",),
        others + begun + model // 2: ("model.safetensors",),
        others + begun + model + state // 2: ("training.pt",),  # of the second save
    }
    for size, names in sizes.items():
        run = place / f"{size}"
        remount(f"size={size}")
        code, line = ppl("train", config, "--out", run)
        assert code == 1
        assert line.startswith("ppl: cannot write ")
        assert "No space left on device" in line
        assert any(str(run / name) in line for name in names), (line, sizes)
        began = (run / "training.pt").exists()
        assert began == (size > others + begun)
        if (run / "model.safetensors").exists():
            assert load_model(run).step == 0
        remount("size=64m")
        assert ppl("train", config, "--out", run, *(["--resume"] if began else []))[0] == 0
        assert same_weights(run, tmp_path / "whole")
        assert table(run) == table(tmp_path / "whole")
        assert not list(run.rglob(".*"))
        shutil.rmtree(run)
        gc.collect()  # a file that something still maps keeps its place on the disk


@pytest.mark.parametrize("name", ["infer", "refine"])
def test_a_full_disk_while_poses_are_found(ppl, model_file, pictures, tmp_path, disk, name):
    place, remount = disk
    command = [
        name,
        model_file,
        pictures,
        "--batch",
        2,
        "--overlay",
        *(["--gif", "--iterations", 2] if name == "refine" else []),
    ]
    assert ppl(*command, "--out", tmp_path / "whole")[0] == 0
    whole = used(tmp_path / "whole")
    kept = 0
    for share in (0.01, 0.3, 0.6, 0.9, 0.97) if name == "infer" else (0.4, 0.9):
        out = place / f"{share}"
        remount(f"size={int(share * whole)}")
        code, line = ppl(*command, "--out", out)
        assert code in (1, 2)
        assert "cannot write" in line
        assert not (out / "keypoints.csv").exists() or share > 0.9
        kept += (out / ".unfinished").exists()
        remount("size=64m")
        assert ppl(*command, "--out", out, "--resume")[0] == 0
        assert files(out) == files(tmp_path / "whole")
        shutil.rmtree(out)
    assert kept >= (3 if name == "infer" else 2)


@pytest.mark.usefixtures("no_pictures")
def test_a_disk_that_becomes_read_only(ppl, tiny, pictures, tmp_path, monkeypatch):
    """As a disk with errors does; it refuses new files."""
    config = file_of(tiny, tmp_path, pictures)
    assert ppl("train", config, "--out", tmp_path / "whole")[0] == 0
    make_batch = loop.make_batch

    def refusing(*arguments, **settings):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:

        def turning(images, step, *arguments, **settings):
            if step == 4:
                patched.setattr(Path, "touch", refusing)
            return make_batch(images, step, *arguments, **settings)

        patched.setattr(loop, "make_batch", turning)
        code, line = ppl("train", config, "--out", tmp_path / "run")
    assert code == 1
    assert "Read-only file system; what was there before is intact" in line
    assert load_model(tmp_path / "run").step == 3
    assert ppl("train", config, "--out", tmp_path / "run", "--resume")[0] == 0
    assert same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.usefixtures("no_pictures")
def test_a_folder_that_is_read_only(ppl, tiny, pictures, tmp_path, disk, model_file):
    place, remount = disk
    (place / "there").mkdir()
    remount("ro")
    for arguments in (("train", file_of(tiny, tmp_path, pictures)), ("infer", model_file, pictures)):
        for out in (place / "new", place / "there"):
            code, line = ppl(*arguments, "--out", out)
            assert code == 2
            assert line == f"ppl: cannot write to {out}: Read-only file system; choose another folder with --out"


@pytest.mark.usefixtures("no_pictures")
def test_images_that_vanish_or_break_while_training(ppl, tiny, pictures, tmp_path, monkeypatch):
    config = file_of(tiny, tmp_path, pictures, steps=9)
    make_batch = loop.make_batch

    def vanishing(images, step, *arguments, **settings):
        if step == 4:
            (pictures / "0.jpg").unlink()
            (pictures / "1.jpg").write_bytes((pictures / "1.jpg").read_bytes()[:300])
        return make_batch(images, step, *arguments, **settings)

    monkeypatch.setattr(loop, "make_batch", vanishing)
    assert ppl("train", config, "--out", tmp_path / "run")[0] == 0
    found = skipped(tmp_path / "run")
    assert found.pop("0.jpg") == "no such file"
    assert found.pop("1.jpg").startswith("damaged: ")
    assert not found


@pytest.mark.usefixtures("no_pictures")
def test_skipped_images_of_a_streamed_run_survive_its_resuming(ppl, tiny, pictures, tmp_path, monkeypatch):
    """Some are met before the stop, some after; one listing in the end, as of a run that was never stopped."""
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (pictures / name).write_text("no")
    config = file_of(tiny, tmp_path, pictures, batch=2, save_every=1)
    assert ppl("train", config, "--out", tmp_path / "whole")[0] == 0
    for stop in (1, 3):
        run, make_batch = tmp_path / str(stop), loop.make_batch

        def stopping(images, step, *arguments, at=stop, make_batch=make_batch, **settings):
            if step == at and "part" not in settings:
                raise RuntimeError("stopped")
            return make_batch(images, step, *arguments, **settings)

        with monkeypatch.context() as patched:
            patched.setattr(loop, "make_batch", stopping)
            assert ppl("train", config, "--out", run)[0] == 1
        assert ppl("train", config, "--out", run, "--resume")[0] == 0
        assert (run / "skipped.csv").read_bytes() == (tmp_path / "whole" / "skipped.csv").read_bytes()


def test_an_image_that_vanishes_while_poses_are_found(ppl, model_file, tmp_path, pictures, monkeypatch):
    append = Journal.append

    def vanishing(journal, poses):
        (pictures / "sub" / "7.png").unlink(missing_ok=True)
        append(journal, poses)

    monkeypatch.setattr(Journal, "append", vanishing)
    assert ppl("infer", model_file, pictures, "--out", tmp_path / "out", "--batch", 1)[0] == 0
    assert skipped(tmp_path / "out") == {"sub/7.png": "no such file"}
    assert np.isfinite(np.load(tmp_path / "out/keypoints.npz")["keypoints_px"][:7]).all()


def test_an_image_that_changes_while_poses_are_found(ppl, model_file, tmp_path, pictures, monkeypatch):
    """It is read for its pose and again for its picture."""
    draw = Pictures.draw

    @cache
    def change():
        Image.new("RGB", (20, 30)).save(pictures / "1.jpg")
        (pictures / "2.jpg").unlink()

    lock = Lock()

    def changing(*drawing):
        with lock:  # pictures are drawn in threads: none before the change
            change()
        draw(*drawing)

    monkeypatch.setattr(Pictures, "draw", changing)
    code, said = ppl("infer", model_file, pictures, "--out", tmp_path / "out", "--overlay")
    assert code == 0
    either = "1.jpg was 90x50 pixels, and has been changed to 20x30 since", "2.jpg: no such file"  # threads draw them
    assert any(f"2 pictures could not be written; the first: {what}" in said for what in either)
    drawn = {path.name for path in (tmp_path / "out" / "overlay").glob("*.jpg")}
    assert drawn == {f"{i}.jpg" for i in (0, 3, 4, 5)}
    assert np.isfinite(np.load(tmp_path / "out/keypoints.npz")["keypoints_px"]).all()


@pytest.mark.parametrize("name", ["infer", "refine"])
def test_too_large_a_batch_says_what_to_set(ppl, model_file, pictures, tmp_path, monkeypatch, name):
    """The machine has memory for three images; the error is torch's own."""
    estimate = Estimator.estimate

    def scarce(estimator, images):
        if len(images) > 3:
            torch.empty(10**16)
        return estimate(estimator, images)

    with monkeypatch.context() as patched:
        patched.setattr(Estimator, "estimate", scarce)
        command = (name, model_file, pictures, "--out", tmp_path / "out")
        line = "ppl: out of memory with {} images at once (--batch): try --batch {}"
        assert ppl(*command) == (1, line.format(32, 16))
        assert ppl(*command, "--batch", 6) == (1, line.format(6, 3))
        assert ppl(*command, "--batch", 3)[0] == 0
        patched.setattr(Estimator, "estimate", lambda estimator, images: torch.empty(10**16))
        code, line = ppl(*command, "--batch", 1, "--overwrite")
        assert (code, line.split(": ")[1]) == (1, "out of memory with 1 image at once (--batch)")


def test_too_large_a_batch_in_an_evaluation(ppl, model_file, tmp_path, monkeypatch):
    monkeypatch.setattr(Estimator, "estimate", lambda estimator, images: torch.empty(10**16))
    code, line = ppl("eval", model_file, "--out", tmp_path / "eval", "--batch", 8)
    assert (code, line) == (1, "ppl: out of memory with 8 images at once (--batch): try --batch 4")


def test_a_decoder_that_fails_costs_only_its_batch(ppl, model_file, pictures, tmp_path, monkeypatch):
    command = ("infer", model_file, pictures, "--batch", 2, "--overlay")
    assert ppl(*command, "--out", tmp_path / "whole")[0] == 0
    decode = overlays.decode_to_fit

    def failing(path, *range_):
        if path.name == "6.png":
            raise ZeroDivisionError("a bug")
        return decode(path, *range_)

    with monkeypatch.context() as patched:
        patched.setattr(overlays, "decode_to_fit", failing)
        code, line = ppl(*command, "--out", tmp_path / "out")
        assert (code, "internal error: ZeroDivisionError: a bug" in line) == (1, True)
    assert ppl(*command, "--out", tmp_path / "out", "--resume")[0] == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.usefixtures("no_pictures")
def test_a_clock_that_goes_back(ppl, tiny, pictures, tmp_path, monkeypatch):
    config = file_of(tiny, tmp_path, pictures)
    assert ppl("train", config, "--out", tmp_path / "whole")[0] == 0
    ticks = itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: 1e9 - 3600.0 * next(ticks))
        assert ppl("train", config, "--out", tmp_path / "run")[0] == 0
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    with (tmp_path / "run" / "metrics.csv").open() as file:
        speeds = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    assert min(speeds) > 0.01
    assert max(speeds) < 1e6


@pytest.mark.usefixtures("no_pictures")
def test_two_trainings_on_one_folder(ppl, tiny, pictures, tmp_path, monkeypatch):
    """The second finds the first at work, whatever it was asked for; what a killed one left stands in nobody's way."""
    config = file_of(tiny, tmp_path, pictures)
    run, lines, busy = tmp_path / "run", [], False
    make_batch = loop.make_batch

    def second(images, step, *arguments, **settings):
        nonlocal busy
        if step == 4 and not busy:
            busy = True
            for option in ("--resume", "--overwrite"):
                with pytest.raises(SystemExit) as stopped:
                    main(["train", str(config), "--out", str(run), "--device", "cpu", option])
                lines.append(stopped.value.code)
        return make_batch(images, step, *arguments, **settings)

    monkeypatch.setattr(loop, "make_batch", second)
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(config), "--out", str(run), "--device", "cpu"])
    assert stopped.value.code == 0
    assert lines == [1, 1]
    assert not (run / ".lock").exists()
    assert load_model(run).step == 6

    with locked(run):
        code, line = ppl("train", config, "--out", run, "--overwrite")
    assert code == 1
    assert f"another ppl is writing to {run} (process {os.getpid()}): wait until it has ended" in line
    (run / ".lock").write_text("12345")  # what a killed process leaves
    assert ppl("train", config, "--out", run, "--overwrite")[0] == 0
    assert not (run / ".lock").exists()
