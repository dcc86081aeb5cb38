"""Files that want to run something, to fill the memory or to hang, given to the program as MODEL (tests/hostile.py)."""

import json
import subprocess
import sys

from PIL import Image

from tests import lookalike

FEWEST = 150  # files, each wrong in another way
MOST_SECONDS, MOST_MEMORY = 30, 400 << 20  # a few seconds even on a busy machine


def test_nothing_is_executed_and_each_file_ends_in_one_line(tmp_path):
    lookalike.save(tmp_path / "good.pth", **lookalike.TINY)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "images" / "a.png")
    command = [sys.executable, "-m", "tests.hostile", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr[-2000:]
    good, *results, executed = [json.loads(line) for line in ended.stdout.splitlines()]
    assert good == {"kind": "good", "code": 0, "compiler": False}  # the sound file is read: what the others lack is soundness
    assert executed["canary"]
    assert any(event.startswith("os.system") for event in executed["events"])  # the watch is not blind
    assert len(results) >= FEWEST
    for result in results:
        assert result["code"] == 2, result
        assert result["said"].startswith("ppl: "), result
        assert result["said"].count("\n") == 1, result
        assert "hostile.pth" in result["said"], result
        assert "internal error" not in result["said"], result
        assert not result["events"], result  # no process, import, evaluation, unpickling or writing was begun
        assert not result["modules"], result
        assert not result["canary"], result
        assert result["seconds"] < MOST_SECONDS, result
        assert result["grown"] < MOST_MEMORY, result
