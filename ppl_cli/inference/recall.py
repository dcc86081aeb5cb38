"""Images as the memory knows them: for each the pose found in it, and the vectors that the memory recalls for that pose."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ppl_cli.inference.estimate import Decoded, Estimator, decode_ahead, stack_squares
from ppl_cli.prior.prototypes import Recalled, decode_tokens


@torch.inference_mode()
def recall_images(
    estimator: Estimator, decode_one: Callable[[int], Decoded], names: Sequence[str], batch: int
) -> tuple[Recalled, list[str], int]:
    """Recalled poses of the images that `decode_one(i)` decodes, for those that it cannot read `name: reason`, and how many are
    unlike those of the training."""
    tokens, found, kept, problems, first, foreign = [], [], [], [], 0, 0
    for held in decode_ahead(decode_one, range(len(names)), batch):
        readable = [row for row, decoded in enumerate(held) if decoded.frame is not None]
        problems += [f"{names[first + row]}: {held[row].problem}" for row in range(len(held)) if row not in set(readable)]
        if readable:
            squares = stack_squares([held[row] for row in readable], estimator.model.sizes.image_size)
            look = estimator.look(estimator.to_images(squares))
            keypoints, foreign = look.keypoints, foreign + int((look.strangeness > 1).sum())
            tokens.append(estimator.model.recall(keypoints).indices.cpu().numpy())
            found.append(keypoints.cpu().numpy())
            kept += [names[first + row] for row in readable]
        first += len(held)
    stacked = np.concatenate(tokens) if tokens else np.zeros((0, estimator.model.sizes.banks), int)
    poses = np.concatenate(found) if found else np.zeros((0, estimator.model.sizes.keypoints, 2))
    return Recalled(stacked, decode_tokens(estimator.model, stacked), kept, poses), problems, foreign
