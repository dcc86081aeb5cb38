"""Hierarchical memory of prototypical poses (paper section "Hierarchical memory"; constants in docs/method.md).

A pose becomes one token per bank; each token is replaced by the nearest vector of its bank; the vectors decode back
to a pose. The mean of every bank decodes to the keypoint prior. Quantising and updating are separate calls: `recall`
reads, `update` writes, and only training writes. (The original implementation also writes while it evaluates.)
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ppl_cli.model.processes import all_rows, all_sum

DECAY = 0.9  # of the moving averages
SMOOTHING = 1e-5  # Laplace smoothing of the counts
TOKEN_HIDDEN = 64  # hidden units over the keypoint axis
DECODER_DIMENSION, DECODER_HIDDEN = 32, 64


class Recall(NamedTuple):
    tokens: torch.Tensor  # (B, banks, dimension) encoded pose
    indices: torch.Tensor  # (B, banks) int64, the chosen vector of each bank
    quantised: torch.Tensor  # (B, banks, dimension) the chosen vectors, no gradient
    keypoints: torch.Tensor  # (B, N, 2) recalled pose, (x, y) in [-1, 1]


class MixerLayer(nn.Module):
    """One MLP-Mixer layer (Tolstikhin et al. 2021) with parallel residuals: x + y + channels(norm(x + y))."""

    def __init__(self, keypoints: int, dimension: int, channel_hidden: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        self.token_mlp = nn.Sequential(nn.Linear(keypoints, TOKEN_HIDDEN), nn.GELU(), nn.Linear(TOKEN_HIDDEN, keypoints))
        self.channel_mlp = nn.Sequential(nn.Linear(dimension, channel_hidden), nn.GELU(), nn.Linear(channel_hidden, dimension))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, keypoints, dimension) -> same."""
        x = x + self.token_mlp(self.norm1(x).mT).mT
        return x + self.channel_mlp(self.norm2(x))


class Memory(nn.Module):
    def __init__(self, keypoints: int, banks: int = 34, vectors: int = 16, dimension: int = 512, counts: float = 0.0):
        super().__init__()
        self.embed = nn.Linear(2, dimension)
        self.mix = nn.Sequential(*(MixerLayer(keypoints, dimension, dimension) for _ in range(4)))
        self.encoder_norm = nn.LayerNorm(dimension)
        self.to_tokens = nn.Linear(keypoints, banks)
        self.to_features = nn.Linear(dimension, dimension)
        self.from_tokens = nn.Linear(banks, keypoints)
        self.from_features = nn.Linear(dimension, DECODER_DIMENSION)
        self.decoder_mix = MixerLayer(keypoints, DECODER_DIMENSION, DECODER_HIDDEN)
        self.decoder_norm = nn.LayerNorm(DECODER_DIMENSION)
        self.to_keypoints = nn.Linear(DECODER_DIMENSION, 2)
        self.register_buffer("vectors", torch.randn(banks, vectors, dimension))
        # In the paper counts start at 0 and sums anywhere, so the first averages are of few poses.
        self.register_buffer("counts", torch.full((banks, vectors), float(counts)))
        self.register_buffer("sums", self.vectors * counts if counts else torch.randn(banks, vectors, dimension))

    def encode(self, keypoints: torch.Tensor) -> torch.Tensor:
        """(B, N, 2) (x, y) -> tokens (B, banks, dimension)."""
        x = self.encoder_norm(self.mix(self.embed(keypoints)))
        return self.to_features(self.to_tokens(x.mT).mT)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, banks, dimension) -> (B, N, 2) (x, y)."""
        x = self.from_features(self.from_tokens(tokens.mT).mT)
        return self.to_keypoints(self.decoder_norm(self.decoder_mix(x)))

    @torch.no_grad()
    def quantise(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearest vector of each bank: indices (B, banks) and vectors (B, banks, dimension)."""
        # |t - v|^2 without its constant |t|^2, one product per bank: (banks, B, dimension) x (banks, dimension, vectors).
        scores = self.vectors.square().sum(-1).unsqueeze(1) - 2 * tokens.transpose(0, 1) @ self.vectors.mT
        indices = scores.argmin(-1).T  # (B, banks)
        banks = torch.arange(len(self.vectors), device=tokens.device)
        return indices, self.vectors[banks, indices]

    def recall(self, keypoints: torch.Tensor) -> Recall:
        """The pose as the memory knows it. Gradients pass the quantisation straight through, to the tokens."""
        tokens = self.encode(keypoints)
        indices, quantised = self.quantise(tokens)
        return Recall(tokens, indices, quantised, self.decode(tokens + (quantised - tokens).detach()))

    def distil(self, by_usage: bool = False) -> torch.Tensor:
        """The keypoint prior (N, 2): the decoded mean of every bank, without gradient.

        In the paper all vectors of a bank count alike; `by_usage` weighs them by how often they are chosen.
        """
        with torch.no_grad():
            if not by_usage:
                return self.decode(self.vectors.mean(1).unsqueeze(0))[0]
            use = self.counts + SMOOTHING
            share = use / use.sum(1, keepdim=True)  # (banks, vectors)
            return self.decode((share.unsqueeze(1) @ self.vectors).transpose(0, 1))[0]

    @torch.no_grad()
    def update(self, tokens: torch.Tensor, indices: torch.Tensor, revive: float = 0.0) -> None:
        """Move the chosen vectors towards the tokens (B, banks, dimension) that chose them: moving averages.

        With `revive`, vectors used less than that share of their bank's average then take a token of the batch; the
        paper lets them decay to zero, where they still count in the distilled mean.
        """
        chosen = F.one_hot(indices.T, self.vectors.shape[1]).to(self.counts.dtype)  # (banks, B, vectors)
        counts = DECAY * self.counts + (1 - DECAY) * all_sum(chosen.sum(1))
        total = counts.sum(1, keepdim=True)
        counts = (counts + SMOOTHING) / (total + counts.shape[1] * SMOOTHING) * total
        self.counts.copy_(counts)
        sums = all_sum(chosen.mT @ tokens.transpose(0, 1).to(self.sums.dtype))
        self.sums.mul_(DECAY).add_(sums, alpha=1 - DECAY)
        self.vectors.copy_(self.sums / self.counts.unsqueeze(-1))

        if revive:
            # A bank has no use for more tokens than it has vectors: the first of the batch will do.
            few = self.vectors.shape[1]
            self.revive(all_rows(tokens[:few])[:few], revive)

    @torch.no_grad()
    def revive(self, tokens: torch.Tensor, threshold: float) -> None:
        """Unused vectors take tokens (B, banks, dimension), each another one as far as the batch reaches."""
        average = self.counts.mean(1, keepdim=True)
        unused = self.counts < threshold * average  # (banks, vectors)
        order = unused.cumsum(1).sub(1).clamp_min(0) % len(tokens)
        fresh = tokens.transpose(0, 1).to(self.vectors.dtype).gather(1, order[..., None].expand_as(self.vectors))
        # Half an average count: enough to live through some batches without use, and to give way to what is used.
        counts = torch.where(unused, average / 2, self.counts)
        self.vectors.copy_(torch.where(unused[..., None], fresh, self.vectors))
        self.sums.copy_(torch.where(unused[..., None], fresh * counts[..., None], self.sums))
        self.counts.copy_(counts)

    @torch.no_grad()
    def perplexity(self) -> torch.Tensor:
        """(banks,): how many of its vectors each bank uses, from 1 (one) to `vectors` (all alike)."""
        share = self.counts / self.counts.sum(1, keepdim=True).clamp_min(1e-12)
        return torch.special.entr(share).sum(1).exp()
