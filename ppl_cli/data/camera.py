"""Whether the camera of videos moves: seen from how much of the picture stands still."""

import numpy as np
import torch

from ppl_cli.data.frame import PADDING
from ppl_cli.data.image_set import ImageSet

VIDEOS, FRAMES = 8, 50  # that are looked at, evenly chosen
# Of the spread of a frame's pixels: how much the stillest quarter of the picture changes over time. A still camera: 0.15 (a
# mouse on a wheel); moving ones: 0.42 (a walking tiger), 0.68 (a mouse that the picture follows), 0.67 (drawn figures).
STILL = 0.25


def moves(images: ImageSet) -> bool:
    """Whether in most videos hardly a part of the picture stands still."""
    _, starts, counts = images.videos
    videos = np.flatnonzero(counts > 1)  # the others are single images
    chosen = videos[np.linspace(0, len(videos) - 1, min(len(videos), VIDEOS)).astype(int)]
    changes = [measure_change(images, starts[video], counts[video]) for video in chosen]
    return float(np.median(changes)) > STILL


def measure_change(images: ImageSet, first: int, count: int) -> float:
    """The lower quartile of its pixels' standard deviations over time, of the video whose `count` frames begin at `first`."""
    frames = torch.linspace(first, first + count - 1, min(count, FRAMES)).round().long()
    grey = images.fetch(frames).cpu().float().mean(1)  # (F, S, S)
    picture = (grey != PADDING[0]).any(0)
    if not picture.any():
        return 0.0
    over_time = grey.std(0, correction=0)[picture]
    spread = grey[:, picture].std(1, correction=0).mean()
    return float(over_time.quantile(0.25) / spread.clamp_min(1))
