"""Doubling and then a 3 x 3 convolution, as a product of matrices at the small size and one pass of Triton kernels.

    conv(double(x))  =  sum over the 9 taps of  shift(double(weight of the tap @ x))

Doubling works on each channel alone and so can come after the channels are mixed: the products, which are nearly all of the
arithmetic, are made at a quarter of the pixels. `spread` does the rest, the sum over taps, reading each product from memory
once; the doubled input, the largest tensor of a U-Net, is never made.

Forward: one program per small row, some columns and channels; it writes the 2 x 2 large pixels of each small one. Backward:
the same walk, each small pixel collects from 6 x 6 large ones. No atomic additions: a run repeats bit for bit.
"""

import torch
import triton
import triton.language as tl

CHANNELS, PIXELS = 64, 1024  # at most so many channels, and numbers, in a program


@triton.jit
def load_rows(at, group, up, down, row, height, inside):
    """Taps of one column of the kernel, added up into the even and the odd large row of a small one.

    at: of the column's first tap at this row; group: from a tap to that below it; up, down: to the rows beside, the row's own
    at the border.
    """
    first, last = tl.where(row > 0, 1.0, 0.0), tl.where(row < height - 1, 1.0, 0.0)
    above, here = tl.load(at + up, inside, 0.0).to(tl.float32), tl.load(at, inside, 0.0).to(tl.float32)
    even, odd = first * (0.75 * above + 0.25 * here), 0.25 * above + 0.75 * here
    at += group
    above, here = tl.load(at + up, inside, 0.0).to(tl.float32), tl.load(at, inside, 0.0).to(tl.float32)
    below = tl.load(at + down, inside, 0.0).to(tl.float32)
    even += 0.25 * above + 0.75 * here
    odd += 0.75 * here + 0.25 * below
    at += group
    here, below = tl.load(at, inside, 0.0).to(tl.float32), tl.load(at + down, inside, 0.0).to(tl.float32)
    return even + 0.75 * here + 0.25 * below, odd + last * (0.25 * here + 0.75 * below)


@triton.jit
def spread_kernel(taps, bias, out, height, width, channels, columns: tl.constexpr, some: tl.constexpr):
    """taps (B, h, w, 3, 3, C), bias (C,) -> out (B, 2h, 2w, C)."""
    image, row = tl.program_id(0) // height, tl.program_id(0) % height
    column = (tl.program_id(1) * columns + tl.arange(0, columns))[:, None]
    channel = (tl.program_id(2) * some + tl.arange(0, some))[None, :]
    inside = (column < width) & (channel < channels)
    step = 9 * channels
    at = taps + tl.program_id(0).to(tl.int64) * width * step + column * step + channel
    up, down = tl.where(row > 0, -width * step, 0), tl.where(row < height - 1, width * step, 0)
    left, right = tl.where(column > 0, -step, 0), tl.where(column < width - 1, step, 0)
    first, last = tl.where(column > 0, 1.0, 0.0), tl.where(column < width - 1, 1.0, 0.0)
    group = 3 * channels
    start = tl.load(bias + channel, channel < channels, 0.0).to(tl.float32)

    before_even, before_odd = load_rows(at + left, group, up, down, row, height, inside)
    even, odd = load_rows(at, group, up, down, row, height, inside)
    even_even, even_odd = start + first * (0.75 * before_even + 0.25 * even), start + 0.25 * before_even + 0.75 * even
    odd_even, odd_odd = start + first * (0.75 * before_odd + 0.25 * odd), start + 0.25 * before_odd + 0.75 * odd

    at += channels
    before_even, before_odd = load_rows(at + left, group, up, down, row, height, inside)
    even, odd = load_rows(at, group, up, down, row, height, inside)
    after_even, after_odd = load_rows(at + right, group, up, down, row, height, inside)
    even_even += 0.25 * before_even + 0.75 * even
    even_odd += 0.75 * even + 0.25 * after_even
    odd_even += 0.25 * before_odd + 0.75 * odd
    odd_odd += 0.75 * odd + 0.25 * after_odd

    at += channels
    even, odd = load_rows(at, group, up, down, row, height, inside)
    after_even, after_odd = load_rows(at + right, group, up, down, row, height, inside)
    even_even += 0.75 * even + 0.25 * after_even
    even_odd += last * (0.25 * even + 0.75 * after_even)
    odd_even += 0.75 * odd + 0.25 * after_odd
    odd_odd += last * (0.25 * odd + 0.75 * after_odd)

    line = 2 * width * channels
    place = out + (image * 2 * height + 2 * row).to(tl.int64) * line + 2 * column * channels + channel
    tl.store(place, even_even, inside)
    tl.store(place + channels, even_odd, inside)
    tl.store(place + line, odd_even, inside)
    tl.store(place + line + channels, odd_odd, inside)


@triton.jit
def collect(even_before, odd_before, even, odd, even_after, odd_after, first, last):
    """What six large pixels in a line give to the three taps of the small one in their middle; first, last: 0 at a border."""
    return (
        0.25 * first * even + (1 - 0.25 * first) * odd + 0.75 * even_after + 0.25 * odd_after,
        0.25 * odd_before + (1 - 0.25 * first) * even + (1 - 0.25 * last) * odd + 0.25 * even_after,
        0.25 * even_before + 0.75 * odd_before + (1 - 0.25 * last) * even + 0.25 * last * odd,
    )


@triton.jit
def collect_column(at, row, height, line, inside):
    """Of six large pixels, the two of a small row in their middle, to the three taps of a column."""
    above, below = inside & (row > 0), inside & (row < height - 1)
    return collect(
        tl.load(at - 2 * line, above, 0.0).to(tl.float32),
        tl.load(at - line, above, 0.0).to(tl.float32),
        tl.load(at, inside, 0.0).to(tl.float32),
        tl.load(at + line, inside, 0.0).to(tl.float32),
        tl.load(at + 2 * line, below, 0.0).to(tl.float32),
        tl.load(at + 3 * line, below, 0.0).to(tl.float32),
        tl.where(row > 0, 1.0, 0.0),
        tl.where(row < height - 1, 1.0, 0.0),
    )


@triton.jit
def collect_kernel(gradient, to_taps, height, width, channels, columns: tl.constexpr, some: tl.constexpr):
    """gradient (B, 2h, 2w, C) -> to_taps (B, h, w, 3, 3, C)."""
    image, row = tl.program_id(0) // height, tl.program_id(0) % height
    column = (tl.program_id(1) * columns + tl.arange(0, columns))[:, None]
    channel = (tl.program_id(2) * some + tl.arange(0, some))[None, :]
    inside = (column < width) & (channel < channels)
    line = 2 * width * channels
    at = gradient + (image * 2 * height + 2 * row).to(tl.int64) * line + 2 * column * channels + channel
    before, after = inside & (column > 0), inside & (column < width - 1)
    a0, a1, a2 = collect_column(at - 2 * channels, row, height, line, before)
    b0, b1, b2 = collect_column(at - channels, row, height, line, before)
    c0, c1, c2 = collect_column(at, row, height, line, inside)
    d0, d1, d2 = collect_column(at + channels, row, height, line, inside)
    e0, e1, e2 = collect_column(at + 2 * channels, row, height, line, after)
    f0, f1, f2 = collect_column(at + 3 * channels, row, height, line, after)
    first, last = tl.where(column > 0, 1.0, 0.0), tl.where(column < width - 1, 1.0, 0.0)
    place = to_taps + (tl.program_id(0).to(tl.int64) * width + column) * 9 * channels + channel
    left, middle, right = collect(a0, b0, c0, d0, e0, f0, first, last)
    tl.store(place, left, inside)
    tl.store(place + channels, middle, inside)
    tl.store(place + 2 * channels, right, inside)
    left, middle, right = collect(a1, b1, c1, d1, e1, f1, first, last)
    tl.store(place + 3 * channels, left, inside)
    tl.store(place + 4 * channels, middle, inside)
    tl.store(place + 5 * channels, right, inside)
    left, middle, right = collect(a2, b2, c2, d2, e2, f2, first, last)
    tl.store(place + 6 * channels, left, inside)
    tl.store(place + 7 * channels, middle, inside)
    tl.store(place + 8 * channels, right, inside)


def tile(width: int, channels: int) -> tuple[int, int]:
    """Columns and channels of a program."""
    some = min(CHANNELS, triton.next_power_of_2(channels))
    return min(PIXELS // some, triton.next_power_of_2(width)), some


def make_room(like: torch.Tensor, channels: int, height: int, width: int) -> torch.Tensor:
    return like.new_empty((len(like), height, width, channels)).permute(0, 3, 1, 2)


@torch.library.custom_op("ppl::spread", mutates_args=())
def spread(taps: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """taps (B, 9C, h, w), row by row of the kernel, and bias (C,) -> (B, C, 2h, 2w), channels last; the bias is not trained."""
    (batch, _, height, width), channels = taps.shape, len(bias)
    taps, out = taps.contiguous(memory_format=torch.channels_last), make_room(taps, channels, 2 * height, 2 * width)
    columns, some = tile(width, channels)
    with torch.cuda.device_of(taps):  # Triton launches on the current device
        grid = batch * height, triton.cdiv(width, columns), triton.cdiv(channels, some)
        spread_kernel[grid](taps, bias, out, height, width, channels, columns, some, num_warps=8)  # of 4 and 8 the faster
    return out


@torch.library.custom_op("ppl::collect", mutates_args=())
def collect_taps(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of what `spread` gives (B, C, 2h, 2w) -> that of its taps (B, 9C, h, w)."""
    batch, channels, height, width = gradient.shape
    gradient, height, width = gradient.contiguous(memory_format=torch.channels_last), height // 2, width // 2
    to_taps, (columns, some) = make_room(gradient, 9 * channels, height, width), tile(width, channels)
    with torch.cuda.device_of(gradient):
        grid = batch * height, triton.cdiv(width, columns), triton.cdiv(channels, some)
        collect_kernel[grid](gradient, to_taps, height, width, channels, columns, some)
    return to_taps


# What compilers ask for: shapes without a computation, and the gradient.
spread.register_fake(lambda taps, bias: make_room(taps, len(bias), 2 * taps.shape[2], 2 * taps.shape[3]))
collect_taps.register_fake(
    lambda gradient: make_room(gradient, 9 * gradient.shape[1], gradient.shape[2] // 2, gradient.shape[3] // 2)
)
spread.register_autograd(lambda ctx, gradient: (collect_taps(gradient), None))
