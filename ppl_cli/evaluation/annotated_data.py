"""Which images a model is measured on, and which kind of data set a folder is: annotated ones, or such as have no labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ppl_cli.config.loading import nearest
from ppl_cli.config.sections import Config, DataConfig, DataKind
from ppl_cli.data.datasets import UNANNOTATED, WITHOUT_FILES
from ppl_cli.data.layouts import detect_kind, no_annotations
from ppl_cli.errors import UsageError
from ppl_cli.files import at_home

CHOOSES_FIT = ("coco", "deeplabcut", "ultralytics", "sleap")
CHOOSES_TEST = (*CHOOSES_FIT, "h5")
HAS_CATEGORIES = ("coco", "ultralytics", "sleap")


@dataclass(frozen=True)
class AnnotatedData:
    """Annotated images, and how they are read. What is None is seen from the folder, or as the model was trained."""

    folder: str | Path | None = None
    kind: str | None = None  # coco, deeplabcut, h5, ... (config.sections.DataKind)
    fit: str | None = None  # what maps are fitted on: COCO or SLEAP file, DeepLabCut videos, Ultralytics part
    test: str | None = None  # what to measure on: the same, CUB split, or of one file for all a share of its images
    category: str | None = None  # where several are annotated
    images: str | None = None  # folder of the images, if not where their file says
    batch: int = 32  # images per pass of the network
    strict: bool = False  # an unreadable image is an error


def choose_data(config: Config, wanted: AnnotatedData, labels: bool = False) -> DataConfig:
    """The data wanted, else those that the model with this configuration was trained on; of an UNANNOTATED kind where they have
    no annotations. UsageError if there are no such data, or `labels` are needed and there are none."""
    kind, own = wanted.kind, config.data
    if kind is not None and kind not in get_args(DataKind):
        raise UsageError(f"--kind {kind}: no such kind of data set{nearest(kind, get_args(DataKind))}")
    path = str(at_home(wanted.folder)) if wanted.folder else own.path
    if path and not wanted.folder and not Path(path).exists():
        raise UsageError(f"{path}, whose images the model has learned from, is not there any more: give --data FOLDER")
    if kind is None:
        if wanted.folder is None and own.kind in WITHOUT_FILES:
            kind = own.kind
        elif path is None:
            raise UsageError("which images? give --data FOLDER")
        elif not wanted.folder and (own.also or own.kind not in (*UNANNOTATED, *WITHOUT_FILES)):
            kind = own.kind
        else:
            kind = detect_kind(Path(path), wanted.fit, wanted.test)
            kind = own.kind if (kind, own.kind) == ("h36m", "h36m_wobg") else kind  # the folder is the same
            if kind is None:
                if labels or wanted.fit or wanted.test:
                    raise no_annotations(Path(path))
                kind = own.kind if own.kind in UNANNOTATED and Path(path).is_dir() else UNANNOTATED[0]
    if kind in UNANNOTATED and path is None:
        raise UsageError(f"--kind {kind}: which images? give --data FOLDER")
    if kind in UNANNOTATED and labels:
        raise UsageError(
            f"--kind {kind}: such images have no annotations to measure against; leave --protocol and --occlusion out"
        )
    if kind in WITHOUT_FILES:
        if wanted.folder is not None:
            raise UsageError(f"--data {wanted.folder}: data.kind {kind} draws its own images; leave --data out")
        path = None
    for option, value, kinds in (("--fit", wanted.fit, CHOOSES_FIT), ("--test", wanted.test, CHOOSES_TEST)):
        if value is not None and kind not in kinds:
            raise UsageError(f"{option} {value}: data.kind {kind} has fixed splits; leave {option} out")
    if wanted.category is not None and kind not in HAS_CATEGORIES:
        raise UsageError(f"--category {wanted.category}: data.kind {kind} has no categories; leave --category out")
    if wanted.images is not None and kind not in CHOOSES_FIT:
        raise UsageError(f"--images {wanted.images}: data.kind {kind} has its images where its files say; leave --images out")
    changes = {name: getattr(wanted, name) for name in ("fit", "test", "category", "images")}
    if kind == own.kind and not wanted.folder:
        changes = {name: value or getattr(own, name) for name, value in changes.items()}
    changes["annotations"] = own.annotations if kind == own.kind and not wanted.folder else None
    changes["also"] = [] if wanted.folder else own.also
    if kind in UNANNOTATED and wanted.folder:
        changes["split"] = "all"  # what is given is what is meant
    return own.model_copy(update={"kind": kind, "path": path, **changes})
