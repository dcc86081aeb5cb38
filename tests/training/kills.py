"""Trainings that are killed: a server process with torch imported forks a child for each, which takes no start-up time.

Every child is a process of its own that runs `ppl train` as the command line does, and is killed with SIGKILL. It notes the
number of each step that it begins in a file, by single writes, which a kill cannot undo.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ppl_cli.files import is_leftover

SERVER = """
import os, sys, threading, torch
torch.set_num_threads(1)
from ppl_cli.cli.app import main
import ppl_cli.api.evaluate, ppl_cli.api.train
from ppl_cli.training import loop

make_batch = loop.make_batch

def noted(images, step, *arguments, **settings):
    if "part" not in settings:  # a picture's batch
        os.write(notes, b"%d\\n" % step)
    return make_batch(images, step, *arguments, **settings)

loop.make_batch = noted
# Pictures take most of the time, and decide nothing.
loop.draw_samples = loop.save_curves = lambda *arguments: None
torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much at its first use
assert threading.active_count() == 1
for line in sys.stdin:
    out, log, *arguments = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        notes = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        main(arguments)
    print(child, flush=True)
    sys.stdin.readline()  # until it is waited for, its number is not given to another process
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Server:
    """Starts children one after another."""

    def __init__(self, work: Path):
        self.work = work
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error) -> None:
        self.process.stdin.close()
        self.process.wait(60)

    def start(self, *arguments: object) -> int:
        """The child's process number."""
        line = "\t".join(map(str, (self.work / "steps", self.work / "log", *arguments)))
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """Its exit code, or minus the number of the signal that ended it."""
        self.process.stdin.write("wait\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def run(self, *arguments: object) -> int:
        self.start(*arguments)
        return self.wait()

    def begun(self) -> int:
        """How many steps were begun since the last call of `steps`."""
        file = self.work / "steps"
        return file.read_text().count("\n") if file.exists() else 0

    def steps(self) -> list[int]:
        """Steps begun since the last call, in order."""
        file = self.work / "steps"
        steps = [int(line) for line in file.read_text().split()] if file.exists() else []
        file.unlink(missing_ok=True)
        return steps

    @property
    def log(self) -> str:
        return (self.work / "log").read_text()


@dataclass
class Outcome:
    whole: Path  # a run that was left alone
    kills: int = 0
    inside_a_save: int = 0  # a temporary file was there
    before_the_first: int = 0  # there was no checkpoint yet
    runs: list[Path] = field(default_factory=list)  # that came to their end
    repeated: list[int] = field(default_factory=list)  # steps done again after each kill


def kill_trainings(config: Path, work: Path, kills: int, save_every: int, seed: int = 0) -> Outcome:
    """Train `config` again and again, killing it at `kills` random moments in all, until the last run is whole.

    AssertionError if a run cannot go on, or repeats more steps than those since its last save.
    """
    rng, outcome = random.Random(seed), Outcome(work / "whole")
    with Server(work) as server:
        begun = time.monotonic()
        assert server.run("train", config, "--out", outcome.whole, "--device", "cpu") == 0, server.log
        lasting = time.monotonic() - begun
        server.steps()
        while outcome.kills < kills:
            run = work / f"run-{len(outcome.runs)}"
            last = None  # the last step begun before a kill
            resume: tuple[str, ...] = ()
            while True:
                child = server.start("train", config, "--out", run, "--device", "cpu", *resume)
                if outcome.kills < kills:
                    wait_for_a_moment(server, run, rng, lasting, not resume)
                    os.kill(child, signal.SIGKILL)
                code, steps = server.wait(), server.steps()
                assert code in (0, -signal.SIGKILL), server.log
                if steps and last is not None:
                    repeated = last + 1 - steps[0]
                    assert 0 <= repeated <= save_every, (last, steps)
                    outcome.repeated.append(repeated)
                assert not steps or steps == list(range(steps[0], steps[-1] + 1))
                last = steps[-1] if steps else last
                if code == 0:
                    break
                outcome.kills += 1
                outcome.inside_a_save += run.exists() and any(map(is_leftover, os.listdir(run)))
                outcome.before_the_first += not (run / "training.pt").exists()
                # A kill can come before the folder is there; without it there is nothing to go on with.
                resume = ("--resume",) if run.exists() else ()
            outcome.runs.append(run)
    return outcome


def wait_for_a_moment(server: Server, run: Path, rng: random.Random, lasting: float, first: bool) -> None:
    """Wait for the moment of a kill: the first of a run before its first checkpoint, one in six of the others near the start,
    the rest some steps later, half of these inside a save."""
    deadline = time.monotonic() + lasting
    if first or rng.random() < 1 / 6:
        while not run.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, lasting / (150 if first else 30)))
        return
    steps, inside = rng.randint(1, 5), rng.random() < 1 / 2
    while server.begun() < steps and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, lasting / 60))
    while inside and time.monotonic() < deadline:
        if any(map(is_leftover, os.listdir(run))):
            time.sleep(rng.uniform(0, 0.004))
            return
        time.sleep(0.0005)
