"""What an evaluation found, in Python and as one JSON document."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ppl_cli import __version__
from ppl_cli.data.occlusion import Occlusion
from ppl_cli.evaluation.matching import Matching
from ppl_cli.evaluation.protocols import Fitted, Regression, Score, mean
from ppl_cli.text import in_utf8

FORMAT_VERSION = 1
FILES = ("eval.json", "distribution.png", "cases.png", "occlusion.png")  # of a report with pictures
ALIKE = 1e-3  # relative difference from the mean pose that counts for nothing
Protocol = Regression | Matching


@dataclass
class Result:
    """One protocol on one model."""

    protocol: Protocol
    fitted: Fitted
    score: Score  # on the test images
    on_fit: float  # the same on the fit images
    baseline: Score  # of the mean pose on the test images

    @property
    def worse(self) -> bool:
        """Whether the same pose everywhere would do better than the model."""
        value, baseline = self.score.value, self.baseline.value
        apart = (value - baseline) if self.protocol.better == "lower" else (baseline - value)
        return apart > ALIKE * abs(baseline)

    @property
    def notes(self) -> list[str]:
        """What went wrong when the protocol was fitted."""
        return [f"{self.protocol.name}: {line}" for line in self.fitted.warnings]


@dataclass
class Sweep:
    """Values of one protocol for each occlusion and each iteration of refinement (0: the occluded image as it is)."""

    occlusions: list[Occlusion]
    values: np.ndarray  # (occlusions, iterations + 1)
    whole: float  # on the images without occlusion


@dataclass
class ModelReport:
    """One model: a result for each protocol, in their order."""

    model: str  # where it lies
    step: int  # of its training
    keypoints: int  # that it finds
    results: list[Result]
    fit_images: int
    test_images: int
    test_names: list[str]
    sweep: Sweep | None = None

    @property
    def shown(self) -> Result:
        """What is told by keypoint and image, drawn, and followed over occlusions: the first, but ridge in place of plain
        regression, which also fits chance where fit images are few (docs/protocols.md).
        """
        first, ridge = self.results[0], [result for result in self.results if result.protocol.name == "ridge"]
        return ridge[0] if ridge and first.protocol.name == "regression" else first


@dataclass
class Report:
    """Models on the same annotated images. Distances are in % of the image side."""

    data: dict[str, object]  # kind, path, fit and test images, ...
    keypoint_names: list[str]  # of the annotated keypoints
    models: list[ModelReport]
    notes: list[str] = field(default_factory=list)  # what a reader of the numbers must know
    folder: Path | None = None  # of eval.json and the pictures, where they were written

    def __repr__(self) -> str:
        return f"Report({self.labels()}, values={self.values}, mean_pose={self.mean_pose})"

    @property
    def values(self) -> dict[str, float]:
        """The value of each protocol, in its unit; the mean over several models."""
        return {name: float(np.mean(values)) for name, values in self.by_protocol().items()}

    @property
    def mean_pose(self) -> dict[str, float]:
        """What each protocol gives for the mean annotated pose, answered everywhere: the baseline.

        The mean over several models, which `matching` may compare in different keypoints.
        """
        return {rows[0].protocol.name: float(np.mean([row.baseline.value for row in rows])) for rows in self.columns()}

    def by_protocol(self) -> dict[str, list[float]]:
        """The values of all models, for each protocol."""
        return {rows[0].protocol.name: [row.score.value for row in rows] for rows in self.columns()}

    def columns(self) -> Iterator[tuple[Result, ...]]:
        """For each protocol the results of all models."""
        return zip(*(model.results for model in self.models), strict=True)

    def to_dict(self) -> dict[str, object]:
        """The content of eval.json, which `ppl eval --json` prints. NaN becomes None."""
        content = {
            "format_version": FORMAT_VERSION,
            "ppl": __version__,
            "data": self.data,
            "keypoints": self.keypoint_names,
            "notes": self.notes,
            "models": [describe_model(model, self.keypoint_names) for model in self.models],
        }
        if len(self.models) > 1:
            content["over_models"] = describe_spread(self)
        return without_nan(content)

    def labels(self) -> list[str]:
        """Names of the models: the last part of their paths, or where two share it, all of it."""
        short = [Path(model.model).resolve().name for model in self.models]
        return short if len(set(short)) == len(short) else [model.model for model in self.models]


def describe_spread(report: Report) -> dict[str, object]:
    """Mean and standard deviation over several models."""
    content: dict[str, object] = {}
    for result, (middle, spread) in zip(report.models[0].results, over_models(report), strict=True):
        content[result.protocol.name] = {
            "mean": middle,
            "std": spread,
            "models": len(report.models),
            "unit": result.protocol.unit,
            "mean_pose": report.mean_pose[result.protocol.name],
        }
    if report.models[0].sweep:
        stacked = np.stack([model.sweep.values for model in report.models])
        middle, spread = stacked.mean(0), stacked.std(0, ddof=1)
        content["occlusion"] = {
            occlusion.label: {"mean": middle[row].tolist(), "std": spread[row].tolist()}
            for row, occlusion in enumerate(report.models[0].sweep.occlusions)
        }
    return content


def describe_model(model: ModelReport, names: list[str]) -> dict[str, object]:
    content: dict[str, object] = {"model": model.model, "step": model.step, "keypoints": model.keypoints, "protocols": {}}
    for result in model.results:
        content["protocols"][result.protocol.name] = {
            "value": result.score.value,
            "unit": result.protocol.unit,
            "better": result.protocol.better,
            "mean_pose": result.baseline.value,
            "on_fit_images": result.on_fit,
            "per_keypoint": dict(zip(names, result.score.per_keypoint.tolist(), strict=True)),
            "mean_pose_per_keypoint": dict(zip(names, result.baseline.per_keypoint.tolist(), strict=True)),
            **result.fitted.details,
        }
    content["per_image"] = {  # mean distance of its keypoints by the protocol that is shown, in % of the image side
        in_utf8(name): float(error) for name, error in zip(model.test_names, mean(model.shown.score.errors, 1), strict=True)
    }
    if model.sweep:
        content["occlusion"] = {
            "protocol": model.shown.protocol.name,
            "whole": model.sweep.whole,
            "iterations": {
                occlusion.label: values.tolist()
                for occlusion, values in zip(model.sweep.occlusions, model.sweep.values, strict=True)
            },
        }
    return content


def over_models(report: Report) -> list[tuple[float, float]]:
    """(mean, standard deviation of a sample) of every protocol."""
    values = np.array(list(report.by_protocol().values()))
    return list(zip(values.mean(1).tolist(), values.std(1, ddof=1).tolist(), strict=True))


def note_worse(report: Report) -> list[str]:
    """A line for each model that is worse than its baseline."""
    lines = []
    for label, model in zip(report.labels(), report.models, strict=True):
        worse = [
            f"{result.protocol.name} {result.score.value:.4g} ({result.baseline.value:.4g})"
            for result in model.results
            if result.worse
        ]
        if worse:
            name = f"{label} is " if len(report.models) > 1 else ""
            lines.append(
                f"{name}worse than answering the mean pose (in brackets) for every image: {', '.join(worse)}; was the model "
                "trained on such images, and for long enough?"
            )
    return lines


def without_nan(value):
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
