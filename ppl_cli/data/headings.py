"""Which way the object heads in each image, found from the images alone: so that all can be turned to head one way.

An animal seen from above heads anywhere. Learned so, its keypoints go by the direction in the image, and which end is the
head stays a guess (docs/experiments.md, "Found at any angle"). So images are turned first, by quarters of a circle. Headings
are found in three steps:

1. All objects are brought to lie on top of each other: each image is turned and moved to agree best with their mean, which
   follows. That finds their axis, not which end is which.
2. What stands still behind them is taken away: a floor would tell the ends apart otherwise, and not as the object does.
3. Half of the difference between an object and itself turned by half a circle is what its ends differ in. Of all ways to
   measure it on the images, one value where the head is on the right and the opposite one where it is on the left comes from
   the ends; shadows, bends and what is left of the floor give values of any size. So the measure with the smallest kurtosis,
   1 for two opposite values and 3 for chance, says which end is which. (It does not matter where the ends are alike.)
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tqdm import tqdm

from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.frame import PADDING
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.units import to_unit

SIDE, ANGLES, REACH = 32, 24, 0.25  # pixels; looks all around; how far objects lie from the middle, normalised
FEWEST, SAMPLE, ENDS = 30, 128, 1024  # images: least, those that are laid on top of each other, those that show their ends
STARTS, ROUNDS = 2, 8  # of laying them so
BATCH = 32
# An object heads in many directions where its axis is turned by more than 37.5 degrees from the common one in a sixth of the
# images (a mouse and lizards from above: 20 to 55 %; hands, also of two signs alone, and animals from the side: 0 to 12 %),
# where images agree so much better once they are turned (0.13 to 0.28; 0 to 0.17), and well then (0.76 to 0.88; what has no
# common shape, 0.1 to 0.4).
TURNED, MANY, GAIN, ALIKE = math.radians(37.5), 0.16, 0.1, 0.6
BODY, MARGIN = 0.6, 5  # of the largest difference from the background; pixels around
PATTERNS, TRIES = 8, 30  # principal components that are measured with; starts of the search

LINE = torch.linspace(-1, 1, SIDE)
Y, X = torch.meshgrid(LINE, LINE, indexing="ij")
DISC = ((1 - (X.square() + Y.square()).sqrt()) / 0.1).clamp(0, 1)
TURNS = torch.arange(ANGLES) * (2 * math.pi / ANGLES)


class Places(NamedTuple):
    """Where objects lie: what is at (x, y) of the common picture is at R(turns) ((x, y) + shifts) of an image, normalised."""

    turns: torch.Tensor  # (M,) radians
    shifts: torch.Tensor  # (M, 2)

    def bring(self, images: torch.Tensor) -> torch.Tensor:
        """Images (M, C, S, S) -> the common picture (M, C, S, S), 0 where an image shows nothing."""
        cos, sin = self.turns.cos(), self.turns.sin()
        x, y = self.shifts.unbind(-1)
        return sample(images, torch.stack((cos, -sin, cos * x - sin * y, sin, cos, sin * x + cos * y), -1))

    def show(self, images: torch.Tensor) -> torch.Tensor:
        """The same, of length 1 each."""
        brought = self.bring(images)
        return brought / brought.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None, None]

    def take_back(self, picture: torch.Tensor) -> torch.Tensor:
        """The common picture (1, C, S, S) -> what it is in each image (M, C, S, S)."""
        cos, sin = self.turns.cos(), self.turns.sin()
        x, y = self.shifts.unbind(-1)
        return sample(picture.expand(len(cos), -1, -1, -1), torch.stack((cos, sin, -x, -sin, cos, -y), -1))


def sample(images: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(affine.unflatten(-1, (2, 3)), list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)


class Agreement(NamedTuple):
    picture: torch.Tensor  # (3, S, S) the mean of the objects, their axis along x
    places: Places
    scores: torch.Tensor  # (M, ANGLES) correlation of each image, turned so far, with the picture

    def many_headings(self) -> bool:
        axes = torch.polar(torch.ones_like(self.places.turns), 2 * self.places.turns)
        turns = (axes * axes.mean().conj()).angle().abs() / 2
        alike, without = float(self.scores.amax(1).mean()), float(self.scores.mean(0).max())
        return float((turns > TURNED).float().mean()) > MANY and alike - without > GAIN and alike > ALIKE


def find_quarter_turns(images: ImageSet) -> list[int] | None:
    """By how many quarter turns each image is to be turned (`ImageSet.turn`) for all objects to head one way, along x.

    Within about 45 degrees: an object that hardly turned could be followed from beside it (docs/experiments.md). None where
    they head one way already, or are too few or too unlike each other to tell.
    """
    if len(images) < FEWEST:
        return None
    seen = read(images, choose_evenly(range(len(images)), SAMPLE))
    common = lay_together(seen)
    if not common.many_headings():
        return None
    floor = torch.zeros(3, SIDE, SIDE)
    for _ in range(2):
        floor = find_floor(seen, common)
        common = lay_together(seen - floor)
    ends = find_ends(images, floor, common)
    turns = []
    for indices in tqdm(torch.arange(len(images)).split(BATCH), "finding which way it heads", disable=None, leave=False):
        shown = read(images, indices.tolist()) - floor
        places = place(shown, common.picture)
        right = show_ends(shown, places, ends.body) @ ends.measure > 0
        turns.append(places.turns + math.pi * right)
    turns = torch.cat(turns)
    turns = turns + math.pi if turns.cos().mean() < 0 else turns  # of the two ways, that of most images
    return ((turns / (math.pi / 2)).round().long() % 4).tolist()


def read(images: ImageSet, indices: list[int]) -> torch.Tensor:
    """(B, 3, SIDE, SIDE) within a disc, 0 beside it: so that nothing comes in at the edge where it is turned."""
    batches = torch.tensor(indices).split(BATCH)
    return DISC * torch.cat([F.interpolate(stand_out(images.fetch(some).cpu()), (SIDE, SIDE), mode="area") for some in batches])


def stand_out(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) uint8 -> float: what differs from the colour that fills most of a picture; 0 in the padding beside it."""
    padding = (pixels == PADDING[0]).all(1, keepdim=True)
    padding = padding.all(2, keepdim=True) | padding.all(3, keepdim=True)
    images = to_unit(pixels).masked_fill(padding, torch.nan)
    return (images - images.flatten(2).nanmedian(2).values[..., None, None]).nan_to_num()


def look_around(images: torch.Tensor) -> torch.Tensor:
    """(M, 3, S, S) -> spectra (M, ANGLES, 3, S, S / 2 + 1) of each image turned all around, of length 1."""

    def look(some: torch.Tensor) -> torch.Tensor:
        still = torch.zeros(len(some), 2)
        turned = torch.stack([Places(turn.expand(len(some)), still).show(some) for turn in TURNS], 1)
        return torch.fft.rfft2(turned)

    return torch.cat([look(some) for some in images.split(BATCH)])


def lay_together(images: torch.Tensor) -> Agreement:
    """Turn and move images (M, 3, S, S) until they agree best with their mean; the best of a few starts."""
    spectra, best = look_around(images), None
    for first in choose_evenly(range(len(images)), STARTS + 1)[:-1]:
        picture = images[first]
        for _ in range(ROUNDS):
            scores, shifts = correlate(spectra, picture)
            picture = centre(choose_places(scores, shifts).show(images).mean(0))
        score = float(scores.amax(1).mean())
        if best is None or score > best[0]:
            best = score, picture
    picture = lay_flat(best[1])
    scores, shifts = correlate(spectra, picture)
    return Agreement(picture, choose_places(scores, shifts), scores)


def correlate(spectra: torch.Tensor, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Spectra of looks -> (M, ANGLES) best correlation with `picture` (3, S, S) over small shifts, (M, ANGLES, 2) that shift
    (x, y) in pixels."""
    other = torch.fft.rfft2(picture / picture.norm().clamp_min(1e-6)).conj()
    reach = int(REACH * SIDE / 2)
    near = torch.arange(-reach, reach + 1)
    best = []
    for some in spectra.split(BATCH):
        found = torch.fft.irfft2((some * other).sum(2), s=(SIDE, SIDE))
        best.append(found[..., near % SIDE, :][..., near % SIDE].flatten(2).max(2))
    scores, places = (torch.cat(parts) for parts in zip(*best, strict=True))
    return scores, torch.stack((near[places % len(near)], near[places // len(near)]), -1)


def choose_places(scores: torch.Tensor, shifts: torch.Tensor) -> Places:
    turned = scores.argmax(1)
    return Places(TURNS[turned], shifts[torch.arange(len(turned)), turned] * (2 / (SIDE - 1)))


def place(images: torch.Tensor, picture: torch.Tensor) -> Places:
    return choose_places(*correlate(look_around(images), picture))


def centre(picture: torch.Tensor) -> torch.Tensor:
    weights = picture.square().sum(0)
    x, y = ((weights * line).sum() / weights.sum().clamp_min(1e-6) * (SIDE - 1) / 2 for line in (X, Y))
    return picture.roll((-round(float(y)), -round(float(x))), (1, 2)) * DISC


def lay_flat(picture: torch.Tensor) -> torch.Tensor:
    """Turned so that its long axis lies along x."""
    weights = picture.square().sum(0)
    xx, yy, xy = (float((weights * line).sum()) for line in (X * X, Y * Y, X * Y))
    turn = torch.tensor([0.5 * math.atan2(2 * xy, xx - yy)])
    return Places(turn, torch.zeros(1, 2)).bring(picture.unsqueeze(0))[0]


def find_body(brought: torch.Tensor, share: float, margin: int) -> torch.Tensor:
    """(1, 1, S, S) 1 where objects (M, 3, S, S) differ from the background by `share` of the most, and some pixels around."""
    strength = F.avg_pool2d(brought.abs().mean((0, 1), keepdim=True), 3, 1, 1)
    for axes in ((-2, -1), (-1,)):  # it may lie either way about
        strength = torch.maximum(strength, strength.flip(axes))
    return F.max_pool2d((strength > share * strength.amax()).float(), margin, 1, margin // 2)


def find_floor(seen: torch.Tensor, common: Agreement) -> torch.Tensor:
    """(3, S, S) the mean of images (M, 3, S, S) where no object lies; where one nearly always does, the mean of that."""
    body = find_body(common.places.bring(seen), 0.25, 3)
    free = 1 - common.places.take_back(body)
    count = free.sum(0)
    usual = (free * seen).sum((0, 2, 3)) / free.sum().clamp_min(1e-6)
    return torch.where(count < 0.1 * len(seen), usual[:, None, None], (free * seen).sum(0) / count.clamp_min(1e-6))


class Ends(NamedTuple):
    body: torch.Tensor  # (1, 1, S, S) where they are looked for
    measure: torch.Tensor  # (3 S S,) whose product with `show_ends` is above 0 for one way about, below for the other


def find_ends(images: ImageSet, floor: torch.Tensor, common: Agreement) -> Ends:
    chosen = torch.tensor(choose_evenly(range(len(images)), ENDS)).split(BATCH)
    shown = [read(images, some.tolist()) - floor for some in chosen]
    places = [place(some, common.picture) for some in shown]
    body = find_body(torch.cat([where.bring(some) for where, some in zip(places, shown, strict=True)]), BODY, MARGIN)
    body = F.avg_pool2d(body, 3, 1, 1)
    differences = torch.cat([show_ends(some, where, body) for where, some in zip(places, shown, strict=True)])
    # A place counts as much as another, however much it varies.
    spread = differences.square().mean(0).sqrt()
    scale = spread + 0.05 * spread.square().mean().sqrt()
    differences = differences / scale.clamp_min(1e-6)
    strengths, patterns = torch.linalg.eigh((differences @ differences.T).double())
    strengths, patterns = strengths[-PATTERNS:], patterns[:, -PATTERNS:]
    weights = oppose(patterns * math.sqrt(len(patterns)))
    return Ends(body, (differences.T.double() @ (patterns / strengths) @ weights).float() / scale.clamp_min(1e-6))


def show_ends(images: torch.Tensor, places: Places, body: torch.Tensor) -> torch.Tensor:
    """(M, 3 S S), of length 1 each: what changes its sign when the object is turned by half a circle, left and right alike."""
    places = Places(places.turns, places.shifts + find_middle(places.bring(images) * body))
    brought = places.bring(images) * body
    brought = brought + brought.flip(-2)
    return F.normalize((brought - brought.flip((-2, -1))).flatten(1), dim=1)


def find_middle(brought: torch.Tensor) -> torch.Tensor:
    """(M, 2) normalised: the point about which an object is most like itself turned by half a circle."""
    spectra = torch.fft.rfft2(brought, s=(2 * SIDE, 2 * SIDE))
    sums = torch.fft.irfft2(spectra.square().sum(1), s=(2 * SIDE, 2 * SIDE))  # at the sum of two places: their product
    reach = int(0.3 * SIDE / 2)
    window = sums[:, SIDE - 1 - reach : SIDE + reach, SIDE - 1 - reach : SIDE + reach]
    best, size = window.flatten(1).argmax(1), 2 * reach + 1
    return (torch.stack((best % size, best // size), -1) - reach) / (SIDE - 1)


def oppose(patterns: torch.Tensor) -> torch.Tensor:
    """patterns (M, K), uncorrelated and of mean square 1 -> (K,) of length 1 whose combination of them comes nearest to two
    opposite values: that of the smallest kurtosis. A fixed-point search as in independent component analysis (Hyvarinen 1999).
    """
    random = torch.Generator().manual_seed(0)
    weights = F.normalize(torch.randn(patterns.shape[1], TRIES, generator=random, dtype=patterns.dtype), dim=0)
    for _ in range(100):
        weights = F.normalize(3 * weights - patterns.T @ (patterns @ weights) ** 3 / len(patterns), dim=0)
    return weights[:, (patterns @ weights).pow(4).mean(0).argmin()]
