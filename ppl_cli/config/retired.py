"""Fields that configurations had once. Files written then still load where such a field changed nothing."""

import reprlib
from collections.abc import Callable

from ppl_cli.errors import UsageError

SINCE = "0.2"
# Field -> its neutral value, which is what ppl does now.
RETIRED: dict[str, object] = {
    "model.affine_start": "random",
    "model.affine_limit": 0,
    "model.attention_temperature": 1,
    "model.attention_stride": 4,
    "reference.missing_start": None,
    "reference.missing_until": 0,
    "reference.vary_cells": False,
    "loss.scales": 3,
    "loss.boundary": 1,
    "memory.counts_start": 0,
    "memory.distil": "mean",
    "train.weight_decay": 0,
    "train.schedule": "constant",
    "train.warmup": 0,
    "train.colour": 0,
    "train.occlude": 0,
}


def drop_retired(values: object, source: Callable[[str], str]) -> object:
    """`values` without retired fields. UsageError if one of them is not neutral; `source` says where a key comes from."""
    if not isinstance(values, dict):
        return values
    kept = {name: dict(section) if isinstance(section, dict) else section for name, section in values.items()}
    for key, neutral in RETIRED.items():
        section, field = key.split(".")
        if not isinstance(kept.get(section), dict) or field not in kept[section]:
            continue
        if (value := kept[section].pop(field)) != neutral:
            raise UsageError(
                f"{source(key)}: {key} is gone since ppl {SINCE}: expected {neutral}, which is what ppl does now, got "
                f"{reprlib.repr(value)}; leave it out, or use an older ppl"
            )
    return kept
