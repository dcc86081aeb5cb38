"""What the memory holds, in terms of poses: prototypes with their frequency, and what each bank moves.

A pose is stored as one vector of every bank. Prototypes are medoids of the poses that images are recalled as, so each is
a pose that the memory really produces.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ppl_cli.data.evenly import choose_evenly
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.prior.links import find_useful
from ppl_cli.prior.prior import Bank, Prior, Prototype

MOST = 1000  # poses that prototypes are chosen among
ROUNDS = 50


@dataclass
class Recalled:
    """Poses as the memory knows them: tokens (M, banks), which vector of each bank, and keypoints (M, N, 2), normalised.

    Poses of images also have the images' names, and in `found` (M, N, 2) the keypoints that were found in them.
    """

    tokens: np.ndarray
    keypoints: np.ndarray
    names: list[str] | None = None
    found: np.ndarray | None = None


@torch.inference_mode()
def decode_tokens(model: PosePriorLearner, tokens: np.ndarray) -> np.ndarray:
    """(M, banks) -> (M, N, 2), normalised: the pose that these vectors stand for."""
    memory = model.memory
    chosen = torch.as_tensor(tokens, dtype=torch.long, device=memory.vectors.device)
    return memory.decode(memory.vectors[torch.arange(chosen.shape[1]), chosen]).float().cpu().numpy().astype(np.float64)


@torch.no_grad()
def learned_prior(model: PosePriorLearner, names: list[str] | None = None, **more) -> Prior:
    """Keypoints and links as the model has learned them; `names` where a given prior has them, else k0, k1, ...

    PPLError if they are not finite: training failed, or the file is damaged.
    """
    links = model.link_weights().cpu().numpy()
    return Prior.of(model.distil_prior().cpu().numpy(), links, names, find_useful(links), **more)


def build_prior(model: PosePriorLearner, recalled: Recalled, count: int, names: list[str] | None = None) -> Prior:
    """Keypoints, links, `count` prototypes (fewer where the memory knows fewer poses) and banks."""
    prototypes, banks = choose_prototypes(recalled, count), describe_banks(model, recalled.tokens)
    return learned_prior(model, names, prototypes=prototypes, banks=banks)


def choose_prototypes(recalled: Recalled, count: int) -> list[Prototype]:
    """Most frequent first."""
    among = choose_evenly(range(len(recalled.tokens)), MOST)
    if not len(recalled.tokens) or count < 1:
        return []
    poses = recalled.keypoints[among]
    medoids, nearest = k_medoids(pose_distances(poses, poses), count)
    result = []
    for number in np.argsort(-np.bincount(nearest, minlength=len(medoids)), kind="stable"):
        index, alike = among[medoids[number]], [among[place] for place in np.flatnonzero(nearest == number)]
        result.append(
            Prototype(
                frequency=float((nearest == number).mean()),
                keypoints=recalled.keypoints[index].tolist(),
                tokens=recalled.tokens[index].tolist(),
                nearest_image=nearest_image(recalled, alike, recalled.keypoints[index]),
            )
        )
    return result


def nearest_image(recalled: Recalled, among: list[int], pose: np.ndarray) -> str | None:
    """The image, `among` those for which a prototype is counted, whose found pose is nearest to `pose` (N, 2)."""
    if recalled.names is None:
        return None
    return recalled.names[among[int(pose_distances(pose[None], recalled.found[among])[0].argmin())]]


def pose_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(A, N, 2), (B, N, 2) -> (A, B) mean distance of keypoints."""
    return np.stack([np.linalg.norm(second - pose, axis=-1).mean(-1) for pose in first])


def k_medoids(distances: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(M, M) -> medoids (at most `count`) and for each of M the number of its medoid.

    Greedy start (each new medoid lowers the total distance most), then assign and recentre until nothing changes.
    """
    medoids: list[int] = []
    best = np.full(len(distances), np.inf)
    while len(medoids) < count:
        totals = np.minimum(best, distances).sum(1)
        chosen = int(totals.argmin())
        if medoids and totals[chosen] >= best.sum() - 1e-9:
            break  # every pose is a medoid already
        medoids.append(chosen)
        best = np.minimum(best, distances[chosen])
    current = np.array(medoids)
    for _ in range(ROUNDS):
        nearest = distances[current].argmin(0)
        members = [np.flatnonzero(nearest == k) for k in range(len(current))]
        better = np.array([own[distances[np.ix_(own, own)].sum(1).argmin()] for own in members])
        if (better == current).all():
            break
        current = better
    return current, distances[current].argmin(0)


def describe_banks(model: PosePriorLearner, tokens: np.ndarray) -> list[Bank]:
    """For each bank how its vectors are used, and how far swapping them moves each keypoint of the usual pose.

    The usual pose has each bank's most used vector. Movements are weighted by use, so what is never chosen counts nothing.
    """
    if not len(tokens):
        return []
    use = np.stack([np.bincount(bank, minlength=model.sizes.vectors) for bank in tokens.T]) / len(tokens)
    usual = use.argmax(1)
    base = decode_tokens(model, usual[None])[0]
    moved = [np.linalg.norm(poses - base, axis=-1) for poses in vary_banks(model, usual)]
    return [Bank.of(shares, shares @ distances) for shares, distances in zip(use, moved, strict=True)]


def vary_banks(model: PosePriorLearner, usual: np.ndarray) -> list[np.ndarray]:
    """For each bank (vectors, N, 2): the pose of the tokens `usual` (banks,) with each vector of that bank in turn."""
    variants = np.tile(usual, (len(usual), model.sizes.vectors, 1))
    for bank, tokens in enumerate(variants):
        tokens[:, bank] = np.arange(model.sizes.vectors)
    return [decode_tokens(model, tokens) for tokens in variants]
