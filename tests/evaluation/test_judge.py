import numpy as np
from PIL import Image

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.config.sections import DataConfig
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.judge import Judge
from tests.data import layouts


def test_fit_and_test_images_of_more_than_8_bits_have_one_brightness(lively_file, tmp_path):
    """Even where the brightest test image would be taken for one of another bit depth."""
    layouts.coco(tmp_path, 3, 3)
    for brightest, folder in ((900, "train"), (1300, "test")):
        for file in (tmp_path / folder).glob("*.png"):
            grey = np.asarray(Image.open(file).convert("L")).astype(float)
            Image.fromarray((grey / grey.max() * brightest).astype(np.uint16)).save(file)
    checkpoint = load_model(lively_file)
    data = DataConfig(kind="coco", path=str(tmp_path))
    judge = Judge(checkpoint, data, choose_compute("cpu", "fp32"), 4, False, 0)
    assert judge.fit.range == judge.test.range == (0, 1023)
