"""The typed configuration and its YAML form.

Every field has its unit and meaning here; the files in `configs/` only say what differs, and the recipe that they name
(`recipes.py`) fills in how to learn. The defaults here are the paper's. An unknown key is an error that names the nearest
known one.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ppl_cli.config.recipes import VIDEOS

LARGEST_YAML = 256 << 10  # bytes
Positive = Annotated[int, Field(gt=0)]
DataKind = Literal[
    "folder", "video_frames", "coco", "figures", "deeplabcut", "ultralytics", "sleap", "h5", "h36m", "h36m_wobg", "taichi"
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    kind: DataKind = "folder"
    path: str | None = None  # folder of the images; `--data` sets it
    annotations: str | None = None  # coco: JSON file, relative to `path` or absolute; none: train.json
    fit: str | None = None  # eval: coco: JSON file that the linear map is fitted on; deeplabcut: videos; `--fit` sets it
    test: str | None = None  # eval: JSON file or videos to measure on, or (h5) the number of the split; `--test` sets it
    category: str | None = Field(None, description="annotated category, where there are several; `--category` sets it")
    images: str | None = Field(
        None, description="folder of the annotated images, if not where their file says; `--images` sets it"
    )
    split: str | float = "auto"  # a sub-folder; `all`; a share in (0, 1); `auto`: `train` if it lies beside test or val
    resize: Literal["letterbox", "squash"] = "letterbox"  # keep the aspect ratio, or stretch (the reference's way)
    range: tuple[float, float] | None = None  # black and white of images of more than 8 bits; none: found over the images
    cache_gib: float = Field(4.0, ge=0)  # decoded images are kept in memory up to this size, else read again each time
    figures: int = Field(2000, gt=0, le=1_000_000)  # figures: how many different pictures to train on

    @field_validator("range")
    @classmethod
    def black_is_below_white(cls, found: tuple[float, float] | None) -> tuple[float, float] | None:
        if found is not None and not found[0] < found[1]:
            raise ValueError("write [BLACK, WHITE] with BLACK below WHITE")
        return found

    @field_validator("split")
    @classmethod
    def share_is_a_share(cls, split: str | float) -> str | float:
        if isinstance(split, float | int) and not 0 < split < 1:
            raise ValueError("a share must lie between 0 and 1")
        return split


class ModelConfig(Section):
    image_size: int = Field(128, ge=32, le=2048)  # side of the square input in pixels, a multiple of 16
    keypoints: int = Field(16, ge=2, le=128)
    width: int = Field(64, gt=0, le=1024)  # channels of the first block of encoder and decoder
    banks: int = Field(34, gt=0, le=4096)  # memory banks
    vectors: int = Field(16, gt=0, le=32_767)  # vectors in a bank
    dimension: int = Field(512, gt=0, le=65_536)  # of a vector
    thickness: float = Field(5e-4, gt=0)  # of a drawn link, in squared normalised units; in a file also auto: about 3 pixels
    links_start: float = -4.0  # links start at softplus(this + noise): -4 is faint (0.02), 0 is strong (0.7)
    affine_start: Literal["random", "identity"] = "random"  # identity: every pose begins at the keypoint prior
    affine_limit: float = Field(0.0, ge=0)  # scale and shear differ from those of the prior by less than this; 0: no limit
    attention_temperature: float = Field(1.0, gt=0)  # below 1 the encoder looks at fewer cells, above at more
    attention_stride: Literal[2, 4] = 4  # pixels to a cell of attention

    @field_validator("image_size")
    @classmethod
    def divisible(cls, size: int) -> int:
        if size % 16:
            raise ValueError("must be a multiple of 16")
        return size


class ReferenceConfig(Section):
    kind: Literal["mask", "video"] = "mask"  # the image with cells hidden, or another frame of the same video
    cells: Positive = 16  # mask: the image is cut into cells x cells
    missing: float = Field(0.8, ge=0, le=1)  # mask: share of hidden cells
    missing_start: float | None = Field(None, ge=0, le=1)  # mask: share at the first step; none: `missing` throughout
    missing_until: int = Field(0, ge=0)  # mask: step at which `missing` is reached
    vary_cells: bool = False  # mask: half as many, as many and twice as many cells take turns


class PriorConfig(Section):
    """A prior given instead of learned (paper, Table 4)."""

    init: str | None = None  # prior.json to start from; `--init-prior` sets it
    keypoints: Literal["memory", "given"] = "memory"  # distilled from the memory, or a parameter that starts from `init`
    links: Literal["random", "given"] = "random"  # what the links start from
    freeze: list[Literal["keypoints", "links"]] = []  # what stays as it starts; `--freeze` sets it
    names: list[str] = []  # of the keypoints, as `init` has them; for export


class MemoryConfig(Section):
    counts_start: float = Field(0.0, ge=0)  # count of every vector at the start; 1: moving averages begin settled
    revive: float = Field(0.0, ge=0, lt=1)  # vectors used less than this share of the average take a pose of the batch
    distil: Literal["mean", "usage"] = "mean"  # the prior: all vectors of a bank alike (paper), or weighed by their use


class LossConfig(Section):
    kind: Literal["perceptual", "multiscale"] = "perceptual"  # of the reconstruction; multiscale needs no download
    network: Literal["vgg19", "vgg16"] = "vgg19"  # perceptual
    stages: int = Field(4, ge=1, le=4)  # perceptual: how many stages are compared
    size: int = Field(224, ge=16)  # perceptual: pixels that the images are resized to before the network
    weights: str | None = None  # perceptual: file with torchvision's keys; none: torchvision downloads them
    scales: int = Field(3, ge=1, le=6)  # multiscale: how many halvings are compared
    boundary: float = Field(1.0, ge=0)  # weight of the boundary loss
    links: float = Field(0.0, ge=0)  # weight of the paper's link regularisation, which the reference leaves out
    equivariance: float = Field(0.0, ge=0)  # weight: keypoints move as a randomly warped image does (not in the paper)
    separation: float = Field(0.0, ge=0)  # weight: keypoints keep apart (not in the paper)
    ease_from: int = Field(0, ge=0)  # step from which these two weights fall ...
    ease_to: int = Field(0, ge=0)  # ... to `eased` of their value at this step; 0: they never fall
    eased: float = Field(0.04, ge=0, le=1)


class TrainConfig(Section):
    init: str | None = None  # MODEL whose weights training starts from; `--init` sets it
    steps: Positive = 20_000
    batch: Positive | Literal["auto"] = 64  # images per step, of each process; auto: as many as fit, up to 64
    accumulate: Positive = 1  # pieces that a batch is computed in, one after the other: less memory, the same step
    compile: bool | Literal["auto"] = "auto"  # torch.compile; auto: on a CUDA GPU
    learning_rate: float = Field(1e-4, gt=0)  # Adam
    weight_decay: float = Field(0.0, ge=0)  # AdamW's
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rates; cosine: down to 0 at the last step
    warmup: int = Field(0, ge=0)  # steps in which the learning rates rise
    ema: float = Field(0.0, ge=0, lt=1)  # what is saved is the mean of the weights, the past weighed by this each step; 0: off
    link_rate: float = Field(1.0, ge=0)  # learning rate of the links, relative to learning_rate
    flip: bool = True  # random horizontal flips
    jitter: float = Field(0.0, ge=0, le=0.5)  # random shift of drawn keypoints, standard deviation in normalised units
    warp: float = Field(0.0, ge=0, le=1)  # random rotation, scale and shift; 1: up to 23 degrees, 20 %, 15 % of half a side
    rotate: float = Field(0.0, ge=0, le=180)  # degrees: random rotation up to this, either way; equivariance learns it too
    colour: float = Field(0.0, ge=0, le=1)  # the encoder sees images of changed brightness, contrast and tint; 1: strongly
    occlude: float = Field(0.0, ge=0, le=1)  # the encoder sees half of the images with holes, up to this share
    log_every: Positive = 50  # steps between rows of metrics.csv
    save_every: Positive = 500  # steps between checkpoints
    sample_every: Positive = 500  # steps between pictures in samples/
    tensorboard: bool = False  # also write the rows of metrics.csv for TensorBoard, into tensorboard/


class Config(Section):
    name: str = Field("run", pattern=r"^[\w.-]+$")  # of the run folder
    recipe: Literal["ppl", "paper", "reference", "none"] = "none"  # filled in what a file left out (recipes.py); in a file: ppl
    seed: int = Field(0, ge=0, lt=2**63)
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    prior: PriorConfig = PriorConfig()
    memory: MemoryConfig = MemoryConfig()
    reference: ReferenceConfig = ReferenceConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def parts_fit(self) -> "Config":
        if "given" in (self.prior.keypoints, self.prior.links) and self.prior.init is None:
            raise ValueError("which prior? give --init-prior FILE")
        if "keypoints" in self.prior.freeze and self.prior.keypoints == "memory":
            raise ValueError("prior.freeze: only given keypoints can be frozen; give --init-prior FILE")
        if self.prior.names and len(self.prior.names) != self.model.keypoints:
            raise ValueError(f"prior.names has {len(self.prior.names)} names, the model {self.model.keypoints} keypoints")
        if self.data.kind == "figures" and self.data.path:
            raise ValueError("data.kind figures draws its own images; for yours write: ppl train folder --data FOLDER")
        if self.data.kind not in ("folder", "video_frames") and self.data.split != "auto":
            raise ValueError(f"data.split has no meaning for data.kind {self.data.kind}")
        if self.train.batch != "auto" and self.train.batch % self.train.accumulate:
            raise ValueError(f"train.batch ({self.train.batch}) cannot be cut into train.accumulate ({self.train.accumulate})")
        if self.loss.kind == "multiscale" and self.loss.weights:
            raise ValueError("loss.kind multiscale needs no perceptual weights; leave out --perceptual-weights")
        if self.reference.kind == "video" and self.data.kind not in VIDEOS:
            raise ValueError(f"reference.kind video needs videos, and data.kind {self.data.kind} has none: use video_frames")
        if self.reference.kind == "mask" and self.reference.cells > self.model.image_size:
            raise ValueError(f"reference.cells ({self.reference.cells}) exceeds model.image_size")
        if self.loss.kind == "multiscale" and self.model.image_size >> (self.loss.scales - 1) < 4:
            raise ValueError(f"loss.scales ({self.loss.scales}) is too many for images of {self.model.image_size} pixels")
        return self
