"""The skeleton map as two Triton kernels, forward and backward, for GPUs. `skeleton.py` says what is computed.

Forward: one program per tile of TILE x TILE pixels. It walks through the links, passes over those too far away to reach
the tile, and writes the map and, per pixel, the number of the winning link. Backward: one program per image and link. It
walks through the tiles that the link can reach and sums what the pixels it won say, in a fixed order: no atomic
additions, so a run repeats bit for bit.

Read from memory: two endpoints and a weight per link, and the pixel coordinates. Written: one value and one index a pixel.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

TILE = 16
FARTHEST = 104.0  # exp(-104) is 0 in float32, subnormal numbers included; a weight would have to be huge to change that


@triton.jit
def squared_distance(x, y, start_x, start_y, end_x, end_y):
    """From points to a segment; also how far along it the nearest point is (0 start, 1 end), and the pull towards it."""
    step_x, step_y = end_x - start_x, end_y - start_y
    length2 = tl.maximum(step_x * step_x + step_y * step_y, 1e-37)
    along = ((x - start_x) * step_x + (y - start_y) * step_y) / length2
    along = tl.minimum(tl.maximum(along, 0.0), 1.0)
    pull_x, pull_y = start_x + along * step_x - x, start_y + along * step_y - y
    return pull_x * pull_x + pull_y * pull_y, along, pull_x, pull_y


@triton.jit
def reaches(side, size, row, column, start_x, start_y, end_x, end_y, reach, tile_size: tl.constexpr):
    """Whether a link is nearer than `reach` to some pixel of the tile at (row, column): never wrong when it says no."""
    left, top = tl.load(side + column), tl.load(side + row)
    right = tl.load(side + tl.minimum(column + tile_size, size) - 1)
    bottom = tl.load(side + tl.minimum(row + tile_size, size) - 1)
    x, y = (left + right) / 2, (top + bottom) / 2
    radius = tl.sqrt((right - left) * (right - left) + (bottom - top) * (bottom - top)) / 2
    distance2, _, _, _ = squared_distance(x, y, start_x, start_y, end_x, end_y)
    return distance2 <= (radius + reach) * (radius + reach)


@triton.jit
def draw_kernel(
    ends,
    log_weights,
    side,
    values,
    winners,
    links: tl.constexpr,  # as an argument it breaks Triton 3.6's interpreter with NumPy 2.4, which wants a number in `range`
    size,
    thickness,
    reach,
    tiles: tl.constexpr,
    tile_size: tl.constexpr,
):
    image, tile = tl.program_id(0), tl.program_id(1)
    row, column = (tile // tiles) * tile_size, (tile % tiles) * tile_size
    rows, columns = row + tl.arange(0, tile_size), column + tl.arange(0, tile_size)
    inside = (rows < size)[:, None] & (columns < size)[None, :]
    x = tl.load(side + columns, columns < size, 0.0)[None, :]
    y = tl.load(side + rows, rows < size, 0.0)[:, None]
    best = tl.full((tile_size, tile_size), float("-inf"), tl.float32)
    winner = tl.zeros((tile_size, tile_size), tl.int32)
    broken = 0.0  # NaN once a link has no number somewhere, else 0: comparing alone would pass over such links
    for link in range(links):
        at = ends + (image * links + link) * 4
        start_x, start_y, end_x, end_y = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)
        log_weight = tl.load(log_weights + link)
        broken += (start_x - start_x) + (start_y - start_y) + (end_x - end_x) + (end_y - end_y)
        broken += tl.where(log_weight == log_weight, 0.0, log_weight)
        if reaches(side, size, row, column, start_x, start_y, end_x, end_y, reach, tile_size):
            distance2, _, _, _ = squared_distance(x, y, start_x, start_y, end_x, end_y)
            score = log_weight - distance2 / thickness
            winner = tl.where(score > best, link, winner)
            best = tl.maximum(best, score)
    place = image * size * size + rows[:, None] * size + columns[None, :]
    tl.store(values + place, tl.exp(best) + broken, inside)
    tl.store(winners + place, winner.to(tl.int16), inside)


@triton.jit
def pull_kernel(
    ends, side, values, winners, gradient, pulls, links, size, thickness, reach, tiles: tl.constexpr, tile_size: tl.constexpr
):
    """Per image and link: gradients of its start (x, y) and end (x, y), and sum of gradient * value, for its weight."""
    image, link = tl.program_id(0), tl.program_id(1)
    at = ends + (image * links + link) * 4
    start_x, start_y, end_x, end_y = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)
    to_start_x = tl.zeros((tile_size, tile_size), tl.float32)
    to_start_y = tl.zeros((tile_size, tile_size), tl.float32)
    to_end_x = tl.zeros((tile_size, tile_size), tl.float32)
    to_end_y = tl.zeros((tile_size, tile_size), tl.float32)
    to_weight = tl.zeros((tile_size, tile_size), tl.float32)
    for tile in range(tiles * tiles):
        row, column = (tile // tiles) * tile_size, (tile % tiles) * tile_size
        if reaches(side, size, row, column, start_x, start_y, end_x, end_y, reach, tile_size):
            rows, columns = row + tl.arange(0, tile_size), column + tl.arange(0, tile_size)
            inside = (rows < size)[:, None] & (columns < size)[None, :]
            place = image * size * size + rows[:, None] * size + columns[None, :]
            won = inside & (tl.load(winners + place, inside, -1).to(tl.int32) == link)
            strength = tl.load(values + place, won, 0.0) * tl.load(gradient + place, won, 0.0)
            x = tl.load(side + columns, columns < size, 0.0)[None, :]
            y = tl.load(side + rows, rows < size, 0.0)[:, None]
            _, along, pull_x, pull_y = squared_distance(x, y, start_x, start_y, end_x, end_y)
            scale = strength * (-2.0 / thickness)
            to_start_x += scale * pull_x * (1 - along)
            to_start_y += scale * pull_y * (1 - along)
            to_end_x += scale * pull_x * along
            to_end_y += scale * pull_y * along
            to_weight += strength
    out = pulls + (image * links + link) * 5
    tl.store(out, tl.sum(to_start_x))
    tl.store(out + 1, tl.sum(to_start_y))
    tl.store(out + 2, tl.sum(to_end_x))
    tl.store(out + 3, tl.sum(to_end_y))
    tl.store(out + 4, tl.sum(to_weight))


class FusedSkeletonMap(torch.autograd.Function):
    """Arguments and result of `skeleton.SkeletonMap`, in float32."""

    @staticmethod
    def forward(ctx, keypoints, weights, i, j, size, thickness):
        keypoints, weights = keypoints.float().contiguous(), weights.float().contiguous()
        batch, links = len(keypoints), len(weights)
        ends = torch.cat((keypoints[:, i], keypoints[:, j]), -1).contiguous()  # (B, links, 4)
        side = torch.linspace(-1, 1, size, device=keypoints.device)
        values = keypoints.new_empty(batch, size, size)
        winners = torch.empty(batch, size, size, dtype=torch.int16, device=keypoints.device)
        reach = (FARTHEST * thickness) ** 0.5
        tiles = triton.cdiv(size, TILE)
        with torch.cuda.device_of(keypoints):  # Triton launches on the current device
            draw_kernel[batch, tiles * tiles](
                ends, weights.log(), side, values, winners, links, size, thickness, reach, tiles=tiles, tile_size=TILE
            )
        ctx.save_for_backward(keypoints, weights, i, j, ends, side, values, winners)
        ctx.thickness, ctx.reach = thickness, reach
        return values.unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        keypoints, weights, i, j, ends, side, values, winners = ctx.saved_tensors
        (batch, count, _), links, size = keypoints.shape, len(weights), values.shape[-1]
        tiles = triton.cdiv(size, TILE)
        pulls = keypoints.new_empty(batch, links, 5)
        gradient, thickness, reach = gradient.float().contiguous(), ctx.thickness, ctx.reach
        with torch.cuda.device_of(keypoints):
            pull_kernel[batch, links](
                ends, side, values, winners, gradient, pulls, links, size, thickness, reach, tiles=tiles, tile_size=TILE
            )
        # Sums over the links of each keypoint as a product: additions in a fixed order, unlike index_add on a GPU.
        at_start, at_end = (torch.zeros(count, links, device=i.device) for _ in range(2))
        at_start[i, torch.arange(links, device=i.device)] = 1
        at_end[j, torch.arange(links, device=i.device)] = 1
        keypoint_gradient = at_start @ pulls[..., :2] + at_end @ pulls[..., 2:4]
        weight_gradient = pulls[..., 4].sum(0) / weights.clamp_min(torch.finfo(weights.dtype).tiny)
        return keypoint_gradient, weight_gradient, None, None, None, None
