"""How the program ends: with its exit code, all that it wrote, and what others do at exit, but without a teardown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, sys
from ppl_cli import __main__ as program
from ppl_cli.cli import app

class Late:
    def __del__(self):
        sys.__stdout__.write("taken apart\\n")

def main():
    atexit.register(print, "closed")
    print("done")
    sys.exit({code})

late, app.main = Late(), main
{before}
program.run()
"""


def end(code: int = 0, before: str = "", **options) -> subprocess.CompletedProcess:
    options = {"capture_output": True, "env": os.environ | {"PYTHONUNBUFFERED": ""}} | options
    return subprocess.run([sys.executable, "-c", PROGRAM.format(code=code, before=before)], text=True, timeout=60, **options)


@pytest.mark.parametrize("code", [0, 1, 130])
def test_beside_pytorch_it_ends_at_once_and_loses_nothing(code):
    ended = end(code, "sys.modules['torch'] = sys")
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "done\nclosed\n", "")


def test_without_pytorch_it_ends_as_any_program():
    ended = end(2)
    assert (ended.returncode, ended.stdout) == (2, "done\nclosed\ntaken apart\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_what_cannot_be_written_is_no_success():
    with open("/dev/full", "w") as full:
        ended = end(0, "sys.modules['torch'] = sys", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 120
    assert "No space left" in ended.stderr
