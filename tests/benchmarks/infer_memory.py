"""Peak memory and speed of `ppl infer` from few to many images.

python -m tests.benchmarks.infer_memory RUN [100 1000 10000]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from ppl_cli.data.figures import figure

CHILD = """
import resource, sys
from ppl_cli.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""


def measure(run: str, images: Path, count: int) -> tuple[float, float]:
    """(seconds, peak MiB) of one `ppl infer` over `count` images."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "in"
        folder.mkdir()
        files = sorted(images.iterdir())
        for k in range(count):
            (folder / f"{k:06d}.jpg").hardlink_to(files[k % len(files)])
        begun = time.perf_counter()
        command = [sys.executable, "-c", CHILD, "infer", run, str(folder), "--out", str(Path(work) / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak = float(done.stderr.split("peak")[-1])
        return time.perf_counter() - begun, peak


if __name__ == "__main__":
    run, *counts = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        for k in range(100):
            Image.fromarray(figure(k, 256)[0]).save(Path(work) / f"{k}.jpg", quality=92)
        for count in map(int, counts or ["100", "1000", "10000"]):
            seconds, peak = measure(run, Path(work), count)
            print(f"{count:6d} images  {seconds:7.1f} s  {count / seconds:7.1f} images/s  peak {peak:7.0f} MiB", flush=True)
