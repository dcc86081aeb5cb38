"""What an evaluation found, as tables for the terminal."""

import math

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppl_cli.evaluation.report import ModelReport, Report, Result, over_models
from ppl_cli.evaluation.unlabelled import UnlabelledReport
from ppl_cli.text import counted, on_screen


def show_report(report: Report | UnlabelledReport, console: Console) -> None:
    if isinstance(report, UnlabelledReport):
        print_unlabelled(report, console)
    else:
        print_tables(report, console)


def print_tables(report: Report, console: Console) -> None:
    console.print(protocol_table(report))
    console.print(keypoint_table(report, report.models[0].shown))
    for label, model in zip(report.labels(), report.models, strict=True):
        if model.sweep:
            console.print(sweep_table(model, label if len(report.models) > 1 else "", report.data["refinement"]["method"]))


def print_unlabelled(report: UnlabelledReport, console: Console) -> None:
    """A table of the keypoints, the numbers of the model, and the verdict."""
    images = f"{report.images} of {counted(report.data['images'], 'image')}"
    table = Table(title=f"without labels, {images}; lengths in % of the image side", title_justify="left")
    for heading in ("keypoint", "movement", "link", "missed", "relevance", "confidence", ""):
        table.add_column(heading, justify="left" if heading in ("keypoint", "") else "right", overflow="fold")
    for keypoint in report.keypoints:
        numbers = (
            f"{keypoint.shift:.1f}",
            f"{keypoint.link:.2f}",
            f"{max(keypoint.loss, 0):.1f} %",
            shown(keypoint.relevance),
        )
        table.add_row(shown_name(keypoint.name), *numbers, shown(keypoint.confidence), shown_name(keypoint.trouble or ""))
    console.print(table)
    said = [f"memory {report.bank_use:.1f} of {report.vectors} vectors a bank"]
    if not math.isnan(report.gain):
        said.append(f"error x {report.gain:.2f} with the pose of another image")
    if report.familiar is not None:
        said.append(f"{100 * report.familiar:.0f} % of images like those of the training")
    console.print("; ".join(said), soft_wrap=True, highlight=False)
    console.print(f"verdict: {shown_name(report.verdict)}", soft_wrap=True, highlight=False)


def protocol_table(report: Report) -> Table:
    images = counted(report.data["test_images"], "test image")
    table = Table(title=f"{images}, {report.data['fit_images']} to fit on", title_justify="left")
    several = len(report.models) > 1
    if several:
        table.add_column("model")
    for heading in ("protocol", "error", "mean pose", "unit", "on fit images"):
        table.add_column(heading, justify="left" if heading in ("protocol", "unit") else "right")

    def add_row(model: str, *cells: str) -> None:
        table.add_row(*([model] if several else []), *cells)

    for label, model in zip(report.labels(), report.models, strict=True):
        for result in model.results:
            values = map(shown, (result.score.value, result.baseline.value))
            add_row(shown_name(label), described(result), *values, result.protocol.unit, shown(result.on_fit))
        table.add_section()
    if several:
        for result, (middle, spread) in zip(report.models[0].results, over_models(report), strict=True):
            name, unit = result.protocol.name, result.protocol.unit
            add_row("mean ± std", name, f"{middle:.2f} ± {spread:.2f}", shown(report.mean_pose[name]), unit, "")
    return table


def described(result: Result) -> str:
    """The protocol's name, with what it chose or left out."""
    name, details, annotated = result.protocol.name, result.fitted.details, result.score.errors.shape[1]
    if "penalty" in details:
        return f"{name} (penalty {details['penalty']:.1g})"
    compared = details.get("keypoints_compared", annotated)
    return f"{name} ({compared} of {annotated})" if compared < annotated else name


def keypoint_table(report: Report, result: Result) -> Table:
    table = Table(title=f"{result.protocol.name} per keypoint ({result.protocol.unit})", title_justify="left")
    table.add_column("keypoint")
    for label in report.labels():
        table.add_column("error" if len(report.models) == 1 else shown_name(label), justify="right")
    table.add_column("mean pose", justify="right")
    for k, name in enumerate(report.keypoint_names):
        values = [shown(model.shown.score.per_keypoint[k]) for model in report.models]
        table.add_row(shown_name(name), *values, shown(result.baseline.per_keypoint[k]))
    return table


def sweep_table(model: ModelReport, label: str, method: str) -> Table:
    sweep = model.sweep
    protocol = model.shown.protocol
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
    return "" if worse <= 0.02 * abs(whole) else f"{100 * (values[0] - values[-1]) / damage:.0f} %"


def shown_name(name: str) -> str:
    return escape(on_screen(name))


def shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"
