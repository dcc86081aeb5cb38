"""Training, from a configuration to a run folder: one procedure, to be read from top to bottom.

The loop never waits for the device between logged steps: losses stay there until a row of metrics.csv is due.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.parallel import DistributedDataParallel

from ppl_cli.checkpoints.model_file import save_finder
from ppl_cli.checkpoints.training_state import load_training
from ppl_cli.config.sections import Config
from ppl_cli.data.image_set import ImageSet
from ppl_cli.device import Compute, is_out_of_memory
from ppl_cli.distributed import ALONE, World
from ppl_cli.drawing.curves import save_curves
from ppl_cli.errors import InterruptedRunError, PPLError, UsageError
from ppl_cli.evaluation.unlabelled import FILES as REPORT
from ppl_cli.heap import give_freed_memory_back, keep_freed_memory
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.runtime import silent
from ppl_cli.text import as_command, counted
from ppl_cli.training.averaging import Average
from ppl_cli.training.batches import Part, make_batch, split_batch
from ppl_cli.training.graph import ReplayedStep, can_replay
from ppl_cli.training.health import Watch
from ppl_cli.training.metrics import MetricsFile, read_metrics
from ppl_cli.training.prepare import compiles, make_optimiser, prepare_model, prepare_step
from ppl_cli.training.progress import Progress, peak_memory_gib
from ppl_cli.training.run_folder import RunFolder
from ppl_cli.training.save import draw_samples, save, write_config
from ppl_cli.training.start import Start
from ppl_cli.training.step import draw_chance, take_step
from ppl_cli.training.uncover import learn_to_uncover, try_finder

if TYPE_CHECKING:
    from ppl_cli.evaluation.unlabelled import UnlabelledReport

SAMPLES = 8  # images in a picture of samples/
ASK_EVERY = {"cuda": 10, "cpu": 1}  # steps between questions to other processes whether they were told to stop
PATIENCE = 20  # seconds after a signal in which the step ends and is saved; a signal after that stops at once


@dataclass(frozen=True)
class Machine:
    """Where a training computes, with whom, and to whom it talks."""

    compute: Compute
    world: World = ALONE
    say: Callable[[str], None] = silent  # prints a line of log


@dataclass(frozen=True)
class Run:
    """A training that came to its end."""

    folder: Path
    config: Config = field(repr=False)
    compute: Compute
    learner: PosePriorLearner = field(repr=False)  # in evaluation mode, as it was saved
    step: int
    seconds: float
    peak_memory_gib: float
    report: "UnlabelledReport | None" = None  # on its own images, where it could be made

    @property
    def model(self) -> Path:
        """The weights, for every function that takes a model."""
        return self.folder / "model.safetensors"


def train(
    config: Config,
    images: ImageSet,
    reconstruction_loss: torch.nn.Module,
    run: RunFolder,
    machine: Machine,
    start: Start,
) -> Run:
    """Train on `images` and write the folder of `run`, which is resumed where it says so, else from `start`.

    Of several processes each learns from its own `train.batch` images; the leader alone writes. Raises InterruptedRunError
    after SIGINT or SIGTERM, with everything saved, and PPLError when a loss is no longer a number.
    """
    folder, compute, world = run.path, machine.compute, machine.world
    device = compute.device
    keep_freed_memory()
    model = prepare_model(config, compute, start)
    optimiser = make_optimiser(model, config)
    average = Average(model, config.train.ema)
    step, window = 0, None
    if run.resuming:
        step, window, averaged = load_training(folder / "training.pt", model, optimiser, images.names)
        average.load(averaged)
        if step > config.train.steps:
            raise UsageError(f"--resume: the run is at step {step} already; ask for more with --set train.steps=...")
        if step == config.train.steps:
            machine.say(f"all {step} steps are done, only what follows is made anew; for more: --set train.steps=...")
    images.move_cache(device)
    learn = prepare_step(model, reconstruction_loss, config, compute, world)
    parts = split_batch(config.train.batch, config.train.accumulate, world.rank, world.size)
    take = partial(take_step, learn, pieces=len(parts))
    if can_replay(config, compute, world):
        take = ReplayedStep(learn, machine.say)
    progress = Progress(config, step, window, device, machine.say, world.size)
    watch = Watch(config, progress.note)
    shown = make_batch(images, 0, config, device, part=Part(0, SAMPLES, SAMPLES))
    if world.leader:
        run.begin()  # not before all that can fail: it removes the run that is replaced
        write_config(folder / "config.yaml", config, compute)
        metrics = MetricsFile(folder / "metrics.csv", step, bool(progress.collected), config.train.tensorboard)
        draw_samples(folder, average.model, config, shown, step)
        # From now on there is something to resume; a resumed run may have been killed between the files of a save.
        save(folder, average, optimiser, config, images, step, progress)
    model.train()
    if world.leader and compiles(config, compute):
        machine.say("compiling: the first step takes a minute or two")

    finished = step == config.train.steps
    with stop_signals() as stopped, advice_on_memory(config, device):
        while step < config.train.steps:
            optimiser.zero_grad(set_to_none=True)
            outcomes = []
            for part in parts:
                batch = make_batch(images, step, config, device, part)
                with sharing_gradients(learn, part is parts[-1]):
                    outcomes.append(take(batch, draw_chance(config, step, part, device)))
            optimiser.step()
            tokens, indices = (torch.cat(rows) for rows in ([o.tokens for o in outcomes], [o.indices for o in outcomes]))
            model.memory.update(tokens, indices, config.memory.revive)
            step += 1
            average.update(step)

            progress.collect(outcomes)
            finished = step == config.train.steps
            # Processes agree now and then: asking costs a wait for the device.
            last = finished or ((world.size == 1 or step % ASK_EVERY[device.type] == 0) and world.any(stopped.is_set(), device))
            if world.leader:
                logged = step % config.train.log_every == 0
                if logged:
                    metrics.append(row := progress.row(step, model))
                    watch.row(row, model)
                if last or step % config.train.save_every == 0:
                    save(folder, average, optimiser, config, images, step, progress)
                    watch.decoder(step, average.model, shown.images, shown.references, reconstruction_loss)
                if last or step % config.train.sample_every == 0:
                    draw_samples(folder, average.model, config, shown, step)
            elif step % config.train.log_every == 0:
                progress.collected.clear()  # the leader has the means of all processes
            if last:
                break
        if world.leader:
            if finished and progress.collected:  # steps after the last row
                metrics.append(row := progress.row(step, model))
                watch.row(row, model)
            progress.bar.close()
        if finished and config.train.uncover:
            # Everyone waits for the leader: a process that ran ahead would meet nobody at the next training.
            finished = world.from_leader(world.leader and add_finder(average.model, images, config, folder, machine, stopped))
        if world.leader:
            give_freed_memory_back()
            save_curves(folder / "curves.png", read_metrics(folder / "metrics.csv"))
        late = world.any(stopped.is_set(), device)  # a signal came with the last step or after it
    if not finished:
        raise InterruptedRunError(f"stopped at step {step}, everything is saved; {advise_resuming(folder, world.size)}")
    if late:
        raise unreported(folder, world.size)
    return Run(folder, config, compute, average.model.eval(), step, progress.seconds, peak_memory_gib(device))


def add_finder(
    model: PosePriorLearner, images: ImageSet, config: Config, folder: Path, machine: Machine, stopped: threading.Event
) -> bool:
    """Learn to find what hides the object, and keep that in the model file if it helps. False where it was `stopped` before.

    Where memory does not suffice that is said, and the run is complete without.
    """
    device = machine.compute.device
    machine.say(f"learning to find what hides the object: {counted(config.train.uncover, 'step')} of a small network")
    try:
        finder = learn_to_uncover(images, config, device, stopped)
        if finder is None:
            return False
        trial = try_finder(model, finder, images, config, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        machine.say("note: memory ran out while learning this: `ppl refine` will have to be told what is hidden")
        return True
    machine.say(str(trial))
    save_finder(folder / "model.safetensors", finder if trial.helps else None)
    return True


def unreported(folder: Path, processes: int) -> InterruptedRunError:
    """What to raise where the run is stopped once its training is done."""
    report = "still that of before" if (folder / REPORT[0]).is_file() else "not written"
    advice = advise_resuming(folder, processes)
    return InterruptedRunError(f"the training is finished and saved, its report is {report}; {advice}")


def advise_resuming(folder: Path, processes: int) -> str:
    program = ["ppl"] if processes == 1 else ["torchrun", "--nproc-per-node", str(processes), "-m", "ppl_cli"]
    return f"go on with: {as_command([*program, 'train', '--out', str(folder), '--resume'])}"


def sharing_gradients(learn: torch.nn.Module, now: bool) -> AbstractContextManager:
    """Processes exchange gradients once a step, after its last part."""
    return nullcontext() if now or not isinstance(learn, DistributedDataParallel) else learn.no_sync()


@contextmanager
def advice_on_memory(config: Config, device: torch.device) -> Iterator[None]:
    """PPLError with what to set when a step does not fit into the memory of the device."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        batch, pieces = config.train.batch, config.train.accumulate
        smaller = next((n for n in range(pieces + 1, batch + 1) if batch % n == 0), None)
        advice = f"--set train.accumulate={smaller} (the same batch in smaller pieces), " if smaller else ""
        images = counted(batch // pieces, "image")
        raise PPLError(
            f"out of memory on {device} with {images} at a time (peak {peak_memory_gib(device):.1f} GiB): "
            f"{advice}--set train.batch={max(batch // 2 // pieces, 1) * pieces} or --set train.batch=auto"
        ) from error


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event, so that the step ends and is saved; further ones change nothing for a while."""
    stopped = threading.Event()
    first = 0.0

    def on_signal(number: int, frame: object) -> None:
        nonlocal first
        first = first or time.monotonic()
        if time.monotonic() - first > PATIENCE:
            raise KeyboardInterrupt
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
