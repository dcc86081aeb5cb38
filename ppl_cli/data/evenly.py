"""Some of many, so that all of it is seen."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def choose_evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, from the first to the last, evenly spaced."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int).tolist()
    return [items[place] for place in places]
