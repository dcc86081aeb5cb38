"""The skeleton map as Triton kernels, forward and backward, for GPUs. `skeleton.py` says what is computed.

Forward: one program per tile of TILE x TILE pixels. It walks through the links, passes over those too far away to reach
the tile, and writes the map and, per pixel, the number of the winning link. Backward: one program per image and link. It
walks through the tiles that the link can reach and sums what the pixels it won say; a second kernel adds up the links of
every keypoint and the images of every link. All in a fixed order, without atomic additions: a run repeats bit for bit.

Read from memory: two endpoints and a weight per link, and the pixel coordinates. Written: one value and one index a pixel.
"""

from functools import cache

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
def load_ends(keypoints, pairs, image, link, links, count):
    """Numbers of the two keypoints of a link and where they lie in an image."""
    i, j = tl.load(pairs + link), tl.load(pairs + links + link)
    start, end = keypoints + (image * count + i) * 2, keypoints + (image * count + j) * 2
    return i, j, tl.load(start), tl.load(start + 1), tl.load(end), tl.load(end + 1)


@triton.jit
def draw_kernel(
    keypoints,
    weights,
    pairs,
    side,
    values,
    winners,
    links: tl.constexpr,  # as an argument it breaks Triton 3.6's interpreter with NumPy 2.4, which wants a number in `range`
    count,
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
        i, j, start_x, start_y, end_x, end_y = load_ends(keypoints, pairs, image, link, links, count)
        log_weight = tl.log(tl.load(weights + i * count + j))
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
    keypoints,
    pairs,
    side,
    values,
    winners,
    gradient,
    pulls,
    links,
    count,
    size,
    thickness,
    reach,
    tiles: tl.constexpr,
    tile_size: tl.constexpr,
):
    """Per image and link: gradients of its start (x, y) and end (x, y), and sum of gradient * value, for its weight."""
    image, link = tl.program_id(0), tl.program_id(1)
    _i, _j, start_x, start_y, end_x, end_y = load_ends(keypoints, pairs, image, link, links, count)
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


@triton.jit
def gather_kernel(
    pulls,
    weights,
    pairs,
    to_keypoints,
    to_weights,
    batch: tl.constexpr,  # as `links` above
    links,
    count,
    tiny,
    others: tl.constexpr,
    images: tl.constexpr,
):
    """First a program per keypoint of every image: sums over its links. Then one per link: sums over the images."""
    number = tl.program_id(0)
    if number < batch * count:
        image, keypoint = number // count, number % count
        other = tl.arange(0, others)
        linked = (other < count) & (other != keypoint)
        low, high = tl.minimum(other, keypoint), tl.maximum(other, keypoint)
        number_of_link = low * (2 * count - low - 1) // 2 + high - low - 1  # row by row of the upper triangle
        at = pulls + (image * links + number_of_link) * 5 + tl.where(other > keypoint, 0, 2)
        tl.store(to_keypoints + number * 2, tl.sum(tl.load(at, linked, 0.0)))
        tl.store(to_keypoints + number * 2 + 1, tl.sum(tl.load(at + 1, linked, 0.0)))
    else:
        link = number - batch * count
        total = tl.zeros((images,), tl.float32)
        for first in range(0, batch, images):
            several = first + tl.arange(0, images)
            total += tl.load(pulls + (several * links + link) * 5 + 4, several < batch, 0.0)
        place = tl.load(pairs + link) * count + tl.load(pairs + links + link)
        # d(value)/d(w) = value / w; where w is 0 the value is 0 as well and the pixel teaches it nothing.
        tl.store(to_weights + place, tl.sum(total) / tl.maximum(tl.load(weights + place), tiny))


@cache
def make_tables(count: int, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(2, links) int32: the keypoints i < j of every link; (size,) coordinates of the pixel centres."""
    with torch.inference_mode(False):
        pairs = torch.triu_indices(count, count, 1, dtype=torch.int32, device=device).contiguous()
        return pairs, torch.linspace(-1, 1, size, device=device)


class FusedSkeletonMap(torch.autograd.Function):
    """keypoints (B, N, 2), weights (N, N), of which the upper triangle is read, -> (B, 1, size, size), in float32."""

    @staticmethod
    def forward(ctx, keypoints, weights, size, thickness):
        keypoints, weights = keypoints.float().contiguous(), weights.float().contiguous()
        batch, count, _ = keypoints.shape
        pairs, side = make_tables(count, size, keypoints.device)
        values = keypoints.new_empty(batch, size, size)
        winners = torch.empty(batch, size, size, dtype=torch.int16, device=keypoints.device)
        links, reach, tiles = pairs.shape[1], (FARTHEST * thickness) ** 0.5, triton.cdiv(size, TILE)
        with torch.cuda.device_of(keypoints):  # Triton launches on the current device
            draw_kernel[batch, tiles * tiles](
                keypoints, weights, pairs, side, values, winners, links, count, size, thickness, reach, tiles, TILE
            )
        ctx.save_for_backward(keypoints, weights, values, winners)
        ctx.thickness, ctx.reach = thickness, reach
        return values.unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        keypoints, weights, values, winners = ctx.saved_tensors
        (batch, count, _), size = keypoints.shape, values.shape[-1]
        pairs, side = make_tables(count, size, keypoints.device)
        links, tiles = pairs.shape[1], triton.cdiv(size, TILE)
        pulls = keypoints.new_empty(batch, links, 5)
        to_keypoints, to_weights = torch.empty_like(keypoints), torch.zeros_like(weights)
        gradient, thickness, reach = gradient.float().contiguous(), ctx.thickness, ctx.reach
        with torch.cuda.device_of(keypoints):
            pull_kernel[batch, links](
                keypoints, pairs, side, values, winners, gradient, pulls, links, count, size, thickness, reach, tiles, TILE
            )
            others, tiny = triton.next_power_of_2(count), torch.finfo(torch.float32).tiny
            gather_kernel[(batch * count + links,)](
                pulls, weights, pairs, to_keypoints, to_weights, batch, links, count, tiny, others, 64
            )
        return to_keypoints, to_weights, None, None
