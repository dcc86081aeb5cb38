"""infer, refine and eval on two processes give the files of one."""

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import ppl
from tests.forks import Forks, torchrun

MANY = 24  # images, of which two processes have some left when they are killed


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REFINE = ["refine", "--gif", "--occluder-color", "red"]


@pytest.mark.parametrize(("launch", "command"), [(torchrun, ["infer"]), (Forks.run_two, REFINE)], ids=["infer", "refine"])
def test_two_processes_write_what_one_writes(forks, model_file, pictures, tmp_path, launch, command):
    (pictures / "broken.jpg").write_bytes(b"no image")
    arguments = [*command, model_file, pictures, "--overlay", "--device", "cpu", "--batch", "2", "--out"]
    assert ppl(*arguments, tmp_path / "one") == 0
    two = launch(forks, *arguments, tmp_path / "two")
    assert two.wait() in (0, [0, 0]), two.error
    expected, got = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    assert len(expected) > 10
    assert expected.keys() == got.keys()
    assert [name for name in expected if expected[name] != got[name]] == []
    assert two.out.count("8 poses in") == 1


def test_two_killed_processes_go_on(forks, model_file, pictures, tmp_path, capsys):
    """Each goes on with its own journal."""
    for number in range(MANY):
        shutil.copy(pictures / "0.jpg", pictures / f"n{number}.png")
    arguments = ["infer", model_file, pictures, "--overlay", "--device", "cpu", "--batch", "1", "--out"]
    assert ppl(*arguments, tmp_path / "whole") == 0
    killed = forks.start_two(*arguments, tmp_path / "killed")
    journals = [tmp_path / "killed" / ".unfinished" / f"poses-{rank}.journal" for rank in (0, 1)]
    deadline = time.monotonic() + 120
    while not all(journal.exists() and journal.stat().st_size for journal in journals):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.send()
    killed.wait()
    assert all(journal.stat().st_size for journal in journals)
    capsys.readouterr()
    assert ppl(*arguments, tmp_path / "killed", "--resume") == 2
    assert "had number of processes 2, now 1" in capsys.readouterr().err
    resumed = forks.run_two(*arguments, tmp_path / "killed", "--resume")
    assert resumed.wait() == [0, 0], resumed.error
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "killed")


def test_two_processes_measure_what_one_measures(forks, model_file, tmp_path, capsys):
    arguments = ["eval", model_file, "--device", "cpu", "--occlusion", "random=0.2", "--iterations", "1", "--out"]
    assert ppl(*arguments, tmp_path / "one") == 0
    two = forks.run_two(*arguments, tmp_path / "two")
    assert two.wait() == [0, 0], two.error
    numbers = [json.loads((tmp_path / name / "eval.json").read_text()) for name in ("one", "two")]
    assert numbers[0]["models"] == numbers[1]["models"]
    assert capsys.readouterr().out == two.out.replace("/two", "/one")
