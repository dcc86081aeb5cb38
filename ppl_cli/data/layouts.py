"""What kind of data set a folder is, and which of its files holds which part: the layouts that annotation tools write.

train.json test.json                                   ppl's own
train/ valid/ test/ with _annotations.coco.json         Roboflow
annotations/..._train.json, images/train/               CVAT, COCO
result.json, images/                                    Label Studio: one file, divided here
data.yaml, images/, labels/                             Ultralytics (ultralytics.py)
labeled-data/VIDEO/CollectedData_SCORER.csv             DeepLabCut (deeplabcut.py)
CollectedData.csv                                       Lightning Pose (deeplabcut.py)
*.slp                                                   SLEAP (sleap.py); which file: as for COCO
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.cub import holds_birds
from ppl_cli.data.listing import Listing, Part
from ppl_cli.errors import UsageError
from ppl_cli.text import counted

WORDS = {
    "train": ("train", "training"),
    "fit": ("fit", "train", "training"),
    "test": ("test", "testing", "val", "valid", "validation"),
}  # in the names of files and folders; the first word that is there counts
SPLIT_SEED = 0  # the same for every model, or their errors could not be compared
SHARE = 0.3  # of the images of a single file, to measure on
HEAD = 4096  # bytes of a file that are looked at
LARGEST_YAML = 1 << 20  # bytes


def detect_kind(path: Path, fit: str | None, test: str | None) -> str | None:
    """By what lies in the folder; None if it holds no annotations. UsageError if it is not there."""
    if not path.exists():
        raise UsageError(f"--data {path}: no such folder")
    if path.suffix == ".json":
        raise UsageError(f"--data {path} is a file: give its folder, and the file with --test {path.name}")
    named = [(name or "").lower() for name in (fit, test)]
    if any(name.endswith(".json") for name in named) or (path / "test.json").is_file():
        return "coco"
    if path.suffix == ".slp" or any(name.endswith(".slp") for name in named):
        return "sleap"
    if (path / "labeled-data").is_dir() or any(path.glob("CollectedData*.csv")):
        return "deeplabcut"
    if find_ultralytics(path):
        return "ultralytics"
    if path.suffix in (".h5", ".hdf5") or any(map(holds_birds, [*path.glob("*.h5"), *path.glob("*.hdf5")])):
        return "h5"
    if any(path.glob("S*/WithBackground")):
        return "h36m"
    if any(path.glob("landmark*/taichi_*_gt.pkl")) or any(path.glob("taichi_*_gt.pkl")):
        return "taichi"
    for kind, suffix in (("sleap", ".slp"), ("coco", ".json")):
        if any(find_files(path, suffix)):
            return kind
    return None


def no_annotations(path: Path) -> UsageError:
    return UsageError(
        f"{path} holds no annotations: looked for test.json, annotations/*.json and */_annotations.coco.json (COCO), "
        "labeled-data (DeepLabCut), CollectedData.csv (Lightning Pose), data.yaml (Ultralytics), *.slp (SLEAP), *.h5 (CUB; "
        "needs h5py), S*/WithBackground (Human3.6M), landmark/taichi_*_gt.pkl; name COCO files with --fit FILE --test FILE. "
        "For a report without labels leave --protocol, --occlusion, --fit and --test out"
    )


def find_ultralytics(root: Path) -> Path | None:
    """The data.yaml of a folder of Ultralytics' poses; it may have another name."""
    files = sorted([*root.glob("*.yaml"), *root.glob("*.yml")], key=lambda file: (file.stem != "data", file.name))
    return next((file for file in files if "kpt_shape" in read_head(file, LARGEST_YAML)), None)


def find_files(root: Path, suffix: str) -> Iterator[Path]:
    """Annotation files of a folder: in it, in annotations/, and in folders such as train/."""
    folders = [root, root / "annotations", *(root / word for words in WORDS.values() for word in words)]
    for folder in dict.fromkeys(folders):
        for file in sorted(folder.glob(f"*{suffix}")):
            if file.is_file() and (suffix != ".json" or begins_as_coco(read_head(file))):
                yield file


def begins_as_coco(head: str) -> bool:
    """An object with one of COCO's lists, in any order. Other programs write JSON beside images too, some of it with an "info"
    or a number of "images"."""
    beside_info = ('"licenses"', '"categories"', '"annotations"')
    lists = re.search(r'"images"\s*:\s*\[', head) or ('"image_id"' in head and re.search(r'"annotations"\s*:\s*\[', head))
    poses = '"keypoints"' in head and re.search(r'"categories"\s*:\s*\[', head)
    return bool(lists or poses) or ('"info"' in head and any(key in head for key in beside_info))


def read_head(file: Path, most: int = HEAD) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


@dataclass(frozen=True)
class Choice:
    """The annotation file of a part, or that part's share of a file for all."""

    file: Path
    test_share: float | None = None


def choose_file(config: DataConfig, part: Part, suffix: str) -> Choice:
    """The file that the user names, or that the layout gives. UsageError if there is none, or there are several."""
    root, share = Path(config.path), parse_share(config.test)
    if root.is_file():
        if not config.fit and (share or not config.test):
            return Choice(root, share or SHARE)
        asked = config.fit if share else {"train": None, "fit": config.fit, "test": config.test}[part]
        return Choice(named_file(root.parent, asked, part), share) if asked else Choice(root)
    whole = config.fit or config.annotations
    asked = whole if share else {"train": config.annotations, "fit": whole, "test": config.test}[part]
    if asked:
        return Choice(named_file(root, asked, part), share)
    if share:
        if file := pick_one(list(find_files(root, suffix)), part):
            return Choice(file, share)
        raise missing_file(part, [root / f"FILE{suffix}"])
    own = {"train": ["train"], "fit": ["fit", "train"], "test": ["test"]}[part]
    for name in own:
        if (file := root / f"{name}{suffix}").is_file():
            return Choice(file)
    files = list(find_files(root, suffix))
    for word in WORDS[part]:
        if file := pick_one([file for file in files if word in split_words(file, root)], part):
            return Choice(file)
    if not any(split_words(file, root) & {word for words in WORDS.values() for word in words} for file in files):
        file = pick_one(files, part)
        if file and config.fit is None and config.test is None:
            return Choice(file, SHARE)
    raise missing_file(part, [root / f"{name}{suffix}" for name in own])


def parse_share(text: str | None) -> float | None:
    """`--test 0.3`: a share of the images of one file."""
    try:
        share = float(text or "")
    except ValueError:
        return None
    if not 0 < share < 1:
        raise UsageError(f"--test {text}: a share of the images must lie between 0 and 1")
    return share


def named_file(root: Path, name: str, part: Part) -> Path:
    """Relative to the data set, or as the shell completes it."""
    for file in (root / name, Path(name)):
        if file.is_file():
            return file
    raise missing_file(part, [root / name])


def missing_file(part: Part, candidates: list[Path]) -> UsageError:
    how = "--set data.annotations=FILE" if part == "train" else f"--{part} FILE"
    wanted = " or ".join(map(str, candidates))
    kind = "COCO" if candidates[0].suffix == ".json" else "SLEAP"
    return UsageError(f"no {kind} file {wanted}: name it with {how} (relative to the data folder)")


def split_words(file: Path, root: Path) -> set[str]:
    """Words in the name of a file and of its folder below `root`, without numbers: train2017 -> train."""
    return set(re.findall(r"[a-z]+", "/".join(file.relative_to(root).parts[-2:]).lower()))


def pick_one(files: list[Path], part: Part) -> Path | None:
    """Of several, the one that has `keypoints` in its name, as CVAT writes it beside others. UsageError if it is not clear."""
    named = [file for file in files if "keypoint" in file.name.lower()] if len(files) > 1 else files
    if len(named or files) > 1:
        how = "--set data.annotations=FILE" if part == "train" else f"--{part} FILE"
        shown = ", ".join(file.name for file in files[:5])
        raise UsageError(f"{files[0].parent} holds several annotation files ({shown}): choose one with {how}")
    return named[0] if named else None


def take_share(listing: Listing, choice: Choice, part: Part) -> Listing:
    """Where one file holds all parts: the images that are drawn to measure on, or the rest. Otherwise all."""
    if choice.test_share is None:
        return listing
    count = len(listing)
    if count < 2:
        raise UsageError(f"{choice.file} annotates 1 image; at least 2 are needed to fit on one and measure on another")
    held = min(count - 1, max(1, round(choice.test_share * count)))
    order = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(count)
    listing = listing.take(sorted(order[:held] if part == "test" else order[held:]))
    listing.notes.append(
        f"{choice.file.name} is for all parts: {held} of its {counted(count, 'image')} ({choice.test_share:.0%}, drawn with "
        f"seed {SPLIT_SEED}) to measure on, the rest to learn from and fit on; another share: "
        f"{'--set data.test=0.2' if part == 'train' else '--test 0.2'}"
    )
    return listing


def training_folder(root: Path) -> str | None:
    """The part to train on of a folder whose images/ holds one folder for each part, relative to `root`; else None."""
    place = root / "images"
    folders = [folder.name for folder in place.iterdir() if folder.is_dir()] if place.is_dir() else []
    part = {re.sub(r"\d+$", "", name.lower()): name for name in sorted(folders)}
    train, test = (next((part[word] for word in WORDS[which] if word in part), None) for which in ("train", "test"))
    return f"images/{train}" if train and test else None
