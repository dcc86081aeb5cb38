"""Memory and open files of a long `ppl train`: both must stay flat.

python -m tests.benchmarks.long_run MINUTES OUT CONFIG [options of ppl train]
"""

import sys

from tests.benchmarks.watch import report, watch

if __name__ == "__main__":
    minutes, out, *arguments = sys.argv[1:]
    command = [sys.executable, "-m", "ppl_cli", "train", *arguments, "--out", out, "--set", "train.steps=100000000"]
    report(watch(command, 30, 60 * float(minutes)), rows=30)
