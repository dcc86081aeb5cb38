"""Which annotated images a model is measured on, and which kind of data set a folder is."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ppl_cli.config.loading import nearest
from ppl_cli.config.sections import Config, DataConfig, DataKind
from ppl_cli.data.datasets import WITHOUT_FILES
from ppl_cli.errors import UsageError

UNANNOTATED = ("folder", "video_frames")
CHOOSES_FIT, CHOOSES_TEST = ("coco", "deeplabcut"), ("coco", "deeplabcut", "h5")


@dataclass(frozen=True)
class AnnotatedData:
    """Annotated images, and how they are read. What is None is seen from the folder, or as the model was trained."""

    folder: str | Path | None = None
    kind: str | None = None  # coco, deeplabcut, h5, ... (config.sections.DataKind)
    fit: str | None = None  # COCO file, or DeepLabCut videos, that maps are fitted on
    test: str | None = None  # COCO file, DeepLabCut videos, or CUB split to measure on
    batch: int = 32  # images per pass of the network
    strict: bool = False  # an unreadable image is an error


def choose_data(config: Config, wanted: AnnotatedData) -> DataConfig:
    """The data wanted, else those that the model with this configuration was trained on. UsageError if there are none."""
    kind, own = wanted.kind, config.data
    if kind is not None and kind not in get_args(DataKind):
        raise UsageError(f"--kind {kind}: no such kind of data set{nearest(kind, get_args(DataKind))}")
    path = str(wanted.folder) if wanted.folder else own.path
    if kind is None:
        if wanted.folder is None and own.kind in WITHOUT_FILES:
            kind = own.kind
        elif path is None:
            raise UsageError("which annotated images? give --data FOLDER")
        elif own.kind not in (*UNANNOTATED, *WITHOUT_FILES) and not wanted.folder:
            kind = own.kind
        else:
            kind = detect_kind(Path(path), wanted.fit, wanted.test)
            kind = own.kind if (kind, own.kind) == ("h36m", "h36m_wobg") else kind  # the folder is the same
    if kind in WITHOUT_FILES:
        if wanted.folder is not None:
            raise UsageError(f"--data {wanted.folder}: data.kind {kind} draws its own images; leave --data out")
        path = None
    for option, value, kinds in (("--fit", wanted.fit, CHOOSES_FIT), ("--test", wanted.test, CHOOSES_TEST)):
        if value is not None and kind not in kinds:
            raise UsageError(f"{option} {value}: data.kind {kind} has fixed splits; leave {option} out")
    annotations = own.annotations if kind == own.kind else None
    changes = {"kind": kind, "path": path, "fit": wanted.fit, "test": wanted.test, "annotations": annotations}
    return own.model_copy(update=changes)


def detect_kind(path: Path, fit: str | None, test: str | None) -> str:
    """By what lies in the folder. UsageError says what was looked for."""
    if not path.exists():
        raise UsageError(f"--data {path}: no such folder")
    if path.suffix == ".json":
        raise UsageError(f"--data {path} is a file: give its folder, and the file with --test {path.name}")
    if any((name or "").endswith(".json") for name in (fit, test)) or (path / "test.json").is_file():
        return "coco"
    if (path / "labeled-data").is_dir():
        return "deeplabcut"
    if path.suffix in (".h5", ".hdf5") or any(path.glob("*.h5")) or any(path.glob("*.hdf5")):
        return "h5"
    if any(path.glob("S*/WithBackground")):
        return "h36m"
    if any(path.glob("landmark*/taichi_*_gt.pkl")) or any(path.glob("taichi_*_gt.pkl")):
        return "taichi"
    raise UsageError(
        f"{path} holds no annotations: looked for test.json (COCO), labeled-data (DeepLabCut), *.h5 (CUB), S*/WithBackground "
        "(Human3.6M), landmark/taichi_*_gt.pkl; name COCO files with --fit FILE --test FILE"
    )
