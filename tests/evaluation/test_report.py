"""What a report says of hand-made results: values over models, and which of them are worse than the mean pose."""

import json

import numpy as np
import pytest

from ppl_cli.evaluation.protocols import Fitted, Pck, Regression, Score
from ppl_cli.evaluation.report import ModelReport, Report, Result, note_worse


def result(protocol, value, baseline) -> Result:
    scores = [Score(number, np.array([number, np.nan]), np.array([[number, np.nan]])) for number in (value, baseline)]
    return Result(protocol, Fitted(None, None, warnings=["look"]), scores[0], value, scores[1])


def report(*values) -> Report:
    models = [
        ModelReport(f"runs/{name}", 7, 5, [result(Regression(), error, 8.0), result(Pck(), correct, 30.0)], 4, 1, ["a.png"])
        for name, (error, correct) in zip("ab", values, strict=False)
    ]
    return Report({}, ["nose", "tail"], models)


def test_values_are_means_over_models():
    both = report((4.0, 50.0), (6.0, 40.0))
    assert both.values == {"regression": 5.0, "pck": 45.0}
    both.models[1].results[1].baseline.value = 20.0  # as `matching`, which compares other keypoints of each model
    assert both.mean_pose == {"regression": 8.0, "pck": 25.0}
    content = json.loads(json.dumps(both.to_dict(), allow_nan=False))
    assert content["over_models"]["regression"]["std"] == pytest.approx(2**0.5)
    assert content["over_models"]["pck"]["mean_pose"] == 25.0
    assert content["models"][0]["protocols"]["regression"]["per_keypoint"] == {"nose": 4.0, "tail": None}
    assert both.labels() == ["a", "b"]


def test_worse_than_the_mean_pose_is_higher_for_errors_and_lower_for_shares():
    assert note_worse(report((7.0, 40.0))) == []
    assert note_worse(report((8.0, 30.0))) == []
    (line,) = note_worse(report((9.0, 40.0)))
    assert line.startswith("worse than answering the mean pose (in brackets) for every image: regression 9 (8);")
    (line,) = note_worse(report((7.0, 40.0), (7.0, 20.0)))
    assert line.startswith("b is worse than answering the mean pose (in brackets) for every image: pck 20 (30);")


def test_warnings_of_a_fit_name_their_protocol():
    assert result(Regression(), 1, 1).notes == ["regression: look"]
