"""What can go wrong while every loss falls, said in words, with what to try.

Nothing here waits for the device in ordinary steps: rows of metrics.csv are looked at when they are written, and the decoder
is asked with a few images when a checkpoint is saved. A state is reported once, and once more if the run ends in it.
The limits lie between runs that failed and runs that are good (docs/experiments.md).
"""

from collections.abc import Callable

import torch

from ppl_cli.config.sections import Config
from ppl_cli.evaluation.verdict import DEAD, IGNORED
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.evaluating import evaluating

COLLAPSED = 0.1  # spread of the keypoints, normalised: failed runs 0.03 to 0.12, good ones 0.30 to 0.43
FADED = 0.05  # weight of the strongest link: failed runs 0.01, good ones 0.5 to 2
ROLLS = (1, 2, 3)  # each image is drawn with the poses of this many others


class Watch:
    """`say` gets one line for each state."""

    def __init__(self, config: Config, say: Callable[[str], None]):
        self.config, self.say = config, say
        self.first = max(200, config.train.steps // 20)  # before this step nothing is expected
        self.said: set[str] = set()
        self.advice = advice(config)

    def row(self, row: dict[str, float], model: PosePriorLearner) -> None:
        """A row of metrics.csv; `model` is the trained one."""
        step, spread, vectors = int(row["step"]), row["keypoint_spread"], row["bank_perplexity"]
        self.report("collapsed", step, spread < COLLAPSED, f"the keypoints lie almost in one place (spread {spread:.2f})")
        dead = vectors < DEAD <= model.memory.vectors.shape[1] / 2
        self.report("dead", step, dead, f"the memory uses {vectors:.1f} of {model.memory.vectors.shape[1]} vectors a bank")
        if step >= self.first:
            strongest = model.link_weights().max().item()
            faded = f"links have faded, the strongest to {strongest:.3f}: the decoder sees no skeleton"
            self.report("faded", step, strongest < FADED, faded)

    def decoder(
        self, step: int, model: PosePriorLearner, images: torch.Tensor, references: torch.Tensor, loss: torch.nn.Module
    ) -> None:
        """Reconstructs images (B, 3, S, S) with their own poses and with those of others. Leaves `model` as it was."""
        if step < self.first or len(images) < 2:
            return
        rolls = [roll for roll in ROLLS if roll % len(images)]
        with evaluating(model):
            keypoints = model.estimate(images).keypoints
            right = loss(model.reconstruct(references, model.draw(keypoints)), images)
            others = (loss(model.reconstruct(references, model.draw(keypoints.roll(roll, 0))), images) for roll in rolls)
            wrong = sum(others) / len(rolls)
        ratio = (wrong / right.clamp_min(1e-12)).item()
        text = f"the decoder draws an image as well with the pose of another (loss x {ratio:.2f}): poses teach it nothing"
        self.report("ignored", step, ratio < IGNORED, text)

    def report(self, state: str, step: int, bad: bool, text: str) -> None:
        last = step >= self.config.train.steps
        again = f"{state}, last"
        if not bad or step < self.first or (again if last else state) in self.said:
            return
        self.said |= {state, again} if last else {state}
        self.say(f"warning: step {step}: {text}. Try {self.advice[state]}")


def advice(config: Config) -> dict[str, str]:
    """What to try next, for each state; what is set already is not proposed again."""
    loss, train, reference = config.loss, config.train, config.reference
    leading = loss.equivariance > 0 and loss.separation > 0
    lead = f"--set loss.equivariance=5 --set loss.separation=0.3 --set loss.ease_to={max(300, train.steps // 10)}"
    stronger = f"--set loss.separation={2 * loss.separation:g} --set loss.eased={min(5 * loss.eased, 1):g}"
    hidden = round((1 + reference.missing) / 2, 3)
    hide = "--set reference.kind=mask" if reference.kind == "video" else f"--set reference.missing={hidden}"
    revive = "--set memory.revive=0.1" if not config.memory.revive else f"--set train.learning_rate={train.learning_rate / 2:g}"
    links = [] if config.model.links_start >= 0 else ["--set model.links_start=0"]
    links.append(f"--set train.link_rate={train.link_rate / 10:g}")
    tried = {
        "collapsed": (stronger if leading else lead) + ", or images that show the object larger",
        "dead": revive + (" once the keypoints spread" if not leading else ""),
        "faded": " ".join(links),
        "ignored": hide + ("" if leading else f" {lead}") + ", or more images",
    }
    faithful = config.recipe in ("paper", "reference")
    return {state: f"--set recipe=ppl, or {what}" if faithful else what for state, what in tried.items()}
