"""From what the user wrote to protocols and data: names, thresholds, and which kind of data set a folder is."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ppl_cli.config.loading import nearest
from ppl_cli.config.sections import Config, DataConfig, DataKind
from ppl_cli.data.datasets import WITHOUT_FILES
from ppl_cli.data.layouts import detect_kind
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.human36m import Human36m
from ppl_cli.evaluation.matching import Matching
from ppl_cli.evaluation.protocols import MeanPose, Pck, Regression, Taichi
from ppl_cli.evaluation.report import Protocol

NAMES = ("regression", "ridge", "h36m", "cub", "taichi", "pck", "matching", "mean_pose")
USUAL = {"h36m": ["h36m"], "h36m_wobg": ["h36m"], "h5": ["cub"], "taichi": ["taichi"]}  # data.kind -> protocols
UNANNOTATED = ("folder", "video_frames")
CHOOSES_FIT = ("coco", "deeplabcut", "ultralytics", "sleap")
CHOOSES_TEST = (*CHOOSES_FIT, "h5")
HAS_CATEGORIES = ("coco", "ultralytics", "sleap")
OWN_OPTIONS = {"penalty": "ridge", "thresholds": "pck", "swap_table": "h36m"}  # option -> the protocol that has it

THRESHOLDS = "write shares of the image side such as 0.05, or pixels such as 6px"


@dataclass(frozen=True)
class Choices:
    """Options of the protocols, None where the user leaves them to the protocol."""

    protocols: str | None = None
    bias: bool | None = None
    origin: str | None = None
    penalty: str | None = None  # loo
    thresholds: str | None = None  # 0.05,0.1
    swap_table: str | None = None  # corrected


def choose_protocols(kind: str, choices: Choices) -> list[Protocol]:
    names = [name.strip() for name in (choices.protocols or "").split(",") if name.strip()]
    names = names or USUAL.get(kind, ["regression", "ridge"])
    for option, protocol in OWN_OPTIONS.items():
        if getattr(choices, option) is not None and protocol not in names:
            shown = "--" + option.removesuffix("s").replace("_", "-")
            raise UsageError(f"{shown} belongs to the protocol {protocol}: add --protocol {','.join([*names, protocol])}")
    chosen: list[Protocol] = []
    for name in names:
        chosen += build(name, choices)
    return list({protocol.name: protocol for protocol in chosen}.values())


def build(name: str, choices: Choices) -> list[Protocol]:
    shared = {key: value for key, value in (("bias", choices.bias), ("origin", choices.origin)) if value is not None}
    if choices.origin not in (None, "corner", "centre"):
        raise UsageError(f"--origin {choices.origin}: write corner or centre")
    if choices.swap_table not in (None, "corrected", "published"):
        raise UsageError(f"--swap-table {choices.swap_table}: write corrected or published")
    match name:
        case "regression":
            return [Regression(**shared)]
        case "ridge":
            return [Regression(name="ridge", penalty=parse_penalty(choices.penalty or "loo"), **shared)]
        case "cub":
            return [Regression(name="cub", **{"bias": False, **shared})]
        case "h36m":
            return [Human36m(table=choices.swap_table or "corrected", **shared)]
        case "taichi":
            return [Taichi(**shared)]
        case "pck":
            return parse_thresholds("0.05,0.1" if choices.thresholds is None else choices.thresholds, shared)
        case "matching":
            return [Matching(), Matching(name="matching_squared", unit="mean squared distance, sides of 2", squared=True)]
        case "mean_pose":
            return [MeanPose()]
    raise UsageError(f"--protocol {name}: no such protocol{nearest(name, NAMES)}")


def parse_penalty(text: str) -> float | str:
    if text in ("loo", "stretches"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--penalty {text}: write loo, stretches or a number above 0")
    return value


def parse_thresholds(text: str, shared: dict) -> list[Protocol]:
    """`0.05` is a share of the image side, `6px` pixels of the image."""
    chosen: list[Protocol] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([0-9.]+)\s*(px)?", part)
        try:
            value = float(match[1]) if match else 0.0
        except ValueError:
            value = 0.0
        if not value:
            raise UsageError(f"--threshold {text}: {THRESHOLDS}")
        chosen.append(Pck(name=f"pck@{match[1]}{match[2] or ''}", threshold=value, pixels=bool(match[2]), **shared))
    if not chosen:
        raise UsageError(f"--threshold {text!r}: {THRESHOLDS}")
    return chosen


def evaluation_data(
    config: Config,
    data: Path | None,
    kind: str | None,
    fit: str | None,
    test: str | None,
    category: str | None = None,
    images: str | None = None,
) -> DataConfig:
    """What to measure on: the data given, else those that the model was trained on."""
    if kind is not None and kind not in get_args(DataKind):
        raise UsageError(f"--kind {kind}: no such kind of data set{nearest(kind, get_args(DataKind))}")
    own = config.data
    path = str(data) if data else own.path
    if kind is None:
        if data is None and own.kind in WITHOUT_FILES:
            kind = own.kind
        elif path is None:
            raise UsageError("which annotated images? give --data FOLDER")
        elif own.kind not in (*UNANNOTATED, *WITHOUT_FILES) and not data:
            kind = own.kind
        else:
            kind = detect_kind(Path(path), fit, test)
            kind = own.kind if (kind, own.kind) == ("h36m", "h36m_wobg") else kind  # the folder is the same
    if kind in WITHOUT_FILES:
        if data is not None:
            raise UsageError(f"--data {data}: data.kind {kind} needs no folder")
        path = None
    for option, value, kinds in (("--fit", fit, CHOOSES_FIT), ("--test", test, CHOOSES_TEST)):
        if value is not None and kind not in kinds:
            raise UsageError(f"{option} {value}: data.kind {kind} has fixed splits")
    if category is not None and kind not in HAS_CATEGORIES:
        raise UsageError(f"--category {category}: data.kind {kind} has no categories")
    if images is not None and kind not in CHOOSES_FIT:
        raise UsageError(f"--images {images}: data.kind {kind} has its images where its files say")
    given = {"kind": kind, "path": path, "fit": fit, "test": test, "category": category, "images": images}
    if kind == own.kind and not data:
        given["category"] = category or own.category
        given["images"] = images or own.images
    given["annotations"] = own.annotations if kind == own.kind else None
    return own.model_copy(update=given)
