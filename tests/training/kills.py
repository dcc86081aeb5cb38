"""Trainings that are killed with SIGKILL: each is a process of its own that runs `ppl train` (tests/forks.py).

It notes the number of each step that it begins in a file, by single writes, which a kill cannot undo. Files that are
written take their place a little later than elsewhere: on a fast disk no kill would fall inside a save.
"""

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from ppl_cli.files import is_leftover
from tests.forks import NO_PICTURES, Fork, Forks

NOTE_STEPS = """
import os
import time

notes, make_batch = os.open({file!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), loop.make_batch
replace = os.replace

def noted(images, step, *arguments, **settings):
    if "part" not in settings:  # a picture's batch
        os.write(notes, b"%d\\n" % step)
    return make_batch(images, step, *arguments, **settings)

def late(source, target):
    time.sleep(0.015)
    replace(source, target)

loop.make_batch, os.replace = noted, late
"""


class Trainings:
    """Trainings one after another, and what they noted."""

    def __init__(self, forks: Forks, notes: Path):
        self.forks, self.notes = forks, notes

    def start(self, *arguments: object) -> Fork:
        code = NO_PICTURES + NOTE_STEPS.format(file=str(self.notes))
        return self.forks.start("train", *arguments, "--device", "cpu", prepare=code)

    def begun(self) -> int:
        """How many steps were begun since the last call of `steps`."""
        return self.notes.read_text().count("\n") if self.notes.exists() else 0

    def steps(self) -> list[int]:
        """Steps begun since the last call, in order."""
        steps = [int(line) for line in self.notes.read_text().split()] if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return steps


@dataclass
class Outcome:
    whole: Path  # a run that was left alone
    kills: int = 0
    inside_a_save: int = 0  # a temporary file was there
    before_the_first: int = 0  # there was no checkpoint yet
    runs: list[Path] = field(default_factory=list)  # that came to their end
    repeated: list[int] = field(default_factory=list)  # steps done again after each kill


def kill_trainings(forks: Forks, config: Path, work: Path, kills: int, save_every: int) -> Outcome:
    """Train `config` again and again, killing it at `kills` random moments in all, until the last run is whole.

    AssertionError if a run cannot go on, or repeats more steps than those since its last save.
    """
    rng, outcome, trainings = random.Random(0), Outcome(work / "whole"), Trainings(forks, work / "steps")
    begun = time.monotonic()
    whole = trainings.start(config, "--out", outcome.whole)
    assert whole.wait() == 0, whole.error
    lasting = time.monotonic() - begun
    trainings.steps()
    while outcome.kills < kills:
        run = work / f"run-{len(outcome.runs)}"
        last = None  # the last step begun before a kill
        resume: tuple[str, ...] = ()
        while True:
            training = trainings.start(config, "--out", run, *resume)
            if outcome.kills < kills:
                wait_for_a_moment(trainings, run, rng, lasting, not resume)
                training.send()
            code, steps = training.wait(), trainings.steps()
            assert code in (0, -signal.SIGKILL), training.error
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


def wait_for_a_moment(trainings: Trainings, run: Path, rng: random.Random, lasting: float, first: bool) -> None:
    """Wait for the moment of a kill: the first of a run before its first checkpoint, one in six of the others near the start,
    the rest some steps later, half of these inside a save."""
    deadline = time.monotonic() + lasting
    if first or rng.random() < 1 / 6:
        while not run.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, lasting / (150 if first else 30)))
        return
    steps, inside = rng.randint(1, 5), rng.random() < 1 / 2
    while trainings.begun() < steps and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, lasting / 60))
    while inside and time.monotonic() < deadline:
        if any(map(is_leftover, os.listdir(run))):
            time.sleep(0.004 * rng.random() ** 3)  # mostly at once: a small file takes little more
            return
        time.sleep(0.0005)
