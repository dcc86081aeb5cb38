"""Images a second of training in several processes of one thread each, against one such process.

    python -m tests.benchmarks.processes [--config quickstart] [--processes 2] [--steps 100] [--pairs 3]

Every process takes a batch of its own, so two on two cores do at best twice as many images a second. Other options, such as
--data, go to `ppl train`.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = 10  # of metrics.csv; the first is left out


def images_per_second(config: str, processes: int, steps: int, more: list[str]) -> float:
    """The median row of metrics.csv. `more`: arguments of `ppl train`."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    every = {"steps": steps, "log_every": max(1, steps // ROWS), "save_every": steps, "sample_every": steps}
    with tempfile.TemporaryDirectory() as work:
        settings = [part for name, value in every.items() for part in ("--set", f"train.{name}={value}")]
        command = [*start, "-m", "ppl_cli", "train", config, "--out", f"{work}/run", "--device", "cpu", *settings, *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        with Path(work, "run", "metrics.csv").open() as file:
            return statistics.median(float(row["images_per_second"]) for row in list(csv.DictReader(file))[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    given, more = parser.parse_known_args()
    ratios = []
    for _ in range(given.pairs):
        one, several = (images_per_second(given.config, count, given.steps, more) for count in (1, given.processes))
        ratios.append(several / one)
        print(f"1 process {one:.1f} images/s, {given.processes} processes {several:.1f}: {several / one:.2f} x", flush=True)
    print(f"{given.config}, median of {given.pairs} pairs: {statistics.median(ratios):.2f} x")


if __name__ == "__main__":
    main()
