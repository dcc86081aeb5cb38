"""The pose prior: keypoints, links, prototypical poses and memory banks, in Python and as a file.

`prior.json` (version 2; docs/prior.md has its schema) is for people and for `ppl train --init-prior`, `prior.npz` for
programs; neither needs this package to be read.
"""

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import read_limited, replace_text, replacing
from ppl_cli.prior.links import find_skeleton
from ppl_cli.text import FORMULA, in_one_line, printable

FORMAT_VERSION = 2  # 1 did not say which keypoints are useful
LARGEST_FILE = 64 << 20  # bytes
COORDINATES = "(x, y) in [-1, 1]: centres of the first and last pixel of the square input"
FAR = 3.0  # coordinates beyond it cannot be normalised ones
HEAVIEST = 1e4  # link
SYMMETRY = 1e-5  # links may differ by so much from their mirror image: rounding
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=HEAVIEST)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Keypoint(Part):
    """A name, its place (x, y) in [-1, 1], and whether it is useful: linked strongly, not idle (prior/links.py)."""

    name: Annotated[str, Field(max_length=200)]
    x: float
    y: float
    useful: bool = True  # a prior drawn by hand has no idle ones

    @field_validator("name")
    @classmethod
    def can_be_shown(cls, name: str) -> str:
        if not name.strip() or not name.isprintable():
            raise ValueError("a name must be printable text on one line, and not empty")
        if FORMULA.match(name):
            raise ValueError(f"the name {name} begins as a formula does in a spreadsheet: choose another")
        return name

    @field_validator("x", "y")
    @classmethod
    def is_normalised(cls, value: float) -> float:
        if abs(value) > FAR:
            raise ValueError(f"expected a coordinate in [-1, 1], got {value:g}: it looks like pixels")
        return value


class Prototype(Part):
    """A typical pose."""

    frequency: Share  # of all poses: those to which no other prototype is nearer
    keypoints: list[tuple[float, float]]  # (x, y) in [-1, 1]
    tokens: list[int] = []  # which vector of each bank it is stored as
    nearest_image: str | None = None  # name of the image whose pose is nearest to it

    @property
    def points(self) -> np.ndarray:
        """(N, 2): the keypoints as an array."""
        return np.array(self.keypoints)


class Bank(Part):
    """How a memory bank is used: share of poses that choose each vector, and how far swapping them moves each keypoint."""

    use: list[Share]
    moves: list[Annotated[float, Field(ge=0)]]
    perplexity: Annotated[float, Field(ge=1)]  # how many vectors are used: 1 (one) to all alike

    @classmethod
    def of(cls, use: np.ndarray, moves: np.ndarray) -> "Bank":
        some = use[use > 0]
        perplexity = max(1.0, float(np.exp(-(some * np.log(some)).sum())))
        return cls(use=use.tolist(), moves=moves.tolist(), perplexity=perplexity)


class Prior(Part):
    """What a model has learned of the poses of its category. N keypoints.

    As arrays: `points` (N, 2), (x, y) in [-1, 1], and `weights` (N, N) of the links. Beside them `names` of the keypoints,
    `prototypes` (typical poses, the most frequent first) and `banks` (how the memory is used). `strong_links()` are the
    pairs of keypoints that make up the skeleton. The fields are those of `prior.json`.
    """

    format_version: Literal[2] = FORMAT_VERSION
    coordinates: str = COORDINATES
    keypoints: list[Keypoint] = Field(min_length=2, max_length=128)
    links: Annotated[list[Annotated[list[Weight], Field(max_length=128)]], Field(max_length=128, repr=False)]
    prototypes: list[Prototype] = Field([], max_length=1000, repr=False)
    banks: list[Bank] = Field([], max_length=4096, repr=False)

    @model_validator(mode="after")
    def parts_fit(self) -> "Prior":
        count = len(self.keypoints)
        if len({keypoint.name for keypoint in self.keypoints}) < count:
            raise ValueError("two keypoints have the same name")
        if len(self.links) != count or any(len(row) != count for row in self.links):
            raise ValueError(f"links must be a {count} x {count} matrix, one row for each keypoint")
        away = np.abs(self.weights - self.weights.T)
        if away.max() > SYMMETRY * max(self.weights.max(), 1):
            i, j = np.unravel_index(away.argmax(), away.shape)
            raise ValueError(f"links must be symmetric: [{i}][{j}] is {self.links[i][j]:g}, [{j}][{i}] is {self.links[j][i]:g}")
        if np.diag(self.weights).any():
            raise ValueError("a keypoint cannot be linked with itself: the diagonal of links must be 0")
        for number, prototype in enumerate(self.prototypes):
            if len(prototype.keypoints) != count:
                raise ValueError(f"prototype {number} has {len(prototype.keypoints)} keypoints, the prior {count}")
        for number, bank in enumerate(self.banks):
            if len(bank.moves) != count:
                raise ValueError(f"bank {number} moves {len(bank.moves)} keypoints, the prior has {count}")
        return self

    @classmethod
    def of(
        cls,
        keypoints: np.ndarray,
        links: np.ndarray,
        names: list[str] | None = None,
        useful: np.ndarray | None = None,
        **more,
    ) -> "Prior":
        """From arrays: keypoints (N, 2), (x, y) in [-1, 1]; links (N, N), symmetric, >= 0, zero on the diagonal.

        `names` of the keypoints, else k0, k1, ...; `useful` (N,) bool, else all are. PPLError if the values cannot be those of
        a prior.
        """
        names = names or number_names(len(keypoints))
        places = np.asarray(keypoints, float).tolist()
        rows = zip(names, places, [True] * len(names) if useful is None else useful.tolist(), strict=True)
        named = [{"name": name, "x": x, "y": y, "useful": used} for name, (x, y), used in rows]
        try:
            return cls(keypoints=named, links=np.asarray(links, float).tolist(), **more)
        except ValidationError as error:
            problem = first_problem(error)
            raise PPLError(f"the model has no valid prior: {problem}; its training failed or the file is damaged") from None

    @property
    def points(self) -> np.ndarray:
        """(N, 2): (x, y) of the keypoints in [-1, 1]."""
        return np.array([(keypoint.x, keypoint.y) for keypoint in self.keypoints])

    @property
    def names(self) -> list[str]:
        return [keypoint.name for keypoint in self.keypoints]

    @property
    def useful(self) -> np.ndarray:
        """(N,) bool: which keypoints are not idle."""
        return np.array([keypoint.useful for keypoint in self.keypoints])

    @property
    def weights(self) -> np.ndarray:
        """(N, N): how strongly keypoints are linked, symmetric, >= 0, zero on the diagonal."""
        return np.array(self.links)

    def select(self, kept: Sequence[int]) -> "Prior":
        """Keypoints and links of these keypoints alone."""
        names = self.names
        return Prior.of(self.points[kept], self.weights[np.ix_(kept, kept)], [names[i] for i in kept])

    def strong_links(self) -> list[tuple[int, int]]:
        """Pairs i < j: the skeleton that is drawn and exported (`find_skeleton`)."""
        i, j = np.nonzero(np.triu(find_skeleton(self.weights)))
        return list(zip(i.tolist(), j.tolist(), strict=True))


def number_names(count: int) -> list[str]:
    """Names of keypoints that nobody has named: k0, k1, ..."""
    return [f"k{i}" for i in range(count)]


def save_prior(path: Path, prior: Prior) -> None:
    replace_text(path, to_text(prior.model_dump()))


def to_text(content: dict) -> str:
    """JSON with one line for each keypoint, row of links, prototype and bank."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def load_prior(path: Path) -> Prior:
    """The prior of a `prior.json`. UsageError names the file, the place in it and what is wrong."""
    try:
        content = json.loads(read_limited(path, LARGEST_FILE).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {in_one_line(error)}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise UsageError(f"{path} is not a prior of ppl: format_version must be a number from 1 to {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        shown = reprlib.repr(version)
        raise UsageError(
            f"{path} has format version {shown}, this ppl reads up to {FORMAT_VERSION}: update ppl or export it again"
        )
    try:
        return Prior.model_validate(content | {"format_version": FORMAT_VERSION})
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    return printable(f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}", 400)


def save_npz(path: Path, prior: Prior) -> None:
    """keypoints (N, 2), names (N), useful (N), links (N, N), prototypes (P, N, 2), frequency (P), tokens (P, B),
    bank_use (B, V), bank_moves (B, N), nearest_image (P)."""
    count = len(prior.keypoints)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            keypoints=prior.points,
            names=np.array(prior.names),
            useful=prior.useful,
            links=prior.weights,
            prototypes=np.array([prototype.keypoints for prototype in prior.prototypes]).reshape(-1, count, 2),
            frequency=np.array([prototype.frequency for prototype in prior.prototypes]),
            tokens=np.array([prototype.tokens for prototype in prior.prototypes], int),
            nearest_image=np.array([prototype.nearest_image or "" for prototype in prior.prototypes], str),
            bank_use=np.array([bank.use for bank in prior.banks]),
            bank_moves=np.array([bank.moves for bank in prior.banks]).reshape(-1, count),
        )
