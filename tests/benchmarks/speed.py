"""Tables of how fast ppl is on this machine: skeleton map, training step, infer and refine, against the plain path; infer
against public peers (peers.py).

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
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from ppl_cli.api.details import Details
from ppl_cli.api.predictor import load
from ppl_cli.checkpoints.model_file import load_model, save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.loading import load_config
from ppl_cli.data.figures import figure
from ppl_cli.data.images import decode_to_fit
from ppl_cli.data.names import list_names
from ppl_cli.device import Compute, choose_compute
from ppl_cli.inference.estimate import Estimator, Opened, decode_ahead, decode_square, half_of_the_cores
from ppl_cli.inference.refine import Options, refine
from ppl_cli.model import blocks
from ppl_cli.model.skeleton import plain_skeleton_map, skeleton_map
from ppl_cli.runtime import Output, Runtime
from ppl_cli.training.progress import peak_memory_gib
from tests.benchmarks.plain import as_written, plain_path
from tests.benchmarks.step import WEIGHTS, measure_step, profile_step
from tests.benchmarks.timing import peak_flops, timed

SKELETON = {"keypoints": 16, "size": 128, "thickness": 5e-4}


def measure_skeleton(ours: bool, compute: Compute, batch: int = 8, **_) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    count = SKELETON["keypoints"]
    keypoints = (torch.rand(batch, count, 2, generator=generator) * 2 - 1).to(compute.device).requires_grad_()
    weights = torch.rand(count, count, generator=generator).to(compute.device).requires_grad_()
    draw = skeleton_map if ours else plain_skeleton_map
    for _ in range(3):  # threads and libraries take their memory first
        skeleton_map(keypoints, weights, 64, SKELETON["thickness"]).sum().backward()
    before = peak_memory_gib(compute.device)
    pull = torch.randn(batch, 1, SKELETON["size"], SKELETON["size"], generator=generator).to(compute.device)
    seconds = timed(lambda: draw(keypoints, weights, SKELETON["size"], SKELETON["thickness"]).backward(pull), compute, 7)
    peak = peak_memory_gib(compute.device) - before
    # Per pixel and link: two coordinates in the frame of the segment, two squares, a sum, a comparison; backward per pixel.
    pixels = batch * SKELETON["size"] ** 2
    operations = pixels * (10 * count * (count - 1) // 2 + 40)
    return {"seconds": seconds, "items": batch, "floor": operations / peak_flops(compute), "gib": peak}


def measure_doubling(ours: bool, compute: Compute, batch: int = 64, **_) -> dict[str, float]:
    """The last block of the paper's decoder up to its first norm, forward and backward: doubled, then convolved."""
    conv = compute.place(blocks.conv_to_norm(256, 64))
    x = torch.randn(batch, 256, 64, 64, device=compute.device).to(memory_format=torch.channels_last).requires_grad_()

    def both() -> None:
        with compute.autocast():
            blocks.convolve_doubled(conv, x).float().square().mean().backward()

    before = peak_memory_gib(compute.device)
    seconds = timed(both, compute, 7)
    with as_written(), FlopCounterMode(display=False) as counted:
        both()
    floor = counted.get_total_flops() / peak_flops(compute)
    return {"seconds": seconds, "items": batch, "floor": floor, "gib": peak_memory_gib(compute.device) - before}


def measure_infer(
    ours: bool, compute: Compute, model: Path, folder: Path, batch: int, formats: list[str], **_
) -> dict[str, float]:
    """`ppl infer` on a folder, from loading the model to the last file written.

    Its floor is the slower of decoding alone and the network alone, on a CPU each on its half of the cores.
    """
    checkpoint = load_model(model)
    estimator, paths = Estimator(checkpoint.model, compute), [folder / name for name in list_names(folder)]
    size, wanted = checkpoint.config.model.image_size, range(len(paths))

    def whole() -> None:
        output = Output(model.parent / "poses", tuple(formats), overwrite=True)
        load(model, Runtime("auto", compute.precision)).infer_files([folder], output, Details(batch))

    def decoding() -> None:
        for _ in decode_ahead(
            lambda index: decode_square(lambda fit: Opened(*decode_to_fit(paths[index], None, fit)), size, "letterbox"),
            wanted,
            batch,
        ):
            pass

    squares = np.full((batch, size, size, 3), 128, np.uint8)

    def network() -> None:
        for _ in range(0, len(paths), batch):
            estimator.look(estimator.to_images(squares))

    with half_of_the_cores():
        floor = max(timed(decoding, compute, 3, first=1), timed(network, compute, 3, first=1)) if ours else float("nan")
    return {
        "seconds": timed(whole, compute, 3, first=1),
        "items": len(paths),
        "floor": floor,
        "gib": peak_memory_gib(compute.device),
    }


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


MEASURES = {
    "skeleton": measure_skeleton,
    "doubling": measure_doubling,
    "step": measure_step,
    "profile": profile_step,
    "infer": measure_infer,
    "refine": measure_refine,
}


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
    settings = {name: Path(v) if name in ("model", "folder", "shared", "out") else v for name, v in settings.items()}
    compute = choose_compute("auto", "auto" if ours else "fp32")
    with nullcontext() if ours else plain_path():
        found = MEASURES[what](ours, compute, **settings)
    print(json.dumps(found))


def make_files(work: Path, name: str, count: int = 1500) -> dict[str, Path]:
    """Drawn figures as JPEG files of 256 pixels (from 500 on again the same), and an untrained model of a configuration."""
    (work / "images").mkdir(parents=True)
    files = [work / "images" / f"{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        if number < 500:
            Image.fromarray(figure(number, 256)[0]).save(file, quality=90)
        else:
            file.hardlink_to(files[number % 500])
    config = load_config(name)
    save_model(work / "model.safetensors", build_model(config), config, 0)
    return {"model": work / "model.safetensors", "folder": work / "images"}


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
    parser.add_argument("--one", help=argparse.SUPPRESS)  # JSON: what to measure
    parser.add_argument("--make", nargs=2, metavar=("FOLDER", "IMAGES"), help="only make images and the paper's model")
    given = parser.parse_args()
    if given.make:
        make_files(Path(given.make[0]), "folder", int(given.make[1]))
        return
    if given.one:
        one(given.one)
        return
    compute = choose_compute()
    gpu = compute.device.type == "cuda"
    name = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}, torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        files = make_files(work, "folder_small") | {"shared": given.shared}
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
        rows.append(("infer, csv", "infer", files | {"batch": 32, "formats": ["csv"]}))
        rows.append(("infer, all formats", "infer", files | {"batch": 32, "formats": ["csv", "coco", "npz"]}))
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
        print(f"\n`ppl infer` on one file, start-up included: {seconds:.1f} s\n", flush=True)
        subprocess.run([sys.executable, "-m", "tests.benchmarks.peers"], check=True)


if __name__ == "__main__":
    main()
