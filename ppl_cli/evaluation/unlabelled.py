"""What images without annotations say of a model (docs/trust.md has each number in words).

A keypoint that is worth something moves with the image, is linked, is missed in the reconstruction, and lies where the pose
matters. A model that has learned poses draws an image better with its own pose than with that of another.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from ppl_cli import __version__
from ppl_cli.checkpoints.model_file import Checkpoint
from ppl_cli.config.sections import Config
from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.references import keep_mask
from ppl_cli.device import Compute
from ppl_cli.errors import PPLError
from ppl_cli.evaluation.report import without_nan
from ppl_cli.evaluation.sampling import Sampled
from ppl_cli.evaluation.verdict import find_trouble, give_verdict
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.stability import measure_shifts
from ppl_cli.model.core import FAINTEST
from ppl_cli.model.losses import MultiscaleLoss
from ppl_cli.model.relevance import relevance_at, relevance_map
from ppl_cli.model.skeleton import skeleton_map
from ppl_cli.prior.links import IDLE_BELOW, link_strengths
from ppl_cli.prior.prior import number_names
from ppl_cli.text import in_utf8

FORMAT_VERSION = 1
FILES = ("report.json", "report.html")
BATCH = 8  # more images at once would take more memory than the training before
RECONSTRUCTED = 32  # images that are drawn once more without each keypoint: most of the time goes there
TOGETHER = 3.0  # % of the image side: keypoints nearer than this on most images are duplicates
SEED = 0  # of the cells that the reference images show


@dataclass(frozen=True)
class KeypointReport:
    """One keypoint; lengths in % of the image side unless they say pixels (of the network's square)."""

    name: str
    useful: bool  # linked, and no duplicate of another one
    trouble: str | None  # idle, together with k3, beyond the edge, beside the object, restless (verdict.py)
    shift: float  # median over images: how far it moves against the image when that is warped a little
    shift_px: float
    link: float  # its strongest link, as a share of the strongest of all
    loss: float  # % by which the reconstruction's error rises without its links
    relevance: float  # by how much more than elsewhere the pose matters where it lies; median. NaN for a single image
    beyond: float  # share of images beyond whose edge it lies
    confidence: float  # mean over images; NaN where the model file has no calibration


@dataclass
class UnlabelledReport:
    """A model on images without annotations. `verdict` says it in one line."""

    model: str  # where it lies
    step: int  # of its training
    images: int  # that were looked at
    keypoints: list[KeypointReport]
    together: list[tuple[str, str, float]]  # see find_duplicates
    bank_use: float  # vectors of a memory bank in use, mean over banks
    vectors: int  # that a bank has
    gain: float  # reconstruction error with the pose of another image over that with its own; NaN for a single image
    familiar: float | None  # share of images whose pose is like those of the training; None: the model file does not know
    poses: np.ndarray = field(repr=False)  # (M, N, 2), normalised
    data: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    folder: Path | None = None  # where its files are

    def __repr__(self) -> str:
        return f"UnlabelledReport({self.model!r}, {self.verdict!r})"

    @property
    def useful(self) -> list[str]:
        return [keypoint.name for keypoint in self.keypoints if keypoint.useful]

    @property
    def score(self) -> float:
        """Ranks models of the same images: the higher, the better. It is the gain, 1 for a model that has learned no poses:
        that ranks runs as labelled errors do (docs/experiments.md, "A score without labels")."""
        return self.gain

    @property
    def verdict(self) -> str:
        return give_verdict(self)

    def to_dict(self) -> dict[str, object]:
        """The content of report.json. NaN becomes None."""
        content = {
            "format_version": FORMAT_VERSION,
            "ppl": __version__,
            "verdict": self.verdict,
            "score": self.score,
            "model": self.model,
            "step": self.step,
            "data": self.data,
            "images": self.images,
            "notes": [in_utf8(note) for note in self.notes],
            "bank_use": self.bank_use,
            "vectors": self.vectors,
            "gain": self.gain,
            "familiar": self.familiar,
            "keypoints": [vars(keypoint) for keypoint in self.keypoints],
            "together": [{"keypoints": [first, second], "share": share} for first, second, share in self.together],
        }
        return without_nan(content)


@torch.inference_mode()
def examine(checkpoint: Checkpoint, sampled: Sampled, compute: Compute, name: str = "", batch: int = BATCH) -> UnlabelledReport:
    """The model called `name` on these images, `batch` at a time. PPLError where it finds no finite keypoints."""
    model, config, side = checkpoint.model, checkpoint.config, checkpoint.config.model.image_size
    calibration = checkpoint.calibration
    estimator = Estimator(model, compute, calibration)
    looks, shifts = [], []
    for first in range(0, len(sampled), batch):
        images = estimator.to_images(sampled.squares[first : first + batch])
        looks.append(estimator.look(images))
        shifts.append(measure_shifts(estimator, images, looks[-1].keypoints))
    keypoints, confidence, strangeness = (torch.cat(parts) for parts in list(zip(*looks, strict=True))[:3])
    shift = torch.cat(shifts).median(0).values / 2 * (side - 1)
    if not keypoints.isfinite().all():
        raise PPLError("the model finds no finite keypoints: its training failed or the file is damaged")
    drawn = measure_reconstruction(estimator, config, sampled, keypoints, batch)
    found, links = keypoints.cpu().numpy().astype(np.float64), model.link_weights().cpu().numpy()
    beyond = [~frame.inside(frame.to_pixels(pose)) for frame, pose in zip(sampled.frames, found, strict=True)]
    names = config.prior.names or number_names(len(links))
    strengths = link_strengths(links)
    together = find_duplicates(found / 2 * (side - 1) / side * 100, names, strengths)
    lies_on = {second: first for first, second, _ in together}
    columns = (shift / side * 100, shift, strengths, drawn.missed, drawn.relevance, np.mean(beyond, 0), confidence.mean(0))
    rows = []
    for keypoint, numbers in zip(names, zip(*(column.tolist() for column in columns), strict=True), strict=True):
        move, _, link, _, relevance, outside, _ = numbers
        trouble = find_trouble(link, lies_on.get(keypoint), relevance, move, outside)
        useful = link >= IDLE_BELOW and keypoint not in lies_on
        rows.append(KeypointReport(keypoint, useful, trouble, *numbers))
    return UnlabelledReport(
        name,
        checkpoint.step,
        len(sampled),
        rows,
        together,
        float(model.memory.perplexity().mean()),
        model.sizes.vectors,
        drawn.gain,
        None if calibration is None else float((strangeness <= 1).float().mean()),
        found,
        {"images": sampled.of},
        list(sampled.notes),
    )


class Reconstructed(NamedTuple):
    missed: np.ndarray  # (N,) by how many % the error rises without the links of each keypoint
    relevance: np.ndarray  # (N,) see KeypointReport
    gain: float  # the factor by which the error rises with the pose of another image


def measure_reconstruction(
    estimator: Estimator, config: Config, sampled: Sampled, keypoints: torch.Tensor, batch: int
) -> Reconstructed:
    model, rows = estimator.model, choose_evenly(range(len(keypoints)), RECONSTRUCTED)
    images, poses, count = estimator.to_images(sampled.squares[rows]), keypoints[rows], len(rows)
    groups = None if sampled.groups is None else [sampled.groups[row] for row in rows]
    references = show_references(images, config, groups)
    links, distance = model.link_weights(), MultiscaleLoss()

    def draw(poses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        drawn = []
        for first in range(0, count, batch):
            part = slice(first, first + batch)
            lines = skeleton_map(poses[part], weights.clamp_min(FAINTEST), images.shape[-1], model.sizes.thickness)
            with estimator.compute.autocast():
                drawn.append(model.reconstruct(references[part], lines).float())
        return torch.cat(drawn)

    own = draw(poses, links)
    error = max(float(distance(own, images)), 1e-12)
    each = tqdm(range(len(links)), desc="drawing without each keypoint", disable=None, leave=False)
    missed = [100 * (float(distance(draw(poses, remove_links(links, k)), images)) / error - 1) for k in each]
    others = [draw(poses.roll(shift, 0), links) for shift in sorted({count // 4, count // 2, 3 * count // 4} - {0})]
    if not others:
        return Reconstructed(np.array(missed), np.full(len(links), np.nan), float("nan"))
    maps = torch.stack([relevance_map(images, own, other) for other in others]).mean(0)
    relevance = relevance_at(poses, maps).median(0).values.cpu().numpy()
    gain = float(np.mean([float(distance(other, images)) / error for other in others]))
    return Reconstructed(np.array(missed), relevance, gain)


def remove_links(weights: torch.Tensor, keypoint: int) -> torch.Tensor:
    left = weights.clone()
    left[keypoint], left[:, keypoint] = 0, 0
    return left


def show_references(images: torch.Tensor, config: Config, groups: list[int] | None) -> torch.Tensor:
    """What the decoder sees of images (B, 3, S, S), as in training: a few cells of each, or another frame of its video.

    Where no other frame is among them it is any other image: a decoder that learned from whole frames makes little of cells,
    whatever the pose.
    """
    hidden, count = config.reference, len(images)
    if hidden.kind == "video" and count > 1:
        groups = groups or [0] * count
        later = [[*range(i + 1, count), *range(i)] for i in range(count)]
        return images[[next((j for j in later[i] if groups[j] == groups[i]), later[i][0]) for i in range(count)]]
    random = torch.Generator().manual_seed(SEED)
    return images * keep_mask(count, hidden.cells, hidden.missing, images.shape[-1], random).to(images.device)


def find_duplicates(poses: np.ndarray, names: list[str], strengths: np.ndarray) -> list[tuple[str, str, float]]:
    """poses (M, N, 2) in % of the image side -> each keypoint that on most images lies together with a more strongly linked
    one, itself no duplicate; that one first, and the share of images."""
    near = (np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1) < TOGETHER).mean(0)
    kept, duplicates = [], {}
    for k in np.argsort(-strengths, kind="stable").tolist():
        nearest = max(kept, key=lambda other: near[k, other], default=k)
        if nearest == k or near[k, nearest] <= 0.5:
            kept.append(k)
        else:
            duplicates[k] = (names[nearest], names[k], float(near[k, nearest]))
    return [duplicates[k] for k in sorted(duplicates)]
