"""The images that a configuration trains on, opened as `ppl train` opens them."""

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.image_set import ImageSet


def open_dataset(config: DataConfig, size: int, seed: int, strict: bool = False) -> ImageSet:
    return open_listing(list_part(config, "train", seed, size), config, size, strict)
