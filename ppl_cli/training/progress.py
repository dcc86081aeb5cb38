"""Losses on the way from the device to metrics.csv, the progress bar and the log.

Losses of the steps since the last row stay on the device; `row` fetches their means at once and stops at NaN.
"""

import time
from collections.abc import Callable

import psutil
import torch
from tqdm import tqdm

from ppl_cli.config.sections import Config
from ppl_cli.errors import PPLError
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.processes import all_sum
from ppl_cli.training.metrics import LOSSES
from ppl_cli.training.step import Outcome

LOWER_RATE = "Begin anew at a lower rate, --set train.learning_rate=..., or from what is kept: --init RUN --out ANOTHER"
SECONDS_BETWEEN_LINES = 10  # of log, where there is no terminal for a progress bar


class Progress:
    def __init__(
        self,
        config: Config,
        start: int,
        window: torch.Tensor | None,
        device: torch.device,
        say: Callable[[str], None],
        processes: int = 1,
    ):
        self.config, self.say, self.start, self.processes = config, say, start, processes
        self.begun = self.last_row = self.last_line = time.perf_counter()
        self.collected: list[torch.Tensor] = [] if window is None else list(pad_window(window).to(device))
        self.timed_step = start
        self.bar = tqdm(total=config.train.steps, initial=start, disable=None, unit="step", dynamic_ncols=True)

    def collect(self, outcomes: list[Outcome]) -> None:
        """One step's losses, by name, and the spread of its keypoints; all processes together. No transfer, no wait."""
        zero = torch.zeros((), device=outcomes[0].keypoints.device)
        rows = []
        for outcome in outcomes:
            named = {name: loss.detach().float() for name, loss in outcome.losses.items()}
            named["total"] = torch.stack(list(named.values())).sum()
            rows.append(torch.stack([*(named.get(name, zero) for name in LOSSES), outcome.keypoints.std(1).mean()]))
        self.collected.append(all_sum(torch.stack(rows).mean(0)) / self.processes)
        self.bar.update()

    def check_finite(self, step: int) -> torch.Tensor:
        """(steps since the last row, losses + 1), on the CPU. PPLError names the first step whose loss is not finite."""
        values = torch.stack(self.collected).cpu() if self.collected else torch.empty(0, len(LOSSES) + 1)
        wrong = (~values.isfinite().all(1)).nonzero()
        if len(wrong):
            first = int(wrong[0])
            parts = ", ".join(f"{name} {value:.4g}" for name, value in zip(LOSSES, values[first], strict=False))
            raise PPLError(
                f"step {step - len(values) + first + 1}: the loss is no longer a number ({parts}); the last checkpoint "
                f"before it is kept. {LOWER_RATE}"
            )
        return values

    def row(self, step: int, model: PosePriorLearner) -> dict[str, float]:
        """Means since the last row, for metrics.csv. PPLError if one is not finite."""
        values = self.check_finite(step)
        now = time.perf_counter()
        images = (step - self.timed_step) * self.config.train.batch * self.processes
        row = {
            "step": step,
            **dict(zip((*LOSSES, "keypoint_spread"), values.mean(0).tolist(), strict=True)),
            "images_per_second": images / max(now - self.last_row, 1e-9),
            "peak_memory_gib": peak_memory_gib(next(model.parameters()).device),
            "bank_perplexity": model.memory.perplexity().mean().item(),
        }
        self.collected, self.last_row, self.timed_step = [], now, step
        self.show(row, now)
        return row

    def show(self, row: dict[str, float], now: float) -> None:
        text = f"loss {row['total']:.3f} (image {row['reconstruction']:.3f}, memory {row['configuration']:.3f})"
        self.bar.set_postfix_str(f"{text}, {row['images_per_second']:.0f} images/s, {row['peak_memory_gib']:.1f} GiB")
        finished = row["step"] == self.config.train.steps
        if self.bar.disable and (finished or now - self.last_line >= SECONDS_BETWEEN_LINES):
            left = (now - self.begun) / max(row["step"] - self.start, 1) * (self.config.train.steps - row["step"])
            self.say(
                f"step {row['step']}/{self.config.train.steps}  {text}  {row['images_per_second']:.0f} images/s  "
                f"{tqdm.format_interval(left)} left"
            )
            self.last_line = now

    def note(self, line: str) -> None:
        """A line of log that does not run into the progress bar."""
        self.bar.clear()
        self.say(line)
        self.bar.refresh()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begun


def peak_memory_gib(device: torch.device) -> float:
    """On CUDA the most that tensors took of the GPU; else the most that the process took of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)  # Windows
    if peak is None:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if psutil.MACOS else 1024)
    return peak / 2**30


def pad_window(window: torch.Tensor) -> torch.Tensor:
    """(steps, losses + 1) of a run begun before the last losses were added -> the same with zeros for these."""
    missing = len(LOSSES) + 1 - window.shape[1]
    return torch.cat((window[:, :-1], torch.zeros(len(window), missing), window[:, -1:]), 1)
