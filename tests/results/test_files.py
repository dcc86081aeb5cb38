"""All files of a run together."""

import numpy as np
import pytest

from ppl_cli.prior.prior import Keypoint, Prior
from ppl_cli.results.files import FILES, Results
from ppl_cli.results.pose import Pose

PRIOR = Prior(keypoints=[Keypoint(name=name, x=0, y=0) for name in "ab"], links=[[0, 1], [1, 0]])


def stop_after_one(results: Results, pose: Pose) -> None:
    with results.open():
        results.add("0.png", pose)
        raise RuntimeError("stopped")


def test_no_file_stays_open_or_behind_where_a_run_fails(tmp_path):
    results = Results(tmp_path, tuple(FILES), PRIOR, iterations=None, paths=[tmp_path / "0.png"], scorer="PPL")
    with pytest.raises(RuntimeError, match="stopped"):
        stop_after_one(results, Pose(0, 64, 64, np.zeros((2, 2)), np.zeros(2)))
    handles = [held for writer in results.writers for held in vars(writer).values()]
    handles += [held for writer in results.writers for held in getattr(writer, "files", {}).values()]
    handles.append(next(writer.current for writer in results.writers if hasattr(writer, "current")).file)
    opened = [held for held in handles if hasattr(held, "closed")]
    assert len(opened) > 8
    assert all(held.closed for held in opened)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
