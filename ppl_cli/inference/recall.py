"""Images as the memory knows them: for each the pose found in it, and the vectors that the memory recalls for that pose."""

from functools import partial

import numpy as np
import torch

from ppl_cli.data.frame import Resize
from ppl_cli.data.listing import Listing
from ppl_cli.inference.estimate import Estimator, decode_ahead, decode_listed, stack_squares
from ppl_cli.prior.prototypes import Recalled, decode_tokens


@torch.inference_mode()
def recall_images(estimator: Estimator, listing: Listing, resize: Resize, batch: int) -> tuple[Recalled, list[str], int]:
    """Recalled poses of the images, for those that cannot be read `name: reason`, and how many are
    unlike those of the training."""
    tokens, found, kept, problems, first, foreign = [], [], [], [], 0, 0
    names, size = listing.names, estimator.model.sizes.image_size
    for held in decode_ahead(partial(decode_listed, listing, size, resize), range(len(names)), batch):
        readable = [row for row, decoded in enumerate(held) if decoded.frame is not None]
        problems += [f"{names[first + row]}: {held[row].problem}" for row in range(len(held)) if row not in set(readable)]
        if readable:
            squares = stack_squares([held[row] for row in readable], size)
            look = estimator.look(estimator.to_images(squares))
            keypoints, foreign = look.keypoints, foreign + int((look.strangeness > 1).sum())
            tokens.append(estimator.model.recall(keypoints).indices.cpu().numpy())
            found.append(keypoints.cpu().numpy())
            kept += [names[first + row] for row in readable]
        first += len(held)
    stacked = np.concatenate(tokens) if tokens else np.zeros((0, estimator.model.sizes.banks), int)
    poses = np.concatenate(found) if found else np.zeros((0, estimator.model.sizes.keypoints, 2))
    return Recalled(stacked, decode_tokens(estimator.model, stacked), kept, poses), problems, foreign
