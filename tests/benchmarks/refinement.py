"""What refinement repairs and what it costs: every method on one run, at every occlusion level.

    python -m tests.benchmarks.refinement RUN [DATA] [PENALTY]

PENALTY: of a ridge (loo, stretches), for data with few images; without it plain least squares. For each method:
the error at iteration 0 and after 4, at random 0.1 to 0.4 and centre 4 to 12. `paper, nothing hidden` is the paper's
procedure on whole images: the error that its reconstructions alone bring in. Last, the cost of 4 iterations in units of
one reconstruction pass (estimate, recall, draw, reconstruct) over the same images.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from ppl_cli.api.evaluate import evaluate
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.data.occlusion import Occlusion, visible_pixels
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.annotated_data import AnnotatedData, choose_data
from ppl_cli.evaluation.collect import collect
from ppl_cli.evaluation.judge import HiddenPatches, Judge
from ppl_cli.evaluation.protocol_options import ProtocolOptions
from ppl_cli.evaluation.protocols import Regression
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.refine import Options, refine

METHODS = ("paper", "visible")
COST_IMAGES, COST_BATCH = 1000, 50


def sweep(run: str, data: Path | None, protocol: ProtocolOptions, method: str) -> tuple[list[str], np.ndarray, float]:
    hidden = HiddenPatches(["random,center"], 4, method)
    found = evaluate(run, data, protocol=protocol, occlusion=hidden).models[0].sweep
    return [occlusion.label for occlusion in found.occlusions], found.values, found.whole


def drift(run: str, data: Path | None, penalty) -> list[float]:
    """Errors of the paper's iterations on whole images."""
    checkpoint = load_model(run)
    chosen = choose_data(checkpoint.config, AnnotatedData(data))
    judge = Judge(checkpoint, chosen, choose_compute("auto", "fp32"), 32, False, checkpoint.config.seed)
    fit, test = (collect(judge.estimator, judge.reader(part, "")) for part in (judge.fit, judge.test))
    protocol = Regression(penalty=penalty or 0.0)
    fitted, values = protocol.fit(fit, test), []
    found: list[list[np.ndarray]] = [[] for _ in range(5)]
    for batch in judge.reader(judge.test, ""):
        poses = refine(judge.estimator, judge.estimator.to_images(batch.squares), None, Options(4, "paper")).keypoints
        for kept, pose in zip(found, poses.cpu().numpy(), strict=True):
            kept.append(batch.shares(pose))
    for kept in found:
        values.append(protocol.score(fitted.predict(np.concatenate(kept)), test).value)
    return values


def cost(run: str) -> float:
    """Seconds of 4 iterations over seconds of one reconstruction pass, for 1,000 images."""
    checkpoint = load_model(run)
    estimator = Estimator(checkpoint.model, choose_compute("auto", "fp32"))
    size = checkpoint.config.model.image_size
    images = torch.rand(COST_BATCH, 3, size, size, device=estimator.compute.device) * 2 - 1
    hidden = np.stack([Occlusion("random", 0.2).hidden(index, 0) for index in range(COST_BATCH)])
    visible = visible_pixels(hidden, size).to(images.device)

    @torch.inference_mode()
    def once() -> None:
        keypoints = estimator.estimate(images).keypoints
        estimator.model.reconstruct(images, estimator.model.draw(estimator.model.recall(keypoints.float()).keypoints))

    def seconds(what) -> float:
        what()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(COST_IMAGES // COST_BATCH):
            what()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    pairs = [(seconds(lambda: refine(estimator, images, visible)), seconds(once)) for _ in range(3)]
    return float(np.median([four / one for four, one in pairs]))


if __name__ == "__main__":
    run, *rest = sys.argv[1:]
    data = Path(rest[0]) if rest and rest[0] != "-" else None
    penalty = rest[1] if len(rest) > 1 else None
    choices = ProtocolOptions("ridge", penalty=penalty) if penalty else ProtocolOptions("regression")
    for number, method in enumerate(METHODS):
        labels, values, whole = sweep(run, data, choices, method)
        if not number:
            print(f"{run}: whole images {whole:.2f}")
            print(f"{'':28s}" + " ".join(f"{label:>14s}" for label in labels))
        cells = [f"{row[0]:.2f} > {row[-1]:.2f}" for row in values]
        print(f"{method:28s}" + " ".join(f"{cell:>14s}" for cell in cells), flush=True)
    print("paper, nothing hidden: " + " ".join(f"{value:.2f}" for value in drift(run, data, penalty)))
    print(f"cost of 4 iterations: {cost(run):.2f} reconstruction passes")
