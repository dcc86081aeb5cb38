"""Whether there are images enough to learn from."""

import torch

from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.image_set import ImageSet

ENOUGH = 200  # below it, keypoints were seen to fit the images themselves and no others
WANTED = f"{ENOUGH} to 2,000 different ones are needed"


def note_variety(images: ImageSet) -> list[str]:
    """A line for the user where there are too few images, or copies of a few; looks at 200 of them at most."""
    looked_at = torch.tensor(choose_evenly(range(len(images)), ENOUGH))
    pictures = images.fetch(looked_at).flatten(1).cpu().numpy()
    different = len({picture.tobytes() for picture in pictures})
    if different == 1:
        what = f"all {len(images)} images are the same" if len(images) > 1 else "there is only 1 image"
        return [f"{what}: nothing can be learned from {'them' if len(images) > 1 else 'it'}; {WANTED}"]
    if len(images) < ENOUGH or different < ENOUGH // 2:
        sampled = f" among {ENOUGH} sampled" if len(images) > ENOUGH else ""
        return [f"{different} different images{sampled} are too few for keypoints to hold on other images; {WANTED}"]
    return []
