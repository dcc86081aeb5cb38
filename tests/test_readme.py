"""README's commands work as printed: each `ppl` line is run, in order, on small input."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl_cli.cli.app import main
from ppl_cli.data.figures import figure
from tests.data import layouts

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TINY = "model.image_size=32 model.width=4 model.dimension=16 model.banks=3 train.batch=4 loss.scales=3 loss.kind=multiscale"
SHORT = f"train.steps=2 data.figures=8 {TINY}".split()


def commands() -> list[list[str]]:
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    # Commands for several processes are run by one here; tests/training/test_distributed.py runs two.
    lines = [re.sub(r"^(srun )?torchrun .*-m ppl_cli", "ppl", line) for line in lines]
    parts = [part.split("#")[0].strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part)[1:] for part in parts if part.startswith("ppl ")]


def test_readme_has_the_two_commands_that_do_everything():
    assert "pip install -e . && ppl train quickstart" in README
    assert "pip install -e '.[test]' && pytest" in README
    assert len(commands()) >= 14


def test_every_command_of_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(6):
        Image.fromarray(np.asarray(figure(i, 64)[0])).save(tmp_path / "photos" / f"{i}.jpg")
        Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), 22)).save(tmp_path / "masks" / f"{i}.png")
    layouts.coco(tmp_path / "annotated")
    for arguments in commands():
        if arguments[0] == "train":
            arguments = [*arguments, *(word for setting in SHORT for word in ("--set", setting))]
            if "--perceptual-weights" in arguments:
                at = arguments.index("--perceptual-weights")
                del arguments[at : at + 2]
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, *(["--device", "cpu"] if arguments[0] in ("train", "infer", "refine", "eval") else [])])
        assert stopped.value.code == 0, " ".join(arguments)


def test_pictures_of_readme_are_there():
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / name).is_file(), name
