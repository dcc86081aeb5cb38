"""CUB-200-2011 birds in one HDF5 file (`data.kind: h5`).

DATA is the file, or a folder that holds exactly one *.h5 or *.hdf5. Arrays:

    train_img (M, 3, H, W) 0..255    train_kp (M, K, 2) (x, y), shares of width and height    train_vis (M, K) 0 or 1
    test_img, test_kp, test_vis       the test split; in `cub_three` test001_*, test002_*, test003_* (`--test 003`)
"""

import math
import re
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.images import UnreadableImageError
from ppl_cli.data.listing import Listing, Part
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import refusing
from ppl_cli.text import in_one_line

PIXELS = 2  # image sides: half of the keypoints further away are not shares of the image
FEW = 8  # images that are looked at for their range
MOST_ROWS, MOST_NUMBERS = 1_000_000, 100_000_000  # of an array; read at once


def cub_birds(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    path = h5_file(Path(config.path))
    prefix = f"test{(config.test or '').removeprefix('test')}" if part == "test" else "train"
    file = open_h5(path)
    keypoints = None
    with refusing(path, f"is damaged: {prefix}_img, {prefix}_kp or {prefix}_vis cannot be read"):
        images = find_array(file, path, f"{prefix}_img", ("M", 3, "H", "W"))
        if part != "train":
            points = find_array(file, path, f"{prefix}_kp", (len(images), "K", 2))
            visible = find_array(file, path, f"{prefix}_vis", points.shape[:2])
            keypoints = np.where(visible[:][..., None] > 0, points[:].astype(np.float64), np.nan)
            if np.isfinite(keypoints).any() and np.nanmedian(np.abs(keypoints)) > PIXELS:
                raise UsageError(f"{path}: {prefix}_kp looks like pixels; expected shares of the image's width and height")
        if images.dtype.kind == "f" and len(images) and np.nanmax(images[:FEW], initial=0) <= 1:
            raise UsageError(f"{path}: {prefix}_img lies in 0 to 1; expected 0 to 255")

    def open_image(index: int) -> Image.Image:
        try:
            pixels = np.nan_to_num(np.asarray(images[index]))
        except Exception as error:  # damaged files raise anything
            raise UnreadableImageError(f"damaged: {in_one_line(error)}") from error
        return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(1, 2, 0))

    return Listing([f"{prefix}/{index}" for index in range(len(images))], open_image, keypoints=keypoints, unit="side")


def h5_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted([*path.glob("*.h5"), *path.glob("*.hdf5")])
    if len(files) != 1:
        found = f"{len(files)} of them" if files else "none"
        raise UsageError(f"{path}: expected one file *.h5 in this folder, found {found}; give the file itself with --data")
    return files[0]


def holds_birds(path: Path) -> bool:
    """Whether it has these arrays: DeepLabCut and others write .h5 files too. Without h5py nothing tells."""
    try:
        with open_h5(path) as file:
            return any(name.endswith("_img") for name in file)
    except PPLError:
        return False


def open_h5(path: Path):
    try:
        import h5py
    except ImportError as error:
        raise PPLError("reading .h5 files needs h5py: pip install h5py") from error
    with refusing(path, "is not a readable HDF5 file"):
        return h5py.File(path, "r")


def find_array(file, path: Path, name: str, shape: tuple):
    """An array of the file, still on disk. UsageError if it is missing, elsewhere or of another shape."""
    if name not in file:
        splits = [key.removesuffix("_img").removeprefix("test") for key in file if re.fullmatch(r"test.+_img", key)]
        choose = f"; choose a split with --test {', '.join(splits)}" if name == "test_img" and splits else ""
        raise UsageError(f"{path} lacks {name}; it holds {', '.join(file) or 'nothing'}{choose}")
    linked = type(file.get(name, getlink=True)).__name__ != "HardLink"
    if linked or getattr(file[name], "external", None) or getattr(file[name], "is_virtual", False):
        raise UsageError(f"{path}: {name} lies in another file, which is not opened")
    found = getattr(file[name], "shape", ())
    fits = len(found) == len(shape) and all(
        isinstance(want, str) or want == has for want, has in zip(shape, found, strict=True)
    )
    if not fits:
        raise UsageError(f"{path}: {name} is {'x'.join(map(str, found))}, expected {'x'.join(map(str, shape))}")
    if file[name].dtype.kind not in "fiub":
        raise UsageError(f"{path}: {name} does not hold numbers")
    if found[0] > MOST_ROWS or math.prod(found[1:] if name.endswith("_img") else found) > MOST_NUMBERS:
        raise UsageError(f"{path}: {name} is {'x'.join(map(str, found))}, more than ppl reads")
    return file[name]
