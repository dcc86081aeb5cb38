"""`ppl infer` against public peers, on the same folder and machine: images in, keypoints out.

    python -m tests.benchmarks.peers [--images 300] [--pairs 5]

Each peer that is installed (`pip install ultralytics`, `pip install sleap-nn`) looks at squares of the same side with a network
of about the same arithmetic and random weights, and decodes the files in its own way. CPU seconds of all threads are compared,
since they are the same beside other work, and seconds on the clock, which tell how well the cores are used.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BATCH, SIZE, KEYPOINTS = 32, 64, 12  # the last two are folder_small's
Find = Callable[[], int]  # finds keypoints in all images of a folder, and counts the images


def make_ultralytics(folder: Path, work: Path) -> Find:
    """The smallest pose network, built from its description."""
    os.environ["YOLO_CONFIG_DIR"] = str(work)  # else it writes into the home folder
    from ultralytics import YOLO

    model = YOLO("yolo11n-pose.yaml", verbose=False)
    options = {"imgsz": SIZE, "batch": BATCH, "device": "cpu", "stream": True, "verbose": False, "save": False}
    return lambda: len([found.keypoints.xy.numpy() for found in model.predict(str(folder), **options)])


def make_sleap(folder: Path, work: Path) -> Find:
    """A U-Net for single animals: one step of training on an image with made-up labels makes the folder it predicts from."""
    import numpy as np
    import sleap_io
    from loguru import logger

    logger.disable("sleap_nn")
    from sleap_nn import load_models
    from sleap_nn.train import train

    paths = sorted(map(str, folder.iterdir()))
    skeleton = sleap_io.Skeleton([str(number) for number in range(KEYPOINTS)])
    points = np.random.default_rng(0).uniform(0, 256, (KEYPOINTS, 2))
    frame = sleap_io.LabeledFrame(sleap_io.load_video(paths[:1]), 0, [sleap_io.Instance.from_numpy(points, skeleton=skeleton)])
    sleap_io.Labels([frame]).save(str(work / "labels.slp"))
    stride = {"output_stride": 4}
    train(
        [str(work / "labels.slp")],
        use_same_data_for_val=True,
        ensure_rgb=True,
        max_height=SIZE,
        max_width=SIZE,
        backbone_config={"unet": {"in_channels": 3, "filters": 16} | stride},
        head_configs={"single_instance": {"confmaps": {"part_names": None, "sigma": 2.5} | stride}},
        max_epochs=1,
        min_train_steps_per_epoch=1,
        trainer_accelerator="cpu",
        enable_progress_bar=False,
        save_ckpt=True,
        ckpt_dir=str(work),
        run_name="sleap",
    )
    everything = -1e9  # confidence above which a point is kept, so that random weights keep all
    model = load_models([str(work / "sleap")], device="cpu", batch_size=BATCH, peak_threshold=everything)
    return lambda: len(model.predict(sleap_io.load_video(paths)).numpy())


def make_ours(model: Path, folder: Path, work: Path) -> Find:
    from ppl_cli.api.details import Details
    from ppl_cli.api.predictor import load
    from ppl_cli.runtime import Output, Runtime

    loaded, output = load(model, Runtime("cpu", "fp32")), Output(work / "out", ("csv",), overwrite=True)
    return lambda: loaded.infer_files([folder], output, Details(BATCH)).poses


PEERS = {  # package: its network, of 76 and 92 MFLOP an image (ours: 74), and how to make it
    "ultralytics": ("yolo11n-pose", make_ultralytics),
    "sleap-nn": ("U-Net of 16 filters, output stride 4", make_sleap),
}


def clock(find: Find, images: int) -> tuple[float, float]:
    """CPU seconds and seconds on the clock."""
    cpu, begun = time.process_time(), time.perf_counter()
    if (done := find()) != images:
        raise SystemExit(f"expected {images} images, got {done}")
    return time.process_time() - cpu, time.perf_counter() - begun


def compare(name: str, peer: Find, ours: Find, images: int, pairs: int) -> None:
    """Prints a row of the table for each kind of time."""
    times = [(clock(peer, images), clock(ours, images)) for _ in range(pairs + 1)][1:]
    for what, kind in enumerate(("CPU time", "time")):
        theirs, own = (statistics.median(pair[who][what] for pair in times) / images * 1e3 for who in (0, 1))
        ratio = statistics.median(pair[0][what] / pair[1][what] for pair in times)
        print(f"| {name}, {kind} an image | {theirs:.2f} ms | {own:.2f} ms | {ratio:.1f} |", flush=True)


def compare_with(releases: dict[str, str], images: int, pairs: int, work: Path) -> None:
    """Prints the table. `releases`: the installed version of each package."""
    import torch

    from tests.benchmarks.speed import make_files

    files, threads = make_files(work, "folder_small", images), torch.get_num_threads()
    ours = make_ours(files["model"], files["folder"], work)
    print(f"| infer, {SIZE} pixels, csv | peer | ours | ratio |\n|---|---|---|---|")
    for package, release in releases.items():
        network, make = PEERS[package]
        with redirect_stdout(sys.stderr):  # what it says on the way is no part of the table
            peer = make(files["folder"], work)
            peer()
        torch.set_num_threads(threads)  # the import or the first run changes them
        compare(f"{package} {release}, {network}", peer, ours, images, pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    releases = {}
    for package in PEERS:
        try:
            releases[package] = version(package)
        except PackageNotFoundError:
            print(f"{package}: skipped, since it is not installed (pip install {package})")
    if releases:
        with tempfile.TemporaryDirectory() as work:
            compare_with(releases, given.images, given.pairs, Path(work))


if __name__ == "__main__":
    main()
