"""From protocols by name, with their options, to the protocols themselves."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ppl_cli.config.loading import nearest
from ppl_cli.errors import UsageError
from ppl_cli.evaluation.human36m import Human36m
from ppl_cli.evaluation.matching import Matching
from ppl_cli.evaluation.protocols import Pck, Regression, Taichi
from ppl_cli.evaluation.report import Protocol

NAMES = ("regression", "ridge", "h36m", "cub", "taichi", "pck", "matching")
USUAL = {"h36m": ["h36m"], "h36m_wobg": ["h36m"], "h5": ["cub"], "taichi": ["taichi"]}  # data.kind -> protocols
OWN_OPTIONS = {"penalty": "ridge", "thresholds": "pck", "swap_table": "h36m"}  # option -> the protocol that has it

THRESHOLDS = "expected shares of the image side such as 0.05, or pixels such as 6px"

Origin = Literal["corner", "centre"]
SwapTable = Literal["corrected", "published"]


@dataclass(frozen=True)
class ProtocolOptions:
    """Which protocols, and their options. What is None is left to the protocol, or to the kind of data set."""

    names: str | None = None  # any of NAMES, with commas between
    bias: bool | None = None  # fit an offset too
    origin: Origin | None = None  # without bias: the point that maps to itself
    penalty: str | float | None = None  # of ridge: loo, stretches or a number above 0
    thresholds: str | None = None  # of pck: 0.05,0.1 (shares of the image side), 6px (pixels of the image)
    swap_table: SwapTable | None = None  # of h36m: pairs of left and right joints


def choose_protocols(kind: str, options: ProtocolOptions) -> list[Protocol]:
    """The protocols asked for, else those that the field measures such a data set with. UsageError if one is wrong."""
    names = [name.strip() for name in (options.names or "").split(",") if name.strip()]
    names = names or USUAL.get(kind, ["regression", "ridge"])
    for option, protocol in OWN_OPTIONS.items():
        if getattr(options, option) is not None and protocol not in names:
            shown = "--" + option.removesuffix("s").replace("_", "-")
            raise UsageError(f"{shown} belongs to the protocol {protocol}: add --protocol {','.join([*names, protocol])}")
    for option, value, allowed in (("--origin", options.origin, Origin), ("--swap-table", options.swap_table, SwapTable)):
        if value not in (None, *get_args(allowed)):
            raise UsageError(f"{option} {value}: expected {' or '.join(get_args(allowed))}")
    chosen = [protocol for name in names for protocol in build_protocols(name, options)]
    return list({protocol.name: protocol for protocol in chosen}.values())


def build_protocols(name: str, options: ProtocolOptions) -> list[Protocol]:
    shared = {key: value for key, value in (("bias", options.bias), ("origin", options.origin)) if value is not None}
    match name:
        case "regression":
            return [Regression(**shared)]
        case "ridge":
            penalty = parse_penalty("loo" if options.penalty is None else options.penalty)
            return [Regression(name="ridge", penalty=penalty, **shared)]
        case "cub":
            return [Regression(name="cub", **{"bias": False, **shared})]
        case "h36m":
            return [Human36m(table=options.swap_table or "corrected", **shared)]
        case "taichi":
            return [Taichi(**shared)]
        case "pck":
            return parse_thresholds("0.05,0.1" if options.thresholds is None else options.thresholds, shared)
        case "matching":
            return [Matching(), Matching(name="matching_squared", unit="mean squared distance, sides of 2", squared=True)]
    raise UsageError(f"--protocol {name}: no such protocol{nearest(name, NAMES)}")


def parse_penalty(text: str | float) -> float | str:
    if text in ("loo", "stretches"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--penalty {text}: expected loo, stretches or a number above 0")
    return value


def parse_thresholds(text: str, shared: dict) -> list[Protocol]:
    """`0.05` is a share of the image side, `6px` pixels of the image."""
    chosen: list[Protocol] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*(px)?", part)
        if not match or not (value := float(match[1])):
            raise UsageError(f"--threshold {text}: {THRESHOLDS}")
        if value >= 1 and not match[2]:
            raise UsageError(f"--threshold {text}: {part} image sides are more than an image; write 0.05 or {part}px")
        chosen.append(Pck(name=f"pck@{match[1]}{match[2] or ''}", threshold=value, pixels=bool(match[2]), **shared))
    if not chosen:
        raise UsageError(f"--threshold {text!r}: {THRESHOLDS}")
    return chosen
