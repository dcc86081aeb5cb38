"""Nothing that only POSIX has is needed before it is used."""

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ppl_cli"
IMPORT_ALL = """
import importlib, sys
import psutil  # which has a file for each system
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None  # importing it is an ImportError
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
NEEDS_A_GPU = {"ppl_cli.model.skeleton_triton"}


def test_every_module_can_be_imported_without_what_only_posix_has():
    modules = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in sorted(PACKAGE.rglob("*.py"))]
    modules = [name for name in modules if name not in NEEDS_A_GPU and not name.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
