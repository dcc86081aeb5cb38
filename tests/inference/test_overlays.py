"""Helpers that draw: the same pictures, whatever happens to them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ppl_cli.errors import DiskFullError, PPLError
from ppl_cli.inference import overlays
from ppl_cli.inference.overlays import FEW, Overlay, drawing
from tests.conftest import ppl

MANY = FEW + 1


@pytest.fixture
def wanted(tmp_path) -> Overlay:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    points, links = np.array([[10.0, 20], [70, 30], [np.nan, np.nan]]), np.ones((3, 3)) - np.eye(3)
    hollow = np.array([True, False, False])
    return Overlay("image.png", tmp_path / "image.png", None, (80, 60), points, links, hollow, None, tmp_path / "here.png")


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    helpers, start = [], overlays.start
    monkeypatch.setattr(overlays, "start", lambda: helpers.append(start()) or helpers[-1])
    return helpers


def test_helpers_draw_the_same_and_end(wanted, tmp_path, started):
    wanted.draw()
    places = [tmp_path / f"{i}.png" for i in range(20)]
    with drawing(MANY) as draw, ThreadPoolExecutor(4) as threads:
        list(threads.map(draw, [replace(wanted, place=place) for place in places]))
    assert {place.read_bytes() for place in places} == {wanted.place.read_bytes()}
    assert [helper.returncode for helper in started] == [0] * overlays.ARTISTS


def test_few_are_drawn_without_helpers(wanted, started):
    with drawing(FEW) as draw:
        draw(wanted)
    assert wanted.place.exists()
    assert not started


def test_what_goes_wrong_is_raised_here(wanted, tmp_path):
    with drawing(MANY) as draw:
        with pytest.raises(PPLError, match=r"image\.png was 90x60 pixels, and has been changed to 80x60 since"):
            draw(replace(wanted, size=(90, 60)))
        with pytest.raises(PPLError, match=r"image\.png: no such file"):
            draw(replace(wanted, image=tmp_path / "gone.png"))
        with pytest.raises(PPLError, match="cannot write"):
            draw(replace(wanted, place=tmp_path / "no" / "folder.png"))
        draw(wanted)  # and the helper goes on
    assert wanted.place.exists()


def test_a_full_disk_is_told_apart(wanted, monkeypatch):
    fill = "from ppl_cli.inference import overlays\nfrom errno import ENOSPC\nimport os\n"
    fill += "def full(*_): raise OSError(ENOSPC, 'No space left on device')\nos.replace = full\n"
    monkeypatch.setattr(overlays, "START", fill + overlays.START)
    with drawing(MANY) as draw, pytest.raises(DiskFullError, match="No space left on device"):
        draw(wanted)


def test_a_picture_is_drawn_though_helpers_were_killed_or_cannot_start(wanted, started, monkeypatch):
    with drawing(MANY) as draw:
        for helper in started:
            helper.kill()
            helper.wait()
        draw(wanted)
    assert wanted.place.exists()
    wanted.place.unlink()
    monkeypatch.setattr(overlays, "start", lambda: None)
    with drawing(MANY) as draw:
        draw(wanted)
    assert wanted.place.exists()


def test_helpers_do_without_pytorch():
    code = "import sys, ppl_cli.inference.overlays; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_is_drawn_alike_by_helpers(model_file, pictures, tmp_path, started, monkeypatch):
    def infer(name):
        assert ppl("infer", model_file, pictures, "--out", tmp_path / name, "--overlay") == 0
        drawn = (tmp_path / name / "overlay").rglob("*.*")
        return {path.relative_to(tmp_path / name): path.read_bytes() for path in drawn}

    alone = infer("alone")
    monkeypatch.setattr(overlays, "FEW", 0)
    assert infer("helped") == alone
    assert len(started) == overlays.ARTISTS
    assert len(alone) == 8
