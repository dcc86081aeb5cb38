"""One table of how fast ppl is on this machine: skeleton map, training step, infer and refine, against the plain path.

    python -m tests.benchmarks.speed [--shared ../shared] [--quick]

Every number comes from a process of its own, ours and plain one after the other. The floor of a part is its arithmetic at the
speed of a large matrix product on the same machine (for `infer`: the slower of decoding alone and the network alone, on a CPU
each on half of its cores); the share says how near to it a part comes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from ppl_cli.checkpoints.model_file import load_model, save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.data.figures import figure
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.images import decode
from ppl_cli.data.listing import Listing
from ppl_cli.data.names import list_names
from ppl_cli.device import Compute, choose_compute
from ppl_cli.distributed import ALONE
from ppl_cli.inference.estimate import Estimator, decode_ahead, decode_square, half_of_the_cores
from ppl_cli.inference.refine import Options, refine
from ppl_cli.inference.run import run_inference
from ppl_cli.model.skeleton import plain_skeleton_map, skeleton_map
from ppl_cli.training.batches import make_batch, parts_of
from ppl_cli.training.prepare import make_optimiser, prepare_model, prepare_step
from ppl_cli.training.progress import peak_memory_gib
from ppl_cli.training.reconstruction import reconstruction_loss
from tests.benchmarks.plain import plain_path

SKELETON = {"batch": 8, "keypoints": 16, "size": 128, "thickness": 5e-4}
WEIGHTS = "weights/vgg19_conv4_4_normed.safetensors"


def timed(function: Callable[[], object], compute: Compute, repeats: int) -> float:
    """Median seconds, after a first call that does not count."""
    function()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        if compute.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def peak_flops(compute: Compute) -> float:
    """Operations a second of a large matrix product, the most that this machine gives convolutions."""
    kind = torch.bfloat16 if compute.precision == "bf16" else torch.float32
    size = 8192 if compute.device.type == "cuda" else 1536
    a = torch.randn(size, size, device=compute.device, dtype=kind)
    return 2 * size**3 / timed(lambda: a @ a, compute, 7)


def measure_skeleton(ours: bool, compute: Compute, **_) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    count = SKELETON["keypoints"]
    keypoints = (torch.rand(SKELETON["batch"], count, 2, generator=generator) * 2 - 1).to(compute.device).requires_grad_()
    weights = torch.rand(count, count, generator=generator).to(compute.device).requires_grad_()
    draw = skeleton_map if ours else plain_skeleton_map
    for _ in range(3):  # threads and libraries take their memory first
        skeleton_map(keypoints, weights, 64, SKELETON["thickness"]).sum().backward()
    before = peak_memory_gib(compute.device)
    pull = torch.randn(SKELETON["batch"], 1, SKELETON["size"], SKELETON["size"], generator=generator).to(compute.device)
    seconds = timed(lambda: draw(keypoints, weights, SKELETON["size"], SKELETON["thickness"]).backward(pull), compute, 7)
    peak = peak_memory_gib(compute.device) - before
    # Per pixel and link: two coordinates in the frame of the segment, two squares, a sum, a comparison; backward per pixel.
    pixels = SKELETON["batch"] * SKELETON["size"] ** 2
    operations = pixels * (10 * count * (count - 1) // 2 + 40)
    return {"seconds": seconds, "items": SKELETON["batch"], "floor": operations / peak_flops(compute), "gib": peak}


def measure_step(
    ours: bool, compute: Compute, config: str, folder: Path, shared: Path, steps: int, batch: int, more: tuple = (), **_
):
    """A whole training step, its batch included. The plain path decodes every image when it is asked for."""
    settings = {} if config == "quickstart" else {"loss__weights": str(shared / WEIGHTS)}
    chosen = load_config(config, (f"train.batch={batch}", *more), **settings)
    paths = [folder / name for name in list_names(folder)]
    listing = Listing([path.name for path in paths], lambda index: decode(paths[index]))
    images = ImageSet(listing, chosen.model.image_size, chosen.data.resize)
    model = prepare_model(chosen, compute, ALONE)
    optimiser = make_optimiser(model, chosen)
    learn = prepare_step(model, reconstruction_loss(chosen.loss), chosen, compute, ALONE)
    if ours:
        images.fill_cache()
        images.move_cache(compute.device)
    else:
        images.pool.map = lambda function, indices: map(function, indices)
    model.train()
    (part,) = parts_of(batch, 1)
    number = 0

    def step() -> None:
        nonlocal number
        outcome = learn(make_batch(images, number, chosen, compute.device, part=part), number, part)
        torch.stack(list(outcome.losses.values())).sum().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        model.memory.update(outcome.tokens, outcome.indices, chosen.memory.revive)
        number += 1

    seconds = timed(step, compute, steps)
    with FlopCounterMode(display=False) as counted:
        step()
    return {
        "seconds": seconds,
        "items": batch,
        "flops": counted.get_total_flops(),
        "parts": parts_in_gflop(model, learn, chosen, compute),
        "floor": counted.get_total_flops() / peak_flops(compute),
        "gib": peak_memory_gib(compute.device),
    }


def parts_in_gflop(model, learn, config: Config, compute: Compute) -> dict[str, float]:
    """Forward operations of each part for one image, in GFLOP."""
    size, n = config.model.image_size, config.model.keypoints
    image = torch.zeros(2, 3, size, size, device=compute.device)
    points, skeleton = torch.zeros(2, n, 2, device=compute.device), torch.zeros(2, 1, size, size, device=compute.device)
    parts = {
        "encoder": lambda: model.estimate(image),
        "decoder": lambda: model.reconstruct(image, skeleton),
        "memory": lambda: model.recall(points),
        "loss, both images": lambda: learn.reconstruction_loss(image, image),
    }
    found = {}
    for name, part in parts.items():
        with torch.no_grad(), FlopCounterMode(display=False) as counted:
            part()
        found[name] = counted.get_total_flops() / 2 / 1e9
    return found | {"skeleton": size**2 * 10 * n * (n - 1) / 2 / 1e9}


def measure_infer(ours: bool, compute: Compute, model: Path, folder: Path, batch: int, **_) -> dict[str, float]:
    """`ppl infer` on a folder, from loading the model to the last file written.

    Its floor is the slower of decoding alone and the network alone, on a CPU each on its half of the cores.
    """
    checkpoint = load_model(model)
    estimator, paths = Estimator(checkpoint.model, compute), [folder / name for name in list_names(folder)]
    size, wanted = checkpoint.config.model.image_size, range(len(paths))

    def whole() -> None:
        everything = (["csv", "coco", "npz"], False, batch, True, False, "auto", compute.precision)
        run_inference(str(model), [folder], model.parent / "poses", *everything, lambda line: None)

    def decoding() -> None:
        for _ in decode_ahead(
            lambda index: decode_square(lambda at: decode(paths[at]), index, size, "letterbox"), wanted, batch
        ):
            pass

    squares = np.full((batch, size, size, 3), 128, np.uint8)

    def network() -> None:
        for _ in range(0, len(paths), batch):
            estimator(squares)

    with half_of_the_cores():
        floor = max(timed(decoding, compute, 3), timed(network, compute, 3)) if ours else float("nan")
    return {"seconds": timed(whole, compute, 3), "items": len(paths), "floor": floor, "gib": peak_memory_gib(compute.device)}


def measure_refine(ours: bool, compute: Compute, model: Path, batch: int, **_) -> dict[str, float]:
    """A batch with a fifth hidden, four iterations."""
    checkpoint = load_model(model)
    estimator, size = Estimator(checkpoint.model, compute), checkpoint.config.model.image_size
    images = torch.rand(batch, 3, size, size, device=compute.device) * 2 - 1
    visible = (torch.rand(batch, 1, 8, 8, device=compute.device) > 0.2).float()
    visible = torch.nn.functional.interpolate(visible, size=size)
    seconds = timed(lambda: refine(estimator, images, visible, Options(4)), compute, 5)
    with FlopCounterMode(display=False) as counted:
        refine(estimator, images, visible, Options(4))
    floor = counted.get_total_flops() / peak_flops(compute)
    return {"seconds": seconds, "items": batch, "floor": floor, "gib": peak_memory_gib(compute.device)}


MEASURES = {"skeleton": measure_skeleton, "step": measure_step, "infer": measure_infer, "refine": measure_refine}


def in_a_process(what: str, ours: bool, **settings) -> dict[str, float]:
    text = json.dumps(
        {"what": what, "ours": ours, **{name: str(v) if isinstance(v, Path) else v for name, v in settings.items()}}
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.speed", "--one", text], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def one(text: str) -> None:
    settings = json.loads(text)
    what, ours = settings.pop("what"), settings.pop("ours")
    settings = {name: Path(v) if name in ("model", "folder", "shared") else v for name, v in settings.items()}
    compute = choose_compute("auto", "auto" if ours else "fp32")
    with nullcontext() if ours else plain_path():
        found = MEASURES[what](ours, compute, **settings)
    print(json.dumps(found))


def latency(model: Path, image: Path, out: Path) -> float:
    command = [sys.executable, "-m", "ppl_cli", "infer", str(model), str(image), "--out", str(out), "--overwrite"]
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with weights/ of VGG19")
    parser.add_argument("--quick", action="store_true", help="without the step of the paper's size")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one)
        return
    compute = choose_compute()
    gpu = compute.device.type == "cuda"
    name = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}, torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "images").mkdir()
        for number in range(1500):
            Image.fromarray(figure(number, 256)[0]).save(work / "images" / f"{number}.jpg", quality=90)
        config = load_config("folder_small")
        save_model(work / "model.safetensors", build_model(config), config, 0)
        files = {"model": work / "model.safetensors", "folder": work / "images", "shared": given.shared}
        batch = 64 if gpu else 8
        rows = [("skeleton map, forward + backward", "skeleton", {})]
        rows.append(("training step, quickstart", "step", files | {"config": "quickstart", "steps": 12, "batch": 16}))
        if (given.shared / WEIGHTS).is_file():
            rows.append(("training step, folder_small", "step", files | {"config": "folder_small", "steps": 12, "batch": 8}))
            if not given.quick:
                rows.append(
                    ("training step, folder", "step", files | {"config": "folder", "steps": 12 if gpu else 2, "batch": batch})
                )
        wide = {"config": "quickstart", "steps": 5, "batch": 8, "more": ["model.image_size=128", "model.keypoints=16"]}
        rows.append(("training step, quickstart at 128 pixels with 16 keypoints", "step", files | wide))
        rows.append(("infer", "infer", files | {"batch": 32}))
        rows.append(("refine, 4 iterations", "refine", files | {"batch": 32}))
        print("| what | plain | ours | ratio | images/s | share of floor | peak memory, plain and ours |")
        print("|---|---|---|---|---|---|---|")
        for title, what, settings in rows:
            plain, ours = (in_a_process(what, which, **settings) for which in (False, True))
            times = (
                f"{plain['seconds'] * 1e3:.0f} ms | {ours['seconds'] * 1e3:.1f} ms | {plain['seconds'] / ours['seconds']:.1f}"
            )
            memory = f"{plain['gib'] * 1024:.0f}, {ours['gib'] * 1024:.0f} MiB"
            speed, share = ours["items"] / ours["seconds"], ours["floor"] / ours["seconds"]
            print(f"| {title}, batch {settings.get('batch', 8)} | {times} | {speed:.0f} | {share:.0%} | {memory} |", flush=True)
            if "parts" in ours:
                parts = ", ".join(f"{part} {gflop:.3g}" for part, gflop in ours["parts"].items())
                print(f"<!-- forward GFLOP an image: {parts}; whole step {ours['flops'] / 1e9:.0f} GFLOP -->", flush=True)
        seconds = latency(files["model"], work / "images" / "0.jpg", work / "out")
        print(f"\n`ppl infer` on one file, start-up included: {seconds:.1f} s")


if __name__ == "__main__":
    main()
