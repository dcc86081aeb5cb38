"""`--resume` of infer and refine: killed anywhere, they go on and leave the same files as an uninterrupted run."""

import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

from ppl_cli.checkpoints.model_file import save_model
from ppl_cli.cli.app import main
from ppl_cli.data.figures import figure
from ppl_cli.lock import locked
from ppl_cli.results.journal import Journal
from tests.conftest import lively_model

REFINE = ("--gif", "--overlay", "--all-iterations", "--iterations", "2", "--masks")


class Killed(BaseException):
    """Stands in for SIGKILL: nothing in the package handles it, though what cleans up on the way out does run."""


@pytest.fixture
def model_file(tmp_path, tiny):
    save_model(tmp_path / "model.safetensors", lively_model(tiny), tiny, 7)
    return tmp_path / "model.safetensors"


@pytest.fixture
def images(tmp_path):
    """Seven images, one of them broken, with masks."""
    for i in range(7):
        name = f"sub/{i}.png" if i > 4 else f"{i}.png"
        mask = np.zeros((48, 48), np.uint8)
        mask[10:30, 12:28] = 255
        for folder, pixels in (("images", figure(i, 48)[0]), ("masks", mask)):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / name)
    (tmp_path / "images/3.png").write_text("no image")
    return tmp_path / "images"


def command(name: str, model, images, out, *more) -> list[str]:
    masks = (*REFINE, images.parent / "masks") if name == "refine" else ("--overlay",)
    return list(map(str, (name, model, images, "--out", out, "--batch", 2, "--device", "cpu", *masks, *more)))


def ppl(*arguments) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    return stopped.value.code


def files(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["infer", "refine"])
def test_stopped_anywhere_the_same_files_come_out(model_file, images, tmp_path, monkeypatch, name):
    """Stopped in every batch, before and after the batch is in the journal, and between the renames at the end."""
    assert ppl(*command(name, model_file, images, tmp_path / "whole")) == 0
    whole = files(tmp_path / "whole")
    assert len(whole) == (6 + 4 if name == "infer" else 3 * 6 + 5)
    append, replace = Journal.append, os.replace
    calls = 0

    def stop_at(when: int, kept: bool):
        def stopping(journal, poses):
            nonlocal calls
            calls += 1
            if calls == when and not kept:
                raise Killed
            append(journal, poses)
            if calls == when:
                raise Killed

        return stopping

    def stop_renaming(source, target):
        if str(target).endswith("coco.json"):
            raise Killed
        replace(source, target)

    batches = (1, 2, 4) if name == "infer" else (2,)
    plans = [(Journal, "append", stop_at(when, kept)) for when in batches for kept in (False, True)]
    for number, (owner, attribute, stopping) in enumerate([*plans, (os, "replace", stop_renaming)]):
        calls, out = 0, tmp_path / str(number)
        with monkeypatch.context() as patched:
            patched.setattr(owner, attribute, stopping)
            assert ppl(*command(name, model_file, images, out)) == 1
        found = files(out)
        assert "keypoints.csv" not in found or attribute == "replace"
        assert ppl(*command(name, model_file, images, out, "--resume")) == 0
        assert files(out) == whole


@pytest.mark.parametrize("name", ["infer", "refine"])
def test_killed_by_the_system_the_same_files_come_out(forks, model_file, images, tmp_path, name):
    """Processes are killed with SIGKILL at random moments, again and again, until one comes to the end."""
    rng, kills, begun = random.Random(1), 0, time.monotonic()
    whole = forks.run(*command(name, model_file, images, tmp_path / "whole"))
    lasting = time.monotonic() - begun
    assert whole.wait() == 0, whole.error
    out = tmp_path / "parts"
    while True:
        parts = forks.start(*command(name, model_file, images, out), "--resume")
        parts.process.join(rng.uniform(0, lasting) if kills < 12 else None)
        if parts.process.exitcode is None:
            parts.send(signal.SIGKILL)
        code = parts.wait()
        assert code in (0, -signal.SIGKILL), parts.error
        kills += code != 0
        done = (out / "keypoints.csv").exists() and not (out / ".unfinished/run.json").exists()
        if done and kills:
            break
        if done:  # quicker than the whole one, beside which other work ran
            shutil.rmtree(out)
            lasting /= 2
    left = files(out)
    for file in (".lock", ".unfinished/poses-0.journal"):  # what a kill after everything was done may leave
        left.pop(file, None)
    assert left == files(tmp_path / "whole")


def leave_unfinished(name, model_file, images, out, monkeypatch, batches: int = 2):
    append = Journal.append

    def stopping(journal, poses):
        append(journal, poses)
        if journal.images >= 2 * batches:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", stopping)
        assert ppl(*command(name, model_file, images, out)) == 1


def test_what_is_done_is_neither_decoded_nor_drawn_again(model_file, images, tmp_path, monkeypatch, capsys):
    from ppl_cli.inference import overlays

    out = tmp_path / "out"
    leave_unfinished("infer", model_file, images, out, monkeypatch)
    assert "add --resume to go on" in capsys.readouterr().err
    drawn = {path.name: path.stat().st_mtime_ns for path in (out / "overlay").iterdir() if path.is_file()}
    assert len(drawn) == 3
    decode, decoded = overlays.decode_to_fit, []
    monkeypatch.setattr(overlays, "decode_to_fit", lambda path, *range_: decoded.append(path.name) or decode(path, *range_))
    assert ppl(*command("infer", model_file, images, out, "--resume")) == 0
    assert set(decoded) == {"4.png", "5.png", "6.png"}
    assert all((out / "overlay" / name).stat().st_mtime_ns == time_ns for name, time_ns in drawn.items())


def test_only_the_same_run_goes_on(model_file, images, tmp_path, monkeypatch, capsys, tiny):
    out = tmp_path / "out"
    leave_unfinished("infer", model_file, images, out, monkeypatch)
    before = files(out)

    def refused(words: str, *arguments) -> None:
        capsys.readouterr()
        assert ppl(*arguments) == 2
        line = capsys.readouterr().err.strip()
        assert words in line
        assert len(line.splitlines()) == 1
        assert files(out) == before

    same = command("infer", model_file, images, out)
    refused("holds an unfinished run: add --resume to go on with it, or --overwrite", *same)
    refused("--resume and --overwrite exclude each other", *same, "--resume", "--overwrite")
    refused("had formats ['csv', 'coco', 'npz'], now ['csv']", *same, "--resume", "--format", "csv")
    refused("had command infer, now refine", *command("refine", model_file, images, out), "--resume")
    refused("had precision fp32, now bf16", *same, "--resume", "--precision", "bf16")
    (images / "1.png").rename(images / "new.png")
    refused("had images 7 images", *same, "--resume")
    (images / "new.png").rename(images / "1.png")
    content = model_file.read_bytes()
    save_model(model_file, lively_model(tiny), tiny, 8)
    refused("had model ", *same, "--resume")
    model_file.write_bytes(content)
    assert ppl(*same, "--resume", "--batch", 2) == 0
    assert ppl(*same, "--overwrite") == 0
    assert not (out / ".unfinished").exists()


def test_a_damaged_note_of_the_run_is_one_line(model_file, images, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    leave_unfinished("infer", model_file, images, out, monkeypatch)
    for content in ("", "{", "[]", "\xff"):
        (out / ".unfinished/run.json").write_text(content, encoding="latin-1")
        capsys.readouterr()
        assert ppl(*command("infer", model_file, images, out, "--resume")) == 2
        assert "run.json is damaged: start anew with --overwrite" in capsys.readouterr().err
    assert ppl(*command("infer", model_file, images, out, "--overwrite")) == 0


def test_strict_goes_on_once_the_image_is_repaired(model_file, images, tmp_path):
    out = tmp_path / "out"
    assert ppl(*command("infer", model_file, images, out, "--strict")) == 1
    assert set(files(out)) & {"keypoints.csv", "skipped.csv"} == set()
    shutil.copy(images / "0.png", images / "3.png")
    assert ppl(*command("infer", model_file, images, out, "--strict", "--resume")) == 0
    assert ppl(*command("infer", model_file, images, tmp_path / "whole")) == 0
    assert files(out) == files(tmp_path / "whole")


def test_without_anything_to_resume_it_begins(model_file, images, tmp_path, capsys):
    assert ppl(*command("infer", model_file, images, tmp_path / "out", "--resume")) == 0
    assert "nothing to resume" in capsys.readouterr().err
    assert ppl(*command("infer", model_file, images, tmp_path / "out", "--resume")) == 2
    assert "all is done: " in capsys.readouterr().err


def test_two_runs_into_one_folder(model_file, images, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        assert ppl(*command("infer", model_file, images, tmp_path / "out")) == 1
    line = capsys.readouterr().err.strip()
    assert line.endswith("wait until it has ended, or choose another folder with --out")
    assert f"(process {os.getpid()})" in line
    assert len(line.splitlines()) == 1
    assert ppl(*command("infer", model_file, images, tmp_path / "out")) == 0
    assert not (tmp_path / "out/.lock").exists()
