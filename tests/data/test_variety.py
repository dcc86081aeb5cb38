"""Too few images are said before anything is learned."""

import numpy as np
import pytest
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.variety import note_variety
from tests.training_images import open_dataset


@pytest.mark.parametrize(
    ("colours", "words"),
    [
        ([0], "there is only 1 image: nothing can be learned from it; 200 to 2,000 different ones are needed"),
        ([7] * 20, "all 20 images are the same: nothing can be learned from them; 200 to 2,000 different ones are needed"),
        (range(5), "5 different images are too few"),
        ([*range(30)] * 10, "different images among 200 sampled are too few"),
        (range(200), None),
    ],
)
@pytest.mark.parametrize("cache", [4, 0])
def test_what_is_said(tmp_path, colours, words, cache):
    for number, colour in enumerate(colours):
        Image.fromarray(np.full((4, 4), colour, np.uint8)).save(tmp_path / f"{number}.bmp")
    images = open_dataset(DataConfig(kind="folder", path=str(tmp_path), cache_gib=cache), 32, 0)
    notes = note_variety(images)
    assert len(notes) == (words is not None)
    assert all(words in note for note in notes)
