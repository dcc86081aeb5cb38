"""What makes learning reliable: every row (a recipe with one change) on every data set, with several seeds.

    python -m tests.benchmarks.learning OUT [--rows paper,ppl] [--sets figures,mirror_mouse] [--seeds 0,1,2] [--size cpu]

Every run is one line of OUT/results.jsonl, which only grows: a second call goes on where the first stopped, and `--table`
only prints. A row keeps its name, so give a changed row a new one (or another OUT). Rows, sets and sizes are the
dictionaries below; the run folders (config.yaml, samples/) stay in OUT/SIZE-ROW-SET-SEED.

Measured are: error of the plain and of the ridge regression (as `ppl eval`; the tiger's penalty by stretches of the video) in %
of the image side, beside the mean pose, for all annotated keypoints and without obstacles (obs* of mirror_mouse), and
for the last weights where the run saves their mean; spread of the found keypoints over that of the annotated ones; bank
perplexity; share of keypoints on the object; CPU seconds. On the object: for figures, within one pixel of a drawn limb
(exact); for the others, within 5 % of the image side of the convex hull of the annotated keypoints, of the mouse's outline
(mirror_mouse, twelve images), or, in the open field, where annotated keypoints lie on a line from nose to tail, of what is as
dark as the mouse between them.
A run is collapsed if its keypoints spread less than a quarter as far as the annotated ones: runs that were seen to fail lie
at 0.05 to 0.23 of them, the others at 0.37 and above.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.config.sections import DataConfig
from ppl_cli.data.figures import background, body, pose, stream
from ppl_cli.device import choose_compute
from ppl_cli.evaluation.annotated_data import AnnotatedData, choose_data
from ppl_cli.evaluation.collect import collect
from ppl_cli.evaluation.judge import Judge, apply_protocol
from ppl_cli.evaluation.protocols import Regression, Sample
from ppl_cli.inference.estimate import Estimator
from ppl_cli.training.metrics import read_metrics
from tests.benchmarks import from_above, moving_camera
from tests.benchmarks.outlines import on_outline

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "vgg19_conv4_4_normed.safetensors"
COLLAPSED = 0.25  # of the spread of the annotated keypoints
HAND_SPREAD = 0.4  # normalised; taken for the hand, which has no annotation
NEAR = 0.05  # of the image side, from the object
BLACK = 55  # of 255: what is darker, in one piece, between nose and tail is the mouse in the open field

# Every row is its recipe and its own settings, over those of size and set.
HELPED = ["recipe=paper", "loss.links=0", "model.thickness=auto"]  # with links that small images can show, at our rate
ROWS: dict[str, list[str]] = {
    "paper": ["recipe=paper", "train.learning_rate=1e-3"],  # faithful, as it is shipped
    "reference": ["recipe=reference", "train.learning_rate=1e-4"],
    "ppl": [],
    "paper_helped": HELPED,
    "paper_helped_links": [*HELPED, "loss.links=1"],
    "paper_helped_mask": [*HELPED, "reference.kind=mask"],
    # ours without one of its parts
    "no_equivariance": ["loss.equivariance=0"],
    "no_separation": ["loss.separation=0"],
    "no_easing": ["loss.eased=1"],
    "no_revive": ["memory.revive=0"],
    "no_jitter": ["train.jitter=0"],
    "no_ghosts": ["train.ghosts=0"],
    "no_warp": ["train.warp=0"],
    "faint_links": ["model.links_start=-4", "train.link_rate=1"],
    "small_cells": ["reference.cells=16", "reference.missing=0.8"],
    "mask": ["reference.kind=mask"],
    # ours with one more
    "small_batch": ["train.batch=4", "train.steps=1000"],
    "links": ["loss.links=0.3"],
    "flip": ["train.flip=true"],
    "no_ema": ["train.ema=0"],
    "few_banks": ["model.banks=3"],
    "more_banks": ["model.banks=24"],
    "one_stage": ["loss.stages=1"],
    "three_stages": ["loss.stages=3"],
}
VIDEO = ["data.kind=video_frames", "train.flip=false"]
SETS = {
    "figures": ["data.kind=figures", "train.flip=false"],
    "tiger": VIDEO,
    "mirror_mouse": VIDEO,
    "open_field_mouse": VIDEO,
    "panned": VIDEO,  # drawn: tests/benchmarks/moving_camera.py, another video for each seed
    "from_above": VIDEO,  # the same: tests/benchmarks/from_above.py
    "one_way": VIDEO,  # the same, but in training frames it heads roughly one way
    "hand": ["data.kind=folder"],
}
DRAWN = {"panned": moving_camera.write_video, "from_above": from_above.write_video, "one_way": from_above.write_one_way}
SIZES = {
    # Two stages of VGG19 (figures: the loss without download): 2 to 3 minutes of one core.
    "cpu": [
        *("model.image_size=48", "model.width=16", "model.keypoints=8", "model.banks=8", "model.dimension=128"),
        *("loss.stages=2", "loss.size=48", "train.steps=500", "train.batch=8", "train.learning_rate=7e-4"),
        *("train.log_every=20", "train.save_every=500", "train.sample_every=250"),
    ],
    # Larger and longer, with the loss that needs no download (it costs a third): 7 to 10 minutes of one core.
    "cpu64": [
        *("model.image_size=64", "model.width=16", "model.keypoints=12", "model.banks=16", "model.dimension=128"),
        *("loss.kind=multiscale", "loss.size=64", "train.steps=2000", "train.batch=8", "train.learning_rate=5e-4"),
        *("train.log_every=20", "train.save_every=500", "train.sample_every=500"),
    ],
    # The same with three stages of VGG19.
    "vgg64": [
        *("model.image_size=64", "model.width=16", "model.keypoints=12", "model.banks=16", "model.dimension=128"),
        *("loss.stages=3", "loss.size=64", "train.steps=1500", "train.batch=8", "train.learning_rate=5e-4"),
        *("train.log_every=20", "train.save_every=500", "train.sample_every=500"),
    ],
    "gpu": [
        *("model.image_size=128", "train.steps=8000", "train.batch=64"),
        *("train.log_every=50", "train.save_every=4000", "train.sample_every=2000"),
    ],
}


def train(row: str, data: str, seed: int, size: str, out: Path, device: str) -> dict[str, float]:
    """One run in a process of its own; what it took."""
    multiscale = "loss.kind=multiscale" in SIZES[size] or (data == "figures" and size == "cpu")
    settings = [*SIZES[size], *SETS[data], *ROWS[row], f"seed={seed}", "name=learning"]
    settings += ["loss.kind=multiscale"] if multiscale else ["loss.kind=perceptual"]
    command = [sys.executable, "-m", "ppl_cli", "train", "folder", "--out", str(out), "--overwrite", "--device", device]
    command += [] if data == "figures" else ["--data", str(find_folder(data, seed, out.parent))]
    command += [] if multiscale else ["--perceptual-weights", str(WEIGHTS)]
    for setting in settings:
        command += ["--set", setting]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=(out.parent / f"{out.name}.log").open("w"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - begun), "cpu_seconds": round(cpu), "settings": settings}


def find_folder(data: str, seed: int, out: Path) -> Path:
    return DRAWN[data](out / f"{data}-{seed}", seed) if data in DRAWN else SHARED / "data" / data


def examine(out: Path, data: str, device: str) -> dict[str, float | None]:
    """Errors and health of a trained run."""
    last = read_metrics(out / "metrics.csv")[-1]
    health = {"perplexity": last["bank_perplexity"], "reconstruction": last["reconstruction"]}
    if data == "hand":
        spread = last["keypoint_spread"]
        return health | {"spread": spread, "collapsed": spread < COLLAPSED * HAND_SPREAD}
    checkpoint = load_model(out)
    folder = None if data == "figures" else find_folder(data, checkpoint.config.seed, out.parent)
    chosen: DataConfig = choose_data(checkpoint.config, AnnotatedData(folder))
    judge = Judge(checkpoint, chosen, choose_compute(device, "fp32"), 50, False, checkpoint.config.seed)
    errors, test = judged(judge, data)
    if data == "figures" or data in DRAWN:
        on = on_limbs(test, data, checkpoint.config)
    elif data == "mirror_mouse":
        on = on_outline(test, NEAR)
    else:
        on = on_fur(test, folder) if data == "open_field_mouse" else on_hull(test)
    spread, truth = spread_of(test.found), spread_of(test.truth)
    health |= {"spread": spread, "spread_of_truth": truth, "collapsed": bool(spread < COLLAPSED * truth), "on_object": on}
    if checkpoint.config.train.ema:
        state = torch.load(out / "training.pt", weights_only=True, map_location="cpu")
        checkpoint.model.load_state_dict(state["model"])
        judge.estimator = Estimator(checkpoint.model, judge.estimator.compute)
        errors |= {f"{name}_last": value for name, value in judged(judge, data)[0].items() if "mean" not in name}
    return health | errors


def judged(judge: Judge, data: str) -> tuple[dict[str, float], Sample]:
    """Errors of plain and ridge regression, and what was found on the test images."""
    fit, test = (collect(judge.estimator, judge.reader(part, "")) for part in (judge.fit, judge.test))
    object_ = np.array([not name.startswith("obs") for name in test.keypoint_names])
    errors = {}
    for protocol in (
        Regression(),
        Regression(name="ridge", penalty="stretches" if data == "tiger" or data in DRAWN else "loo"),
    ):
        result = apply_protocol(protocol, fit, test)
        errors[protocol.name] = result.score.value
        errors[f"{protocol.name}_fit"] = result.on_fit
        errors[f"{protocol.name}_object"] = float(np.nanmean(result.score.errors[:, object_]))
    errors["mean_pose"] = result.baseline.value
    errors["mean_pose_object"] = float(np.nanmean(result.baseline.errors[:, object_]))
    return errors, test


def spread_of(points: np.ndarray) -> float:
    """(M, N, 2) as shares of the side -> standard deviation over an image's keypoints, normalised ([-1, 1]), mean."""
    return float(2 * np.nanmean(np.nanstd(points, 1, ddof=1)))


def on_limbs(test: Sample, data: str, config) -> float:
    """Share of found keypoints within one pixel of the drawn body."""
    size, inside = config.model.image_size, []
    for name, found in zip(test.names, test.found, strict=True):
        if data == "panned":
            capsules = moving_camera.limbs(int(Path(name).stem), config.seed)[0]
        elif data in DRAWN:
            capsules = from_above.limbs(int(Path(name).stem), config.seed)
        else:
            rng = stream(int(name.split()[1]), config.seed + 10**6)
            joints = pose(rng)
            capsules = body(rng, joints, background(rng, size).mean((0, 1)))
        points = (found * size - 0.5) * 2 / (size - 1) - 1
        gaps = [distance(points, start, end) - radius for start, end, radius, _ in capsules]
        inside.append(np.min(gaps, 0) <= 2 / (size - 1))
    return float(np.mean(inside))


def distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    step = end - start
    along = np.clip((points - start) @ step / max(step @ step, 1e-12), 0, 1)
    return np.linalg.norm(points - start - along[:, None] * step, axis=-1)


def on_hull(test: Sample) -> float:
    """Share of found keypoints within NEAR of the convex hull of the annotated ones."""
    from scipy.spatial import ConvexHull

    inside = []
    for found, truth in zip(test.found, test.truth, strict=True):
        known = truth[np.isfinite(truth).all(-1)]
        if len(known) >= 3:
            hull = ConvexHull(known, qhull_options="QJ").equations  # outward normals
            inside.append((found @ hull[:, :2].T + hull[:, 2]).max(-1) <= NEAR)
    return float(np.mean(inside))


def on_fur(test: Sample, folder: Path) -> float:
    """Share of found keypoints within NEAR of a dark mouse, as it is seen, or of its annotated keypoints."""
    from scipy import ndimage

    inside = []
    for name, found, truth in zip(test.names, test.found, test.truth, strict=True):
        grey = ndimage.gaussian_filter(np.asarray(Image.open(folder / name).convert("L"), float), 1)
        places = truth[np.isfinite(truth).all(-1)] * len(grey) - 0.5
        pieces, _ = ndimage.label(grey < BLACK)
        spine = np.linspace(places[0], places[-1], 22)[1:-1].round().astype(int)
        met = np.bincount(pieces[spine[:, 1], spine[:, 0]])
        mouse = pieces == met[1:].argmax() + 1 if len(met) > 1 else np.zeros(grey.shape, bool)
        column, row = places.round().astype(int).clip(0, len(grey) - 1).T
        mouse[row, column] = True
        y, x = np.nonzero(mouse)
        gaps = np.hypot(*((found[:, None] * len(grey) - 0.5) - np.stack((x, y), -1)).transpose(2, 0, 1)).min(1)
        inside.append(gaps <= NEAR * len(grey))
    return float(np.mean(inside))


def read_results(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def table(results: list[dict], size: str) -> str:
    """Markdown: mean and standard deviation over seeds for each row and set."""
    titles = ("set", "row", "seeds", "regression", "ridge", "mean pose", "collapsed", "spread / truth", "on object")
    lines = ["| " + " | ".join([*titles, "perplexity", "CPU s"]) + " |", "|" + "---|" * (len(titles) + 2)]
    order = {name: number for number, name in enumerate(ROWS)}
    for data in SETS:
        rows = {r["row"] for r in results if r["set"] == data and r["size"] == size}
        for row in sorted(rows, key=lambda name: order.get(name, len(order))):
            runs = [r for r in results if (r["row"], r["set"], r["size"]) == (row, data, size)]
            lines.append("| " + " | ".join([data, row, str(len(runs)), *cells(runs)]) + " |")
    return "\n".join(lines)


def cells(runs: list[dict]) -> list[str]:
    truth, seconds = runs[0].get("spread_of_truth", HAND_SPREAD), np.mean([r["cpu_seconds"] for r in runs])
    collapsed = f"{sum(r['collapsed'] for r in runs)} of {len(runs)}"
    share = over(runs, "on_object", False, 100)
    return [
        *(over(runs, "regression"), over(runs, "ridge"), over(runs, "mean_pose", False), collapsed),
        *(f"{np.mean([r['spread'] for r in runs]) / truth:.2f}", share and f"{float(share):.0f} %"),
        *(over(runs, "perplexity", False), f"{seconds:.0f}"),
    ]


def over(runs: list[dict], key: str, spread: bool = True, scale: float = 1) -> str:
    values = [scale * r[key] for r in runs if r.get(key) is not None]
    if not values:
        return ""
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if spread and len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--size", choices=list(SIZES), default="cpu")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    file, size = arguments.out / "results.jsonl", arguments.size
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed in () if arguments.table else map(int, arguments.seeds.split(",")):
        for data in arguments.sets.split(","):
            for row in arguments.rows.split(","):
                if any((r["row"], r["set"], r["seed"], r["size"]) == (row, data, seed, size) for r in read_results(file)):
                    continue
                out = arguments.out / f"{size}-{row}-{data}-{seed}"
                result = {"row": row, "set": data, "seed": seed, "size": size}
                result |= train(row, data, seed, size, out, arguments.device)
                result |= examine(out, data, arguments.device)
                with file.open("a") as lines:
                    lines.write(json.dumps(result) + "\n")
                print(json.dumps({k: v for k, v in result.items() if k != "settings"}), file=sys.stderr, flush=True)
    print(table(read_results(file), size))


if __name__ == "__main__":
    main()
