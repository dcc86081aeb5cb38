"""Model, optimiser and step made ready for the machine: compiled, distributed, with an optimiser in one kernel."""

import inspect
import warnings

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.sections import Config
from ppl_cli.device import Compute
from ppl_cli.distributed import World
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.kernels import fuses_relu, kernels_work
from ppl_cli.training.lean import Adam
from ppl_cli.training.start import ANEW, Start
from ppl_cli.training.step import TrainingStep

WORTH_COMPILING = 2000  # steps: it takes 75 to 119 s and saves 0.06 s in each of the paper's size (docs/gpu.md)


def prepare_model(config: Config, compute: Compute, start: Start = ANEW) -> PosePriorLearner:
    """A new model on the device, the same in every process; a prior to start from is set upon weights."""
    torch.default_generator.manual_seed(config.seed)
    model, prior = build_model(config), start.prior
    if start.backbone is not None:
        model.encoder.blocks.load(start.backbone)
    if start.weights is not None:
        model.load_state_dict(start.weights.state_dict(), strict=False)  # a given keypoint prior may come from the prior alone
    if prior is not None:
        keypoints = torch.tensor(prior.points) if config.prior.keypoints == "given" else None
        links = torch.tensor(prior.weights).float() if config.prior.links == "given" else None
        model.start_from(keypoints, links)
    return compute.place(model)


def make_optimiser(model: PosePriorLearner, config: Config) -> torch.optim.Optimizer:
    rate = config.train.learning_rate
    if "links" in config.prior.freeze:
        model.raw_links.requires_grad_(False)
    if "keypoints" in config.prior.freeze:
        model.given_keypoints.requires_grad_(False)
    others = [parameter for parameter in model.parameters() if parameter is not model.raw_links]
    groups = [{"params": others}, {"params": [model.raw_links], "lr": rate * config.train.link_rate}]
    # One kernel for all parameters, where PyTorch has it.
    fused = model.raw_links.device.type in ("cuda", "cpu")
    return Adam(groups, rate, fused=fused)


def prepare_step(
    model: PosePriorLearner, reconstruction_loss: nn.Module, config: Config, compute: Compute, world: World
) -> nn.Module:
    """The `TrainingStep`, ready to be called."""
    step = TrainingStep(model, compute.place(reconstruction_loss), config, compute)
    if compute.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # batches have one size: the fastest convolutions are worth searching for
    if compiles(config, compute):
        # Where compiling fails (no C compiler, say), "auto" goes on without and only a wish is an error.
        torch._dynamo.config.suppress_errors = config.train.compile == "auto"
        # Where products of matrices stay in float32, it proposes TF32: positions need more (device.py).
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
        for question in (kernels_work, fuses_relu):
            torch.compiler.assume_constant_result(question)  # asked once, and not compiled
        for module in (model.encoder.blocks, model.decoder, step.reconstruction_loss):
            module.compile()
    if world.size == 1:
        return step
    where = [compute.device] if compute.device.type == "cuda" else None
    # torch 2.13 has another name for it. Buffers are made equal after each step: none waits for those of the first process.
    new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    alone = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    return DistributedDataParallel(step, device_ids=where, gradient_as_bucket_view=True, **alone)


def compiles(config: Config, compute: Compute) -> bool:
    """Long runs on GPUs do. On CPUs convolutions are most of a step, and it got no faster (docs/performance.md)."""
    if config.train.compile == "auto":
        return compute.device.type == "cuda" and config.train.steps >= WORTH_COMPILING
    return config.train.compile
