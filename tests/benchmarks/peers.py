"""`ppl infer` against public peers, on the same folder and machine: images in, keypoints out.

    python -m tests.benchmarks.peers [--images 300] [--pairs 5]

Ultralytics' smallest pose network, built from its description with random weights (`pip install ultralytics`), is given squares
of the same side. Each decodes the files in its own way. CPU seconds of all threads are compared, since they are the same
beside other work, and seconds on the clock, which tell how well the cores are used.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PEER, BATCH = "yolo11n-pose", 32


def make_peer(size: int, folder: Path) -> Callable[[], int]:
    """Finds keypoints in all images of the folder, and counts the images."""
    from ultralytics import YOLO

    model = YOLO(f"{PEER}.yaml", verbose=False)
    options = {"imgsz": size, "batch": BATCH, "device": "cpu", "stream": True, "verbose": False, "save": False}
    return lambda: len([found.keypoints.xy.numpy() for found in model.predict(str(folder), **options)])


def make_ours(model: Path, folder: Path, out: Path) -> Callable[[], int]:
    from ppl_cli.api.predictor import Details, load
    from ppl_cli.runtime import Output, Runtime

    loaded = load(model, Runtime("cpu", "fp32"))
    return lambda: loaded.infer_files([folder], Output(out, ("csv",), overwrite=True), Details(BATCH)).poses


def clock(function: Callable[[], int], images: int) -> tuple[float, float]:
    """CPU seconds and seconds on the clock."""
    cpu, begun = time.process_time(), time.perf_counter()
    if (done := function()) != images:
        raise SystemExit(f"expected {images} images, got {done}")
    return time.process_time() - cpu, time.perf_counter() - begun


def compare(images: int, pairs: int, work: Path) -> str:
    import torch

    from tests.benchmarks.speed import make_files

    os.environ["YOLO_CONFIG_DIR"] = str(work)  # else it writes into the home folder
    files, threads = make_files(work, "folder_small", images), torch.get_num_threads()
    size = 64  # of folder_small
    peer = make_peer(size, files["folder"])
    torch.set_num_threads(threads)  # importing it changes them
    ours = make_ours(files["model"], files["folder"], work / "out")
    times = [(clock(peer, images), clock(ours, images)) for _ in range(pairs + 1)][1:]
    lines = ["| infer, 64 pixels, csv | peer | ours | ratio |", "|---|---|---|---|"]
    for what, kind in enumerate(("CPU time", "time")):
        theirs, own = (statistics.median(pair[who][what] for pair in times) / images * 1e3 for who in (0, 1))
        ratio = statistics.median(pair[0][what] / pair[1][what] for pair in times)
        lines.append(f"| {PEER}, {kind} an image | {theirs:.2f} ms | {own:.2f} ms | {ratio:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    if importlib.util.find_spec("ultralytics") is None:
        print(f"{PEER}: skipped, since ultralytics is not installed (pip install ultralytics)")
        return
    with tempfile.TemporaryDirectory() as work:
        print(compare(given.images, given.pairs, Path(work)))


if __name__ == "__main__":
    main()
