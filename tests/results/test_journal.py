"""The journal: what goes in comes out bit for bit, and whatever a kill or a broken disk leaves is cut at a whole record."""

import math
import random
from dataclasses import fields

import numpy as np
import pytest

from ppl_cli.errors import PPLError
from ppl_cli.lock import TakenError
from ppl_cli.results.journal import Journal
from ppl_cli.results.pose import Pose, Refined

N, T = 3, 2


def pose(index: int, refined: bool = False, problem: str | None = None) -> Pose:
    rng = np.random.default_rng(index)
    if problem is not None and index % 2:
        return Pose(index, None, None, np.full((N, 2), np.nan), np.full(N, np.nan), problem)
    more = None
    if refined:
        more = Refined(
            rng.normal(size=(T + 1, N, 2)),
            rng.random((T + 1, N)),
            index % (T + 1),
            rng.random((T + 1, N)) < 0.5,
            rng.random(N),
            bool(index % 2),
        )
    explained = (True, False, None)[index % 3]
    return Pose(index, 640 + index, 480, rng.normal(size=(N, 2)) * 1e-17, rng.random(N), problem, more, explained)


def batches(refined: bool) -> list[list[Pose]]:
    texts = {1: "damaged: \udcff é 猫\nline", 4: "x" * 1000, 6: ""}
    poses = [pose(i, refined, texts.get(i)) for i in range(10)]
    return [poses[:4], poses[4:8], poses[8:]]


def same(first: Pose | Refined, second: Pose | Refined) -> bool:
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)]
    for a, b in pairs:
        if isinstance(a, np.ndarray):
            equal = a.tobytes() == b.tobytes() and a.dtype == b.dtype and a.shape == b.shape
        elif isinstance(a, Refined):
            equal = same(a, b)
        else:
            equal = type(a) is type(b) and a == b
        if not equal:
            return False
    return True


def write(path, refined: bool) -> list[list[Pose]]:
    with Journal(path, N, T if refined else None) as journal:
        for batch in batches(refined):
            journal.append(batch)
        assert journal.images == 10
    return batches(refined)


def read(path, refined: bool) -> list[list[Pose]]:
    with Journal(path, N, T if refined else None) as journal:
        found = list(journal.batches())
        assert journal.images == sum(map(len, found))
    return found


def is_prefix(found, whole) -> bool:
    return len(found) <= len(whole) and all(
        len(a) == len(b) and all(map(same, a, b)) for a, b in zip(found, whole, strict=False)
    )


@pytest.mark.parametrize("refined", [False, True])
def test_poses_come_back_bit_for_bit(tmp_path, refined):
    whole = write(tmp_path / "j", refined)
    found = read(tmp_path / "j", refined)
    assert len(found) == len(whole)
    assert is_prefix(found, whole)


@pytest.mark.parametrize("refined", [False, True])
def test_a_journal_cut_anywhere_is_whole_up_to_a_record_and_goes_on(tmp_path, refined):
    whole = write(tmp_path / "whole", refined)
    content = (tmp_path / "whole").read_bytes()
    lengths = set()
    for cut in range(0, len(content), 7):
        (tmp_path / "cut").write_bytes(content[:cut])
        found = read(tmp_path / "cut", refined)
        assert is_prefix(found, whole)
        lengths.add(len(found))
        with Journal(tmp_path / "cut", N, T if refined else None) as journal:
            for batch in whole[len(found) :]:
                journal.append(batch)
        assert (tmp_path / "cut").read_bytes() == content
    assert lengths == {0, 1, 2}


def test_damage_is_never_taken_for_poses(tmp_path):
    whole = write(tmp_path / "whole", True)
    content = (tmp_path / "whole").read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        kind = rng.randrange(3)
        at = rng.randrange(len(damaged))
        if kind == 0:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 1:  # what a loss of power leaves: zeros to the end
            damaged[at:] = bytes(len(damaged) - at + rng.randrange(100))
        else:
            damaged[at:at] = rng.randbytes(rng.randrange(1, 50))
        (tmp_path / "damaged").write_bytes(damaged)
        found = read(tmp_path / "damaged", True)
        assert is_prefix(found, whole)
        assert len(found) < 3 or kind == 1 or len(damaged) > len(content)


def test_two_writers_exclude_each_other(tmp_path):
    with Journal(tmp_path / "j", N) as journal:
        journal.append(batches(False)[0])
        with pytest.raises(TakenError, match="another ppl is writing"):
            Journal(tmp_path / "j", N)
    assert math.isclose(len(read(tmp_path / "j", False)), 1)


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, content: bytes):
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            raise OSError(28, "No space left on device")

        def close(self):
            self.file.close()
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    whole = batches(False)
    with Journal(tmp_path / "j", N) as journal:
        journal.append(whole[0])
        monkeypatch.setattr(journal, "file", Full(journal.file))
        with pytest.raises(PPLError, match="No space left on device; the poses before are kept"):
            journal.append(whole[1])
    found = read(tmp_path / "j", False)
    assert len(found) == 1
    assert is_prefix(found, whole)
