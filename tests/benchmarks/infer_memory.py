"""Memory, open files and speed of `ppl infer` from few to many images.

python -m tests.benchmarks.infer_memory RUN [100 1000 10000] [--size 256]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from ppl_cli.data.figures import figure
from tests.benchmarks.watch import report, watch

CHILD = """
import resource, sys
from ppl_cli.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""
MANY = 20_000  # from here on memory is also shown over time


def measure(run: str, images: Path, count: int) -> None:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "in"
        folder.mkdir()
        files = sorted(images.iterdir())
        for k in range(count):
            (folder / f"{k:06d}.jpg").hardlink_to(files[k % len(files)])
        command = [sys.executable, "-c", CHILD, "infer", run, str(folder), "--out", str(Path(work) / "out")]
        begun = time.perf_counter()
        if count >= MANY:
            report(watch(command, 5))
            print(f"{count:6d} images  {time.perf_counter() - begun:7.1f} s", flush=True)
            return
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, peak = time.perf_counter() - begun, float(done.stderr.split("peak")[-1])
        print(f"{count:6d} images  {seconds:7.1f} s  {count / seconds:7.1f} images/s  peak {peak:7.0f} MiB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("counts", nargs="*", type=int, default=[100, 1000, 10000])
    parser.add_argument("--size", type=int, default=256, help="pixels of an image's side")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        for k in range(100):
            Image.fromarray(figure(k, asked.size)[0]).save(Path(work) / f"{k}.jpg", quality=92)
        for count in asked.counts:
            measure(asked.run, Path(work), count)
