"""How far confidence, and whether an image is foreign, can be trusted (docs/results.md, "Confidence", "Not this animal").

    python -m tests.benchmarks.confidence RUN [DATA] [PENALTY] [--foreign FOLDER ...]

PENALTY: of the ridge (loo, stretches); figures need none. Printed: the rank correlation (Spearman) of the test images' doubt
with their errors, with 95 % of bootstraps; errors of surer and less sure images; the least sure of the useful keypoints; and
how many images are named as foreign, of the test images, of at most 100 images in each FOLDER, and of noise.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.images import decode
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.annotated_data import AnnotatedData, choose_data
from ppl_cli.evaluation.collect import collect
from ppl_cli.evaluation.judge import Judge
from ppl_cli.evaluation.protocols import Regression
from ppl_cli.inference.estimate import Opened, decode_square, is_explained, stack_squares
from ppl_cli.prior.links import find_useful

MOST = 100  # foreign images of a kind
IMAGES = (".jpg", ".jpeg", ".png")


def judge_confidence(judge: Judge, penalty: str | float) -> None:
    fit, test = (collect(judge.estimator, judge.reader(part, "")) for part in (judge.fit, judge.test))
    protocol = Regression(penalty=penalty)
    errors = np.nanmean(protocol.score(protocol.fit(fit, test).predict(test.found), test).errors, 1)
    confidence, strange = (torch.cat(parts).numpy() for parts in zip(*looks(judge), strict=True))
    useful = find_useful(judge.checkpoint.model.link_weights().detach().cpu().numpy())
    sure = confidence[:, useful].mean(1)
    chance = np.random.default_rng(0)
    drawn = [spearmanr(-sure[rows], errors[rows]).statistic for rows in chance.integers(len(sure), size=(1000, len(sure)))]
    low, high = np.quantile(drawn, (0.025, 0.975))
    order = np.argsort(-sure)
    half, fifth = len(order) // 2, len(order) // 5
    print(f"error {errors.mean():.2f}, rank correlation {spearmanr(-sure, errors).statistic:.2f} ({low:.2f} to {high:.2f})")
    print(f"surest half, others: {errors[order[:half]].mean():.2f}, {errors[order[half:]].mean():.2f}")
    print(f"surest fifth, least sure: {errors[order[:fifth]].mean():.2f}, {errors[order[-fifth:]].mean():.2f}")
    print(f"mean confidence of the least sure useful keypoint {confidence.mean(0)[useful].min():.2f}")
    print(f"test images named as foreign: {named(strange):.0f} %")


def looks(judge: Judge):
    for batch in judge.reader(judge.test, ""):
        look = judge.estimator.look(judge.estimator.to_images(batch.squares))
        yield look.confidence, look.strangeness


def named(strangeness: np.ndarray) -> float:
    return 100.0 * np.mean([not is_explained(float(value)) for value in strangeness])


def judge_foreign(judge: Judge, squares: np.ndarray, title: str) -> None:
    strange = judge.estimator.look(judge.estimator.to_images(squares)).strangeness.numpy()
    print(f"{title}: {len(squares)} images, {named(strange):.0f} % named as foreign")


def read_folder(judge: Judge, folder: Path) -> np.ndarray:
    paths = choose_evenly(sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES), MOST)
    decoded = [decode_square(lambda fit, path=path: Opened(decode(path)), judge.size, judge.data.resize) for path in paths]
    return stack_squares([one for one in decoded if one.frame is not None], judge.size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("penalty", nargs="?", default=0.0)
    parser.add_argument("--foreign", nargs="*", type=Path, default=[])
    given = parser.parse_args()
    checkpoint = load_model(given.run)
    seed = checkpoint.config.seed
    chosen = choose_data(checkpoint.config, AnnotatedData(given.data))
    one = Judge(checkpoint, chosen, choose_compute("auto", "fp32"), 32, False, seed)
    judge_confidence(one, given.penalty)
    for folder in given.foreign:
        judge_foreign(one, read_folder(one, folder), folder.name)
    noise = np.random.default_rng(seed).integers(0, 256, (MOST, one.size, one.size, 3), dtype=np.uint8)
    judge_foreign(one, noise, "noise")
