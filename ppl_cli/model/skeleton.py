"""Keypoints and link weights -> skeleton map: how strongly each pixel lies on a link (docs/method.md, step 6).

    map(p) = max over links (i, j) of  w_ij * exp(-distance(p, segment i-j)^2 / thickness)

`plain_skeleton_map` writes this down as it reads and stores a (B, links, S * S) tensor; it is the oracle of the tests.
`skeleton_map` is what everything runs. It keeps only the best link so far of every pixel, because

    max of w * exp(-d^2 / thickness)  =  exp(max of (log w - d^2 / thickness)),

so the loop over links needs no exponential, and the backward pass recomputes one link per pixel: the winner. On a GPU
the same is done by Triton kernels (`skeleton_triton.py`), where Triton works.
"""

import torch
from torch.autograd.function import once_differentiable

from ppl_cli.model.kernels import kernels_work


def link_index(count: int, device: torch.device | None = None) -> torch.Tensor:
    """(2, N (N - 1) / 2): the keypoints i < j of every possible link, row by row of the upper triangle."""
    return torch.triu_indices(count, count, 1, device=device)


def plain_skeleton_map(keypoints: torch.Tensor, weights: torch.Tensor, size: int, thickness: float) -> torch.Tensor:
    """keypoints (B, N, 2) (x, y) in [-1, 1], weights (N, N) >= 0 -> (B, 1, size, size). Memory grows with the links."""
    i, j = link_index(keypoints.shape[1], keypoints.device)
    side = torch.linspace(-1, 1, size, device=keypoints.device, dtype=keypoints.dtype)
    pixels = torch.stack((side.expand(size, size), side[:, None].expand(size, size)), -1).reshape(1, 1, -1, 2)
    start, step = keypoints[:, i, None], (keypoints[:, j] - keypoints[:, i])[:, :, None]  # (B, links, 1, 2)
    length2 = step.square().sum(-1, keepdim=True)
    along = ((pixels - start) * step).sum(-1, keepdim=True) / length2.clamp_min(torch.finfo(keypoints.dtype).tiny)
    distance2 = (pixels - start - along.clamp(0, 1) * step).square().sum(-1)  # (B, links, S * S)
    maps = weights[i, j][None, :, None] * torch.exp(-distance2 / thickness)
    return maps.amax(1).reshape(-1, 1, size, size)


def skeleton_map(keypoints: torch.Tensor, weights: torch.Tensor, size: int, thickness: float) -> torch.Tensor:
    """keypoints (B, N, 2) (x, y) in [-1, 1], weights (N, N) >= 0 -> (B, 1, size, size) in [0, max weight].

    Only the upper triangle of `weights` is read. Needs memory for a few maps, whatever the number of links.
    """
    with torch.autocast(keypoints.device.type, enabled=False):
        if keypoints.is_cuda and keypoints.dtype != torch.float64 and kernels_work():
            from ppl_cli.model.skeleton_triton import FusedSkeletonMap

            return FusedSkeletonMap.apply(keypoints, weights, size, thickness)
        i, j = link_index(keypoints.shape[1], keypoints.device)
        return SkeletonMap.apply(keypoints, weights[i, j], i, j, size, thickness)


class SkeletonMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, keypoints, weights, i, j, size, thickness):
        starts, ends = keypoints[:, i], keypoints[:, j]  # (B, links, 2)
        step = ends - starts
        length = step.norm(dim=-1)
        # Two keypoints in one place: any direction will do, and the segment has no length.
        fallback = torch.arange(1, -1, -1, device=step.device, dtype=step.dtype).expand_as(step)
        direction = torch.where(length[..., None] > 0, step / length[..., None], fallback) / thickness**0.5
        half = length / 2 / thickness**0.5
        side = torch.linspace(-1, 1, size, device=keypoints.device, dtype=keypoints.dtype)
        offset = side - ((starts + ends) / 2)[..., None]  # (B, links, 2, S) from the middle of the segment
        # Coordinates along and across every segment, in units of sqrt(thickness), are sums of an x and a y part.
        along_x, along_y = (direction[..., None] * offset).unbind(2)  # (B, links, S)
        across_x, across_y = (direction.flip(-1)[..., None] * offset).unbind(2)
        log_weights = weights.log()

        best = keypoints.new_full((len(keypoints), size, size), -torch.inf)
        winner = torch.zeros(best.shape, dtype=torch.int16, device=best.device)
        beyond, score = torch.empty_like(best), torch.empty_like(best)
        for link in range(len(weights)):
            # d^2 = across^2 + max(0, |along| - half length)^2
            torch.add(along_x[:, link, None, :], along_y[:, link, :, None], out=beyond)
            beyond.abs_().sub_(half[:, link, None, None]).clamp_(min=0)
            torch.sub(across_y[:, link, :, None], across_x[:, link, None, :], out=score)
            score.square_().addcmul_(beyond, beyond).neg_().add_(log_weights[link])
            better = score > best
            winner.masked_fill_(better, link)
            torch.maximum(best, score, out=best)
        values = best.exp_()
        ctx.save_for_backward(keypoints, weights, i, j, values, winner)
        ctx.thickness = thickness
        return values.unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        keypoints, weights, i, j, values, winner = ctx.saved_tensors
        batch, count, _ = keypoints.shape
        size = values.shape[-1]
        winner = winner.reshape(batch, -1).long()  # (B, S * S)
        values, gradient = values.reshape(batch, -1), gradient.reshape(batch, -1)
        side = torch.linspace(-1, 1, size, device=keypoints.device, dtype=keypoints.dtype)
        x, y = side.repeat(size), side.repeat_interleave(size)

        def of_winner(points):  # (B, links, 2) -> two of (B, S * S)
            return points[..., 0].gather(1, winner), points[..., 1].gather(1, winner)

        (start_x, start_y), (end_x, end_y) = of_winner(keypoints[:, i]), of_winner(keypoints[:, j])
        step_x, step_y = end_x - start_x, end_y - start_y
        length2 = (step_x.square() + step_y.square()).clamp_min_(torch.finfo(keypoints.dtype).tiny)
        along = (((x - start_x) * step_x + (y - start_y) * step_y) / length2).clamp_(0, 1)
        # The nearest point of a segment is a minimum (or an end), so its own motion along the segment adds nothing:
        # d(d^2)/d(start) = 2 (nearest - p) (1 - along) and d(d^2)/d(end) = 2 (nearest - p) along.
        pull = gradient * values * (-2 / ctx.thickness)
        pull_x, pull_y = pull * (start_x + along * step_x - x), pull * (start_y + along * step_y - y)

        def per_link(amounts):  # (B, S * S) -> (B, links)
            return amounts.new_zeros(batch, len(weights)).scatter_add_(1, winner, amounts)

        to_start = torch.stack((per_link(pull_x * (1 - along)), per_link(pull_y * (1 - along))), -1)
        to_end = torch.stack((per_link(pull_x * along), per_link(pull_y * along)), -1)
        keypoint_gradient = keypoints.new_zeros(batch, count, 2).index_add_(1, i, to_start).index_add_(1, j, to_end)
        # d(value)/d(w) = value / w; where w is 0 the value is 0 as well and the pixel teaches it nothing.
        weight_gradient = per_link(gradient * values).sum(0) / weights.clamp_min(torch.finfo(weights.dtype).tiny)
        return keypoint_gradient, weight_gradient, None, None, None, None
