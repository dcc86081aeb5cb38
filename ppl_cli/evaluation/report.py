"""What an evaluation found: as one JSON document, and as tables for the terminal."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppl_cli import __version__
from ppl_cli.data.occlusion import Occlusion
from ppl_cli.evaluation.matching import Matching
from ppl_cli.evaluation.protocols import Fitted, Regression, Score, mean
from ppl_cli.text import in_utf8, on_screen

FORMAT_VERSION = 1
Protocol = Regression | Matching


@dataclass
class Result:
    """One protocol on one model."""

    protocol: Protocol
    fitted: Fitted
    score: Score  # on the test images
    on_fit: float  # the same on the fit images
    baseline: Score  # of the mean pose on the test images


@dataclass
class Sweep:
    """Values of one protocol, per occlusion, per iteration of refinement (0: the occluded image as it is)."""

    occlusions: list[Occlusion]
    values: np.ndarray  # (occlusions, iterations + 1)
    whole: float  # on the images without occlusion


@dataclass
class ModelReport:
    model: str
    step: int
    keypoints: int
    results: list[Result]
    fit_images: int
    test_images: int
    test_names: list[str]
    sweep: Sweep | None = None


@dataclass
class Report:
    data: dict[str, object]  # kind, path, fit and test images, ...
    keypoint_names: list[str]
    models: list[ModelReport]
    notes: list[str] = field(default_factory=list)


def to_json(report: Report) -> dict[str, object]:
    """NaN becomes null. Values are in the protocol's unit; distances in % of the image side."""
    content = {
        "format_version": FORMAT_VERSION,
        "ppl": __version__,
        "data": report.data,
        "keypoints": report.keypoint_names,
        "notes": report.notes,
        "models": [model_json(model, report.keypoint_names) for model in report.models],
    }
    if len(report.models) > 1:
        content["over_models"] = {
            result.protocol.name: {
                "mean": middle,
                "std": spread,
                "models": len(report.models),
                "unit": result.protocol.unit,
                "mean_pose": result.baseline.value,
            }
            for result, (middle, spread) in zip(report.models[0].results, over_models(report), strict=True)
        }
        if report.models[0].sweep:
            stacked = np.stack([model.sweep.values for model in report.models])
            middle, spread = stacked.mean(0), stacked.std(0, ddof=1)
            content["over_models"]["occlusion"] = {
                occlusion.label: {"mean": middle[row].tolist(), "std": spread[row].tolist()}
                for row, occlusion in enumerate(report.models[0].sweep.occlusions)
            }
    return without_nan(content)


def model_json(model: ModelReport, names: list[str]) -> dict[str, object]:
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
    content["per_image"] = {  # mean distance of the first protocol's keypoints, in % of the image side
        in_utf8(name): float(error)
        for name, error in zip(model.test_names, mean(model.results[0].score.errors, 1), strict=True)
    }
    if model.sweep:
        content["occlusion"] = {
            "protocol": model.results[0].protocol.name,
            "whole": model.sweep.whole,
            "iterations": {
                occlusion.label: values.tolist()
                for occlusion, values in zip(model.sweep.occlusions, model.sweep.values, strict=True)
            },
        }
    return content


def labels(report: Report) -> list[str]:
    """Names of the models: the last part of their paths, or where two share it, all of it."""
    short = [Path(model.model).resolve().name for model in report.models]
    return short if len(set(short)) == len(short) else [model.model for model in report.models]


def over_models(report: Report) -> list[tuple[float, float]]:
    """(mean, standard deviation of a sample) of every protocol."""
    values = np.array([[result.score.value for result in model.results] for model in report.models])
    return list(zip(values.mean(0).tolist(), values.std(0, ddof=1).tolist(), strict=True))


def without_nan(value):
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_tables(report: Report, console: Console) -> None:
    console.print(protocol_table(report))
    console.print(keypoint_table(report, report.models[0].results[0]))
    for label, model in zip(labels(report), report.models, strict=True):
        if model.sweep:
            console.print(sweep_table(model, label if len(report.models) > 1 else "", report.data["refinement"]["method"]))


def protocol_table(report: Report) -> Table:
    table = Table(
        title=f"{report.data['test_images']} test images, {report.data['fit_images']} to fit on", title_justify="left"
    )
    several = len(report.models) > 1
    if several:
        table.add_column("model")
    for heading in ("protocol", "error", "mean pose", "unit", "on fit images"):
        table.add_column(heading, justify="left" if heading in ("protocol", "unit") else "right")
    for label, model in zip(labels(report), report.models, strict=True):
        for result in model.results:
            cells = [described(result), shown(result.score.value), shown(result.baseline.value), result.protocol.unit]
            table.add_row(*([shown_name(label)] if several else []), *cells, shown(result.on_fit))
        table.add_section()
    if several:
        for result, (middle, spread) in zip(report.models[0].results, over_models(report), strict=True):
            cells = [
                result.protocol.name,
                f"{middle:.2f} ± {spread:.2f}",
                shown(result.baseline.value),
                result.protocol.unit,
                "",
            ]
            table.add_row("mean ± std", *cells)
    return table


def described(result: Result) -> str:
    """The protocol's name, with what it chose or left out."""
    details = result.fitted.details
    if "penalty" in details:
        return f"{result.protocol.name} (penalty {details['penalty']:.1g})"
    compared, known = details.get("keypoints_compared"), int(np.isfinite(result.score.errors).any(0).size)
    return (
        f"{result.protocol.name} ({compared} of {known})" if compared is not None and compared < known else result.protocol.name
    )


def keypoint_table(report: Report, result: Result) -> Table:
    table = Table(title=f"{result.protocol.name} per keypoint ({result.protocol.unit})", title_justify="left")
    table.add_column("keypoint")
    table.add_column("mean pose", justify="right")
    for label in labels(report):
        table.add_column("error" if len(report.models) == 1 else shown_name(label), justify="right")
    for k, name in enumerate(report.keypoint_names):
        values = [shown(model.results[0].score.per_keypoint[k]) for model in report.models]
        table.add_row(shown_name(name), shown(result.baseline.per_keypoint[k]), *values)
    return table


def sweep_table(model: ModelReport, label: str, method: str) -> Table:
    sweep = model.sweep
    protocol = model.results[0].protocol
    title = f"occluded images, {protocol.name} ({protocol.unit}), method {method}; whole images {shown(sweep.whole)}"
    table = Table(title=f"{shown_name(label)}: {title}" if label else title, title_justify="left")
    table.add_column("hidden")
    for iteration in range(sweep.values.shape[1]):
        table.add_column(f"it. {iteration}", justify="right")
    table.add_column("repaired", justify="right")
    for occlusion, values in zip(sweep.occlusions, sweep.values, strict=True):
        table.add_row(occlusion.label, *map(shown, values), repaired(values, sweep.whole, protocol.better))
    return table


def repaired(values: np.ndarray, whole: float, better: str) -> str:
    """Share of the damage (occluded against whole images) that the last iteration takes back; empty without damage."""
    damage = values[0] - whole
    worse = damage if better == "lower" else -damage
    return "" if worse < 0.02 * abs(whole) else f"{100 * (values[0] - values[-1]) / damage:.0f} %"


def shown_name(name: str) -> str:
    return escape(on_screen(name))


def shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"
