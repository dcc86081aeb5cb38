"""infer, refine and eval on two processes give the files of one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
PPL = ["-m", "ppl_cli"]


def run(command: list, **settings) -> subprocess.CompletedProcess:
    command = [str(part) for part in command]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False, **settings)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", [["infer"], ["refine", "--gif", "--occluder-color", "red"]])
def test_two_processes_write_what_one_writes(model_file, pictures, tmp_path, command):
    (pictures / "broken.jpg").write_bytes(b"no image")
    arguments = [*PPL, *command, model_file, pictures, "--overlay", "--device", "cpu", "--batch", "2", "--out"]
    one = run([sys.executable, *arguments, tmp_path / "one"])
    two = run([*TWO, *arguments, tmp_path / "two"])
    assert one.returncode == two.returncode == 0, two.stderr
    expected, got = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    assert len(expected) > 10
    assert expected.keys() == got.keys()
    assert [name for name in expected if expected[name] != got[name]] == []
    assert two.stdout.count("8 poses in") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
def test_two_killed_processes_go_on(model_file, pictures, tmp_path):
    """The journals of both are used: with images that are gone, only what was found before can be written."""
    for number in range(150):
        shutil.copy(pictures / "7.png" if (pictures / "7.png").exists() else pictures / "0.jpg", pictures / f"n{number}.png")
    arguments = [*PPL, "infer", model_file, pictures, "--overlay", "--device", "cpu", "--batch", "1", "--out"]
    whole = run([sys.executable, *arguments, tmp_path / "whole"])
    assert whole.returncode == 0, whole.stderr
    command = [str(part) for part in [*TWO, *arguments, tmp_path / "killed"]]
    started = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    journals = [tmp_path / "killed" / ".unfinished" / f"poses-{rank}.journal" for rank in (0, 1)]
    while not all(journal.exists() and journal.stat().st_size for journal in journals) and started.poll() is None:
        time.sleep(0.01)
    workers = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    for process in [started.pid, *map(int, workers)]:
        os.kill(process, signal.SIGKILL)
    started.wait()
    assert all(journal.stat().st_size for journal in journals)
    other = run([sys.executable, *arguments, tmp_path / "killed", "--resume"])
    assert "had number of processes 2, now 1" in other.stderr
    resumed = run([*TWO, *arguments, tmp_path / "killed", "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "killed")


def test_two_processes_measure_what_one_measures(model_file, tmp_path):
    arguments = [*PPL, "eval", model_file, "--device", "cpu", "--occlusion", "random=0.2", "--batch", "16", "--out"]
    one = run([sys.executable, *arguments, tmp_path / "one"])
    two = run([*TWO, *arguments, tmp_path / "two"])
    assert one.returncode == two.returncode == 0, two.stderr
    numbers = [json.loads((tmp_path / name / "eval.json").read_text()) for name in ("one", "two")]
    assert numbers[0]["models"] == numbers[1]["models"]
    assert one.stdout == two.stdout.replace("/two", "/one")
