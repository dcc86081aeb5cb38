"""The reference image of a training step: the image with most of its cells hidden (docs/method.md, step 7).

Hidden pixels are 0, mid-grey in [-1, 1].
"""

import torch


def keep_mask(
    batch: int,
    cells: int,
    missing: float | torch.Tensor,
    size: int,
    generator: torch.Generator,
    rows: slice = slice(None),
) -> torch.Tensor:
    """(batch, 1, size, size) of 0 and 1 on the generator's device; each of cells x cells is kept with 1 - missing.

    `missing` is one share, or (rows, 1, 1, 1) of them. Of the batch only `rows` are made, as they are in the whole.
    """
    noise = torch.rand(batch, 1, cells, cells, generator=generator, device=generator.device)[rows]
    kept = (noise >= missing).float()
    rows = torch.arange(size, device=generator.device) * cells // size
    return kept[:, :, rows][:, :, :, rows]
