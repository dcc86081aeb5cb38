"""The typed configuration: every field with its meaning and, in brackets, its unit, as `ppl train --fields` prints them.

The files in `configs/` only say what differs, and the recipe that they name (`recipes.py`) fills in how to learn. The
defaults here are the paper's. An unknown key is an error that names the nearest known one.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ppl_cli.config.recipes import VIDEOS

Positive = Annotated[int, Field(gt=0)]
DataKind = Literal[
    "folder", "video_frames", "coco", "figures", "deeplabcut", "ultralytics", "sleap", "h5", "h36m", "h36m_wobg", "taichi"
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which images to learn from."""

    kind: DataKind = Field("folder", description="how the data set is laid out; figures are drawn and need no files")
    path: str | None = Field(None, description="folder of the images and videos, or one video; --data sets it")
    also: list[str] = Field([], description="folder, video_frames: more of them; --data, given again, sets it")
    annotations: str | None = Field(None, description="coco: JSON file, absolute or relative to path; none: train.json")
    fit: str | None = Field(
        None,
        description="eval: what the linear map is fitted on: a file (coco, sleap), videos (deeplabcut), a part (ultralytics); "
        "--fit sets it",
    )
    test: str | None = Field(
        None, description="eval: what to measure on: the same, or the number of the split (h5); --test sets it"
    )
    category: str | None = Field(None, description="annotated category, where there are several; --category sets it")
    images: str | None = Field(
        None, description="folder of the annotated images, if not where their file says; --images sets it"
    )
    split: str | float = Field(
        "auto", description="a sub-folder, all, or a share between 0 and 1; auto: train, where it lies beside test or val"
    )
    resize: Literal["letterbox", "squash"] = Field(
        "letterbox", description="how images become square: keep the aspect ratio, or stretch as the original does"
    )
    range: tuple[float, float] | None = Field(
        None, description="black and white of images of more than 8 bits; none: found over the images"
    )
    cache_gib: float = Field(4.0, ge=0, description="decoded images are kept in memory up to this size, else read again [GiB]")
    frames: int = Field(
        2000, ge=0, description="of videos: how many to learn from, spread evenly over all of them; 0: none [frames]"
    )
    figures: int = Field(2000, gt=0, le=1_000_000, description="figures: how many different pictures to train on [images]")

    @property
    def places(self) -> list[str]:
        """All folders and videos; none of drawn images."""
        return [] if self.path is None else [self.path, *self.also]

    @property
    def origin(self) -> dict[str, object]:
        """As reports say it."""
        return {"kind": self.kind, "path": self.path} | ({"also": self.also} if self.also else {})

    @field_validator("range")
    @classmethod
    def black_is_below_white(cls, found: tuple[float, float] | None) -> tuple[float, float] | None:
        if found is not None and not found[0] < found[1]:
            raise ValueError("write [BLACK, WHITE] with BLACK below WHITE")
        return found

    @field_validator("split", mode="before")
    @classmethod
    def numbers_can_name_folders(cls, split: object) -> object:
        return str(split) if type(split) is int else split

    @field_validator("split")
    @classmethod
    def share_is_a_share(cls, split: str | float) -> str | float:
        if isinstance(split, float | int) and not 0 < split < 1:
            raise ValueError("a share must lie between 0 and 1")
        return split


class ModelConfig(Section):
    """How large the model is."""

    image_size: int = Field(128, ge=32, le=2048, multiple_of=16, description="side of the square input [pixels]")
    keypoints: int = Field(16, ge=2, le=128, description="how many keypoints to learn")
    width: int = Field(64, gt=0, le=1024, description="channels of the first block of encoder and decoder")
    encoder: Literal["affine", "anchored", "fine"] = Field(
        "affine",
        description="keypoints by a transform of the prior alone (paper), around where each of them looks (anchored), or that "
        "with the features of small parts too (fine)",
    )
    backbone: str = Field(
        "none",
        description="a pretrained network of timm that sees in place of the encoder's own, frozen (tf_efficientnet_lite0)",
    )
    backbone_weights: str | None = Field(
        None, description="file with timm's keys (safetensors or pth) to begin with; none: timm downloads them"
    )
    banks: int = Field(34, gt=0, le=4096, description="memory banks, each of which holds one part of a pose")
    vectors: int = Field(16, gt=0, le=32_767, description="vectors in a bank")
    dimension: int = Field(512, gt=0, le=65_536, description="numbers in a vector")
    thickness: float = Field(
        5e-4, gt=0, description="of a drawn link; in a file also auto: about 3 pixels [half image sides, squared]"
    )
    links_start: float = Field(
        -4.0, description="links start at softplus(this + noise): -4 is hardly visible (0.02), 0 is strong (0.7)"
    )


class PriorConfig(Section):
    """A prior that is given instead of learned (paper, Table 4)."""

    init: str | None = Field(None, description="prior.json to start from; --init-prior sets it")
    keypoints: Literal["memory", "given"] = Field(
        "memory", description="distilled from the memory, or a parameter that starts from init"
    )
    links: Literal["random", "given"] = Field("random", description="what the links start from")
    freeze: list[Literal["keypoints", "links"]] = Field([], description="what stays as it starts; --freeze sets it")
    names: list[str] = Field([], description="names of the keypoints, taken from init; exports use them")


class MemoryConfig(Section):
    """The memory of typical poses."""

    revive: float = Field(
        0.0, ge=0, lt=1, description="a vector used less than this share of its bank's average takes a pose of the batch"
    )


class ReferenceConfig(Section):
    """The reference image, from which the decoder takes the appearance."""

    kind: Literal["auto", "mask", "video"] = Field(
        "mask",
        description="the image itself with cells hidden, or another frame of its video, if it has one; auto: by the data",
    )
    near: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        0, description="video: the other frame is at most so many away, of those taken; 0: any; auto: 15 if the camera moves"
    )
    cells: Positive = Field(16, description="mask: the image is cut into cells x cells")
    missing: float = Field(0.8, ge=0, le=1, description="mask: share of the cells that are hidden")


class LossConfig(Section):
    """What is minimised."""

    kind: Literal["perceptual", "multiscale"] = Field(
        "perceptual",
        description="how reconstructions are compared; multiscale (recipe ppl at up to 64 pixels) needs no download",
    )
    network: Literal["vgg19", "vgg16"] = Field("vgg19", description="perceptual: whose features are compared")
    stages: int = Field(4, ge=1, le=4, description="perceptual: how many stages of the network are compared")
    size: int = Field(224, ge=16, description="perceptual: side that images are resized to before the network [pixels]")
    weights: str | None = Field(
        None,
        description="perceptual: file with torchvision's keys; none: torchvision downloads them; --perceptual-weights sets it",
    )
    links: float = Field(0.0, ge=0, description="weight of the paper's link regularisation, which the original leaves out")
    equivariance: float = Field(
        0.0, ge=0, description="weight: keypoints move as a randomly warped image does (not in the paper)"
    )
    bend: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="equivariance: how far the warped image is bent, too [largest stretch]; 0: only turned and moved",
    )
    separation: float = Field(0.0, ge=0, description="weight: keypoints keep apart (not in the paper)")
    anchor: float = Field(0.0, ge=0, description="weight: keypoints stay where their attention lies (not in the paper)")
    shortness: float = Field(0.0, ge=0, description="weight: keypoints stay near those linked to them (not in the paper)")
    relevance: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        0.0,
        description="weight: keypoints lie where the pose matters (not in the paper); auto: 0.2, or 0 where the camera moves "
        "and images are not turned",
    )
    ease_from: int = Field(0, ge=0, description="when equivariance and separation start to fall [step]")
    ease_to: int = Field(0, ge=0, description="when they have fallen to eased of their value; 0: they never fall [step]")
    eased: float = Field(0.04, ge=0, le=1, description="share of equivariance and separation that stays")
    shorten_from: int = Field(0, ge=0, description="when shortness begins [step]")
    turn_from: int = Field(0, ge=0, description="train.rotate: when the warped image is turned by any angle, too [step]")
    turn_to: int = Field(0, ge=0, description="train.rotate: until when separation leads once more [step]")


class TrainConfig(Section):
    """How to train, and what to write."""

    init: str | None = Field(None, description="MODEL whose weights training starts from; --init sets it")
    steps: Positive = Field(20_000, description="length of the run [steps]")
    batch: Positive | Literal["auto"] = Field(
        64, description="images in a step, of each process; auto: as many as fit into memory, up to 64 [images]"
    )
    accumulate: Positive = Field(
        1,
        description="a batch is computed in this many pieces, one after the other: less memory, nearly the same step [pieces]",
    )
    compile: bool | Literal["auto"] = Field("auto", description="torch.compile; auto: on a CUDA GPU, from 2,000 steps on")
    learning_rate: float = Field(1e-4, gt=0, description="of Adam, constant")
    link_rate: float = Field(1.0, ge=0, description="learning rate of the links, relative to learning_rate")
    ema: float = Field(
        0.0, ge=0, lt=1, description="what is saved is a moving mean of the weights, its past weighed by this each step; 0: off"
    )
    flip: bool = Field(True, description="random flips, left to right; upside down where images were turned to head one way")
    jitter: float = Field(
        0.0, ge=0, le=0.5, description="random shift of drawn keypoints, standard deviation [half image sides]"
    )
    warp: float = Field(
        0.0, ge=0, le=1, description="random rotation, scale and shift; 1: up to 23 degrees, 20 %, 15 % of half a side"
    )
    rotate: bool | Literal["auto"] = Field(
        False,
        description="objects head anywhere, as animals seen from above: images are turned for all to head one way, and objects "
        "are found at any angle; auto: if they do",
    )
    light: bool = Field(False, description="the encoder sees images in random light: gamma, contrast and brightness differ")
    ghosts: float = Field(
        0.0, ge=0, le=1, description="the encoder sees another image shine through, at most so strongly [share of contrast]"
    )
    ghosts_mirrored: bool | Literal["auto"] = Field(
        False, description="ghosts: half of them left to right, not upside down; auto: if these are videos and the camera moves"
    )
    cover: float = Field(
        0.0, ge=0, le=1, description="train.rotate: how many of the turned images show the object partly hidden [share]"
    )
    uncover: int = Field(
        0, ge=0, description="at the end, a small network learns for so long to find what hides the object; 0: none [steps]"
    )
    log_every: Positive = Field(50, description="from one row of metrics.csv to the next [steps]")
    save_every: Positive = Field(500, description="from one checkpoint to the next [steps]")
    sample_every: Positive = Field(500, description="from one picture in samples/ to the next [steps]")
    tensorboard: bool = Field(False, description="also write the rows of metrics.csv for TensorBoard, into tensorboard/")


class Config(Section):
    """A whole configuration."""

    name: str = Field("run", pattern=r"^[\w.-]+$", description="name of the run folder: runs/NAME-1")
    recipe: Literal["ppl", "paper", "reference", "none"] = Field(
        "none", description="how to learn: fills in what a file leaves out; in a file that names none: ppl"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of everything random")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    prior: PriorConfig = PriorConfig()
    memory: MemoryConfig = MemoryConfig()
    reference: ReferenceConfig = ReferenceConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()

    def with_fields(self, section: str, **fields: object) -> "Config":
        """A copy in which these fields of the section have other values, which are not checked."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=fields)})

    @model_validator(mode="after")
    def parts_fit(self) -> "Config":
        if "given" in (self.prior.keypoints, self.prior.links) and self.prior.init is None:
            raise ValueError("prior.keypoints or prior.links is given, but no prior is named; add --init-prior FILE")
        if "keypoints" in self.prior.freeze and self.prior.keypoints == "memory":
            raise ValueError("prior.freeze: only given keypoints can be frozen; add --init-prior FILE")
        if self.prior.names and len(self.prior.names) != self.model.keypoints:
            raise ValueError(f"prior.names has {len(self.prior.names)} names, the model {self.model.keypoints} keypoints")
        if self.data.kind == "figures" and self.data.path:
            raise ValueError("data.kind figures draws its own images; for yours write: ppl train folder_small --data FOLDER")
        if self.data.kind not in ("folder", "video_frames") and self.data.split != "auto":
            raise ValueError(f"data.split has no meaning for data.kind {self.data.kind}; leave it out")
        if self.train.batch != "auto" and self.train.batch % self.train.accumulate:
            raise ValueError(f"train.batch ({self.train.batch}) cannot be cut into train.accumulate ({self.train.accumulate})")
        if self.train.rotate is True and not self.loss.equivariance:
            raise ValueError("train.rotate turns the images of loss.equivariance, which is 0: the default recipe has 5")
        if self.model.backbone == "none" and self.model.backbone_weights:
            raise ValueError("model.backbone_weights: whose? Name the network too, --set model.backbone=tf_efficientnet_lite0")
        if self.loss.kind == "multiscale" and self.loss.weights:
            raise ValueError("loss.kind multiscale needs no perceptual weights; leave out --perceptual-weights")
        if self.reference.kind == "video" and self.data.kind not in ("folder", *VIDEOS):
            raise ValueError(f"reference.kind video needs videos, and data.kind {self.data.kind} has none: use video_frames")
        if self.reference.kind != "video" and self.reference.cells > self.model.image_size:
            raise ValueError(f"reference.cells ({self.reference.cells}) exceeds model.image_size ({self.model.image_size})")
        return self
