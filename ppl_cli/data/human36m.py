"""Human3.6M as this field uses it: cropped images of six actions.

    DATA/S1/WithBackground/ACTION/FRAME.jpg
    DATA/S1/Landmarks/ACTION/FRAME.mat        `keypoints_2d` (32, 2): (row, column) in [0, 1]
    DATA/S1/BackgroudMask/ACTION/FRAME.png    for h36m_wobg; spelt so in the data set

Subjects 1, 5, 6, 7, 8, 9 are for training, subject 11 for the test. An action may be split into folders such as
`Waiting-0`. The frames of one action of one subject are a video.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.folders import number_folders
from ppl_cli.data.images import UnreadableImageError, decode
from ppl_cli.data.listing import Listing, Part
from ppl_cli.data.names import image_names
from ppl_cli.data.paths import swap_folder
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.files import read_limited, refusing
from ppl_cli.text import counted

SUBJECTS = {"train": (1, 5, 6, 7, 8, 9), "fit": (1, 5, 6, 7, 8, 9), "test": (11,)}
ACTIONS = ("directions", "discussion", "greeting", "posing", "waiting", "walking")
JOINTS = 32
LARGEST_FILE = 256 << 10  # bytes of a .mat file
IMAGES, LANDMARKS, MASKS = "WithBackground", "Landmarks", "BackgroudMask"


def human36m(config: DataConfig, part: Part, seed: int, size: int) -> Listing:
    root = Path(config.path)
    paths = frames(root, part)
    notes = note_missing_subjects(root, part)
    keypoints = None
    if part != "train":
        annotated = [path for path in paths if beside(path, LANDMARKS, ".mat").is_file()]
        if not annotated:
            raise UsageError(f"no annotations in {root}: expected {beside(paths[0], LANDMARKS, '.mat')} (and so on)")
        if len(annotated) < len(paths):
            lost = counted(len(paths) - len(annotated), "frame")
            notes.append(f"left out: {lost} without {LANDMARKS}/ACTION/FRAME.mat")
        paths = annotated
        keypoints = np.stack([read_landmarks(beside(path, LANDMARKS, ".mat")) for path in paths])
    masked = config.kind == "h36m_wobg"
    if masked and not beside(paths[0], MASKS, ".png").is_file():
        raise UsageError(f"no background masks in {root}: expected {beside(paths[0], MASKS, '.png')} (and so on)")
    return Listing(
        [path.relative_to(root).as_posix() for path in paths],
        lambda index: without_background(paths[index]) if masked else decode(paths[index]),
        groups=number_folders(paths),
        keypoints=keypoints,
        unit="side",
        notes=notes,
    )


def frames(root: Path, part: Part) -> list[Path]:
    """Images of the subjects of `part`, of the six actions, a video after the other."""
    found = []
    for subject in SUBJECTS[part]:
        folder = root / f"S{subject}" / IMAGES
        for name in image_names(folder, videos=False) if folder.is_dir() else ():
            if name.casefold().startswith(ACTIONS):
                found.append(folder / name)
    if not found:
        first = root / f"S{SUBJECTS[part][0]}" / IMAGES / "Walking" / "FRAME.jpg"
        subjects = ", ".join(f"S{number}" for number in SUBJECTS[part])
        raise UsageError(f"no frames of {subjects} in {root}: expected files such as {first} (actions: {', '.join(ACTIONS)})")
    return found


def note_missing_subjects(root: Path, part: Part) -> list[str]:
    missing = [f"S{subject}" for subject in SUBJECTS[part] if not (root / f"S{subject}" / IMAGES).is_dir()]
    return [f"{root}: the {part} split lacks {', '.join(missing)}"] if missing else []


def beside(image: Path, kind: str, suffix: str) -> Path:
    """S1/WithBackground/ACTION/FRAME.jpg -> S1/KIND/ACTION/FRAME.suffix."""
    return swap_folder(image, IMAGES, kind).with_suffix(suffix)


def read_landmarks(file: Path) -> np.ndarray:
    """(32, 2) (x, y) as shares of width and height."""
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise PPLError("reading .mat files needs scipy: pip install scipy") from error
    content = read_limited(file, LARGEST_FILE)
    with refusing(file, "is not a .mat file with keypoints_2d"):
        # Its table of contents first: a compressed array may be a thousand times as large as the file.
        shape = next(shape for name, shape, kind in whosmat(io.BytesIO(content)) if name == "keypoints_2d")
        if shape != (JOINTS, 2):
            raise UsageError(f"{file}: keypoints_2d is {'x'.join(map(str, shape))}, expected {JOINTS}x2 (row, column)")
        points = loadmat(io.BytesIO(content), variable_names=["keypoints_2d"])["keypoints_2d"]
        return np.asarray(points, np.float64).reshape(JOINTS, 2)[:, ::-1]


def without_background(path: Path) -> Image.Image:
    """The image times its mask: the background turns black."""
    image = decode(path)
    try:
        mask = decode(beside(path, MASKS, ".png"))
    except UnreadableImageError as error:
        raise UnreadableImageError(f"its mask {MASKS}/{path.parent.name}/{path.stem}.png: {error}") from error
    if mask.size != image.size:
        raise UnreadableImageError(f"its mask has another size ({mask.width}x{mask.height})")
    share = np.asarray(mask).max(2, keepdims=True) / 255
    # Some copies store the mask as 0 and 1.
    share = share / max(float(share.max()), 1 / 255)
    return Image.fromarray(np.rint(np.asarray(image) * share).astype(np.uint8))
