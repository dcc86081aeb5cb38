"""Memory and open files of a running program, from outside (Linux)."""

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Sample:
    seconds: float
    rss: float  # MiB
    files: int  # open file handles
    threads: int


def sample(process: int, begun: float) -> Sample | None:
    """None once the process has ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        files = len(os.listdir(f"/proc/{process}/fd"))
        return Sample(time.monotonic() - begun, int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"]))
    except (OSError, KeyError):
        return None


def watch(command: list[str], every: float, seconds: float | None = None) -> list[Sample]:
    """Run `command`, at most `seconds` long, and sample it every so many seconds. RuntimeError if it fails."""
    begun, samples = time.monotonic(), []
    with tempfile.TemporaryFile("w+") as said:  # a pipe that nobody reads would fill and stop the program
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            time.sleep(every)
            taken = sample(process.pid, begun)
            samples += [taken] if taken else []
            if seconds is not None and time.monotonic() - begun > seconds:
                process.send_signal(signal.SIGTERM)
                break
        if process.wait() not in (0, 130):
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said.read()[-500:]}")
    return samples


def slope(samples: list[Sample], skip: float = 0.2) -> float:
    """MiB an hour that memory grows by, a line fitted to all but the first share of the samples."""
    kept = samples[int(skip * len(samples)) :]
    return float(np.polyfit([s.seconds / 3600 for s in kept], [s.rss for s in kept], 1)[0])


def report(samples: list[Sample], rows: int = 12) -> None:
    for at in sorted({round(k) for k in np.linspace(0, len(samples) - 1, min(rows, len(samples)))}):
        s = samples[at]
        print(f"{s.seconds:8.0f} s  {s.rss:7.1f} MiB  {s.files:4d} open files  {s.threads:3d} threads")
    print(f"highest {max(s.rss for s in samples):.1f} MiB, slope {slope(samples):+.1f} MiB an hour", flush=True)
