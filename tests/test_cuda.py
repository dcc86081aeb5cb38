"""What only a GPU can show: what it computes is what the CPU computes, a step waits for nothing, memory ends in advice."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from ppl_cli.checkpoints.model_file import load_model, save_model
from ppl_cli.cli.app import main
from ppl_cli.config.loading import to_yaml
from ppl_cli.config.sections import Config
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.data.figures import figure
from ppl_cli.device import Compute
from ppl_cli.distributed import ALONE
from ppl_cli.inference.estimate import Estimator
from ppl_cli.model.blocks import conv3x3, convolve_doubled
from ppl_cli.model.losses import VGG_STAGES, PerceptualLoss
from ppl_cli.model.skeleton import SkeletonMap, link_index, skeleton_map
from ppl_cli.training.averaging import Average
from ppl_cli.training.batches import Batch, make_batch, split_batch
from ppl_cli.training.graph import ReplayedStep
from ppl_cli.training.prepare import make_optimiser, prepare_model, prepare_step
from ppl_cli.training.reconstruction import reconstruction_loss
from ppl_cli.training.step import Chance, draw_chance, take_step
from ppl_cli.training.uncover import cover, learn_to_uncover
from tests.conftest import TINY, lively_model

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
GPU, CPU = torch.device("cuda"), torch.device("cpu")
THICKNESS = 8e-4


@pytest.fixture(autouse=True)
def exact_float32(monkeypatch):
    """Convolutions in float32 use 10 bits of mantissa on a GPU unless told otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def config_of(**sections) -> Config:
    return Config.model_validate({**TINY, **{name: {**TINY.get(name, {}), **fields} for name, fields in sections.items()}})


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    ours, theirs = ours.detach().double().cpu(), theirs.detach().double().cpu()
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-12)).item()


def draw(keypoints: torch.Tensor, weights: torch.Tensor, pull: torch.Tensor) -> list[torch.Tensor]:
    """The map and the gradients of its product with `pull`; in float64 what needs no Triton."""
    keypoints, weights = keypoints.clone().requires_grad_(), weights.clone().requires_grad_()
    if keypoints.dtype == torch.float64:
        i, j = link_index(keypoints.shape[1])
        drawn = SkeletonMap.apply(keypoints, weights[i, j], i, j, pull.shape[-1], THICKNESS)
    else:
        drawn = skeleton_map(keypoints, weights, pull.shape[-1], THICKNESS)
    return [drawn.detach(), *torch.autograd.grad((drawn * pull).sum(), (keypoints, weights))]


@pytest.mark.parametrize(("size", "count", "batch"), [(128, 16, 8), (128, 32, 2), (256, 16, 2), (96, 2, 3)])
@pytest.mark.parametrize("where", ["inside", "outside", "together", "without weight"])
def test_kernels_draw_what_the_cpu_draws_in_float64_every_time(size, count, batch, where):
    generator = torch.Generator().manual_seed(size + count)
    keypoints = torch.rand(batch, count, 2, generator=generator) * 2 - 1
    weights = torch.rand(count, count, generator=generator) + 0.05
    if where == "outside":
        keypoints *= 3
    elif where == "together":
        keypoints[:, 1:] = keypoints[:, :1]
    elif where == "without weight":
        weights[::2] = 0
    pull = torch.randn(batch, 1, size, size, generator=generator)
    exact = draw(keypoints.double(), weights.double(), pull.double())
    first, second = (draw(keypoints.to(GPU), weights.to(GPU), pull.to(GPU)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True)), "differs from run to run"
    assert (first[0].cpu().double() - exact[0]).abs().max() < 2e-5
    # A pixel halfway between two links may be won by the other one in float32.
    assert all(distance(found, wanted) < 1e-2 or wanted.norm() < 1e-12 for found, wanted in zip(first, exact, strict=True))


@pytest.mark.parametrize(("inputs", "outputs", "height", "width"), [(256, 64, 64, 64), (64, 512, 4, 8), (3, 70, 5, 1)])
def test_doubling_then_convolving_is_that_of_the_cpu(inputs, outputs, height, width):
    generator = torch.Generator().manual_seed(inputs)
    conv = conv3x3(inputs, outputs)
    conv.bias.requires_grad_(False)
    x = torch.randn(2, inputs, height, width, generator=generator)
    pull = torch.randn(2, outputs, 2 * height, 2 * width, generator=generator)

    def on(device: torch.device, kind: torch.dtype) -> list[torch.Tensor]:
        ours, there = x.to(device, kind).requires_grad_(), conv.to(device, kind)
        found = convolve_doubled(there, ours)
        return [found.detach(), *torch.autograd.grad((found * pull.to(device, kind)).sum(), (ours, there.weight))]

    pairs = zip(on(GPU, torch.float32), on(CPU, torch.float64), strict=True)
    apart = [distance(found, wanted) for found, wanted in pairs]
    print(f"doubled, then convolved: {', '.join(f'{share:.1e}' for share in apart)} from the CPU's")
    assert max(apart) < 1e-4


def test_kernels_that_double_repeat_bit_for_bit():
    spread = pytest.importorskip("ppl_cli.model.doubling_triton").spread
    taps = torch.randn(4, 9 * 64, 32, 32, device=GPU, dtype=torch.bfloat16).requires_grad_()
    bias = torch.randn(64, device=GPU)
    runs = []
    for _ in range(2):
        found = spread(taps, bias)
        runs.append((found, *torch.autograd.grad(found.float().square().sum(), taps)))
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 2e-3), ("bf16", 0.2)])
def test_the_perceptual_loss_is_that_of_the_cpu(precision, limit):
    weights, index, channels = {}, 0, 3
    for stage, count in enumerate(VGG_STAGES["vgg19"][:3]):
        for _ in range(count):
            weights[f"features.{index}.weight"] = torch.randn(64 << stage, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
            weights[f"features.{index}.bias"] = torch.randn(64 << stage) / 10
            index, channels = index + 2, 64 << stage
        index += 1
    # Where a ReLU or the loss has its kink, rounding decides which way a gradient goes.
    ours, theirs, found = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64), []
    for device, kind in ((CPU, "fp32"), (GPU, precision)):
        compute = Compute(device, kind, "")
        loss, image = compute.place(PerceptualLoss(weights, "vgg19", 3, 96)), ours.to(device).requires_grad_()
        with compute.autocast():
            value = loss(image, theirs.to(device))
        found.append((value.detach(), *torch.autograd.grad(value, image)))
    apart = [distance(there, here) for here, there in zip(*found, strict=True)]
    print(f"perceptual loss, {precision}: {', '.join(f'{share:.1e}' for share in apart)} from the CPU's")
    assert max(apart) < limit


@pytest.mark.parametrize(("precision", "tf32", "limit"), [("fp32", False, 2e-4), ("fp32", True, 5e-3), ("bf16", True, 3e-2)])
def test_keypoints_are_those_of_the_cpu(monkeypatch, precision, tf32, limit):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    config = config_of(model={"image_size": 128, "width": 32, "keypoints": 16})
    squares = np.stack([np.asarray(figure(number, 128)[0]) for number in range(8)])
    expected = Estimator(lively_model(config), Compute(CPU, "fp32", ""))(squares)
    found = Estimator(lively_model(config), Compute(GPU, precision, ""))(squares)
    apart = np.abs(found - expected).max()
    print(f"{precision}, TF32 {tf32}: keypoints at most {apart:.1e} (normalised) from the CPU's")
    assert apart < limit


def training(config: Config, device: torch.device, precision: str = "fp32"):
    """Images, model and step, as `ppl train` makes them."""
    compute, size = Compute(device, precision, ""), config.model.image_size
    images = open_listing(list_part(config.data, "train", config.seed, size), config.data, size)
    model = prepare_model(config, compute).train()
    return images, model, prepare_step(model, reconstruction_loss(config.loss), config, compute, ALONE)


def gradients_of_a_step(device: torch.device, compiled: bool, precision: str = "fp32") -> tuple[dict[str, float], torch.Tensor]:
    """Losses by name, and all gradients in a row. The batch is made on the CPU, so that chance is the same everywhere."""
    loss = {"equivariance": 0.0, "separation": 0.3, "links": 1.0}
    config = config_of(model={"image_size": 64, "width": 8}, loss=loss, train={"batch": 16, "compile": compiled})
    images, model, learn = training(config, device, precision)
    (part,) = split_batch(16, 1)
    batch = Batch(*(tensor.to(device) for tensor in make_batch(images, 0, config, CPU, part=part)))
    chance = Chance(*(None if tensor is None else tensor.to(device) for tensor in draw_chance(config, 0, part, CPU)))
    outcome = take_step(learn, batch, chance)
    gradients = [parameter.grad.double().cpu().flatten() for parameter in model.parameters() if parameter.grad is not None]
    return {name: loss.item() for name, loss in outcome.losses.items()}, torch.cat(gradients)


@pytest.mark.parametrize(
    ("compiled", "precision", "limits"),
    [(False, "fp32", (1e-3, 1e-2)), (True, "fp32", (1e-3, 1e-2)), (True, "bf16", (0.05, 0.5))],
)
def test_a_step_is_that_of_the_cpu(compiled, precision, limits):
    expected, gradients = gradients_of_a_step(CPU, False)
    found, ours = gradients_of_a_step(GPU, compiled, precision)
    print(f"compiled {compiled}, {precision}: gradients {distance(ours, gradients):.1e} from the CPU's")
    assert found == {name: pytest.approx(loss, rel=limits[0], abs=limits[0]) for name, loss in expected.items()}
    assert distance(ours, gradients) < limits[1]


@pytest.mark.parametrize(("replayed", "compiled"), [(False, False), (True, False), (True, True)])
def test_steps_neither_wait_for_the_device_nor_compile_again(replayed, compiled):
    """With `torch.cuda.set_sync_debug_mode("error")` every wait raises. Compiling takes a minute: once is enough."""
    config = config_of(
        model={"encoder": "fine"},
        loss={"equivariance": 1.0, "bend": 0.5, "relevance": 0.2, "turn_from": 2},  # and looks are turned
        train={
            "compile": compiled,
            "ema": 0.9,
            "warp": 0.4,
            "jitter": 0.03,
            "light": True,
            "ghosts": 0.4,
            "rotate": True,
            "cover": 0.5,
            "batch": 8,
        },
    )
    images, model, learn = training(config, GPU, "bf16")
    images.move_cache(GPU)
    optimiser, average = make_optimiser(model, config), Average(model, config.train.ema)
    take = ReplayedStep(learn, pytest.fail) if replayed else partial(take_step, learn)
    (part,) = split_batch(8, 1)
    counters.clear()
    graphs = []
    try:
        for step in range(8):
            if step == 4:  # by now everything is compiled, and recorded
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("error")
            outcome = take(make_batch(images, step, config, GPU, part=part), draw_chance(config, step, part, GPU))
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            model.memory.update(outcome.tokens, outcome.indices, config.memory.revive)
            average.update(step + 1)
            graphs.append(counters["stats"]["unique_graphs"])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    print(f"{graphs[-1]} graphs, broken by {dict(counters['graph_break'])}")
    assert (graphs[2] >= 3) == compiled, "nothing was compiled, or what should not be"
    assert graphs[-1] == graphs[2], "compiled again"
    assert not counters["graph_break"]


def test_a_replayed_step_is_the_step():
    config = config_of(
        train={"compile": False, "warp": 0.4, "jitter": 0.03, "light": True, "ghosts": 0.4, "cover": 0.5, "batch": 8},
        loss={"equivariance": 5.0, "bend": 0.5, "relevance": 0.2},
    )
    images, model, learn = training(config, GPU)
    (part,) = split_batch(8, 1)
    take, losses = ReplayedStep(learn, pytest.fail), []
    for step in range(6):
        batch, chance = make_batch(images, step, config, GPU, part=part), draw_chance(config, step, part, GPU)
        model.zero_grad()
        expected = take_step(learn, batch, chance)
        wanted = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
        model.zero_grad()
        found = take(batch, chance)
        losses.append(found.losses["reconstruction"])
        assert distance(torch.stack(list(found.losses.values())), torch.stack(list(expected.losses.values()))) < 1e-4
        gradients = [(parameter.grad, wanted[name]) for name, parameter in model.named_parameters() if name in wanted]
        assert distance(*(torch.cat([pair[k].flatten() for pair in gradients]) for k in (0, 1))) < 1e-3
    assert take.graph is not None
    assert len({loss.item() for loss in losses}) == 6, "a replay wrote over an earlier outcome"


def ppl(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments), *([] if "--device" in arguments else ["--device", GPU.type])])
    return end.value.code or 0


def write(folder, config: Config) -> str:
    (folder / "tiny.yaml").write_text(to_yaml(config, {}))
    return str(folder / "tiny.yaml")


def test_trains_saves_and_resumes(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(24):
        Image.fromarray(figure(number, 48)[0]).save(tmp_path / "images" / f"{number}.png")
    data = {"kind": "folder", "path": str(tmp_path / "images")}  # a run on drawn figures would need PyAV
    source = write(tmp_path, config_of(data=data, train={"ema": 0.9, "compile": False}))
    assert ppl("train", source, "--out", tmp_path / "run") == 0
    assert ppl("train", source, "--out", tmp_path / "run", "--resume", "--set", "train.steps=9") == 0
    loaded = load_model(tmp_path / "run")
    assert loaded.step == 9
    assert all(parameter.isfinite().all() for parameter in loaded.model.parameters())


def test_too_large_a_batch_ends_in_advice(tmp_path, capsys):
    large = config_of(model={"image_size": 128, "width": 32}, train={"compile": False, "batch": 64}, data={"figures": 64})
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2**30 / torch.cuda.mem_get_info()[1])  # 1 GiB
    try:
        assert ppl("train", write(tmp_path, large), "--out", tmp_path / "run") == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "--set train.batch=32" in capsys.readouterr().err


def test_infer_finds_what_the_cpu_finds_every_time(tmp_path):
    config = config_of(model={"image_size": 128, "width": 32, "keypoints": 16})
    save_model(tmp_path / "model.safetensors", lively_model(config), config, 0)
    (tmp_path / "images").mkdir()
    for number in range(400):
        Image.fromarray(figure(number % 50, 256)[0]).save(tmp_path / "images" / f"{number:03}.jpg", quality=95)
    whole = (tmp_path / "images" / "000.jpg").read_bytes()
    (tmp_path / "images" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    found = {}
    for name, device in (("cpu", "cpu"), ("one", GPU.type), ("two", GPU.type)):
        infer = ("infer", tmp_path / "model.safetensors", tmp_path / "images", "--out", tmp_path / name)
        assert ppl(*infer, "--format", "npz", "--precision", "fp32", "--device", device) == 0
        found[name] = np.load(tmp_path / name / "keypoints.npz")["keypoints_px"]
    assert np.isnan(found["cpu"]).tolist() == np.isnan(found["one"]).tolist(), "the cut file"
    read = ~np.isnan(found["cpu"]).any((1, 2))
    apart = np.abs(found["one"] - found["cpu"])[read].max((1, 2))
    print(f"pixels from the CPU: median {np.median(apart):.1e}, largest {apart.max():.1e}")
    assert np.nanmax(np.abs(found["one"] - found["two"])) < 0.05, "differs from run to run"
    assert apart.max() < 3


def test_occlusions_are_learned_there_and_found_as_on_the_cpu():
    config = config_of(train={"uncover": 30})
    images = open_listing(list_part(config.data, "train", config.seed, 32), config.data, 32)
    images.move_cache(GPU)
    finder = learn_to_uncover(images, config, GPU)
    covered = cover(images, range(len(images)), 0, config, GPU).images
    with torch.no_grad():
        there, here = finder(covered), finder.to(CPU)(covered.to(CPU))
    assert there.isfinite().all()
    assert distance(there, here) < 1e-4
