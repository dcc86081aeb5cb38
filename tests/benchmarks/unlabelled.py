"""Do numbers without labels rank runs as the labelled error does? (docs/experiments.md, "A score without labels")

    python -m tests.benchmarks.unlabelled RUN...

Runs of drawn figures, or of folders with annotations beside them; compared are those of the same images. Printed are, for
each data set, every run with its ridge error and its score, and how the numbers of the reports rank runs beside the error:
rank correlation (Spearman), 1 where they agree.
"""

import sys
from collections import defaultdict

import numpy as np
import torch
from scipy.stats import spearmanr

from ppl_cli.api.evaluate import evaluate
from ppl_cli.api.unlabelled import list_images
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.protocol_options import ProtocolOptions
from ppl_cli.evaluation.sampling import sample_images
from ppl_cli.evaluation.unlabelled import examine


def measure(run: str) -> tuple[str, dict[str, float]]:
    """The data set, and what is measured of a run; higher is better for all but the error."""
    checkpoint = load_model(run)
    data = checkpoint.config.data
    report = examine(checkpoint, sample_images(list_images(data, checkpoint.config.seed), checkpoint.config), CPU)
    penalty = "stretches" if "tiger" in str(data.path) else "loo"
    result = evaluate(run, protocol=ProtocolOptions("ridge", penalty=penalty), device="cpu").models[0].results[0]
    useful = [keypoint for keypoint in report.keypoints if keypoint.useful]
    return data.path or data.kind, {
        "error": result.score.value,
        "score": report.score,
        "useful keypoints": len(useful),
        "share of useful keypoints": len(useful) / len(report.keypoints),
        "stability of useful keypoints": -float(np.mean([keypoint.shift for keypoint in useful])),
        "lost without each keypoint": sum(keypoint.loss for keypoint in report.keypoints),
        "memory in use": report.bank_use,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    CPU = choose_compute("cpu", "fp32")
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for run in sys.argv[1:]:
        data, numbers = measure(run)
        found[data][run] = numbers
    for data, runs in found.items():
        print(f"\n{data}: {len(runs)}")
        for run, numbers in sorted(runs.items(), key=lambda item: item[1]["error"]):
            print(f"{numbers['error']:8.2f} {numbers['score']:8.3f}  {run}")
        error, *others = zip(*(numbers.values() for numbers in runs.values()), strict=True)
        for name, values in zip(list(numbers)[1:], others, strict=True):
            print(f"{-spearmanr(error, values).statistic:8.2f}  {name}")
