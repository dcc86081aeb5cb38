"""How fast `ppl infer` is on videos of 192 x 192 and of 640 x 480 pixels, beside decoding alone and the network alone; and how
fast poses are drawn over a video.

    python -m tests.benchmarks.speed_video [--model RUN] [--frames 3000] [--rounds 5]

Every number is the median of the rounds. Of `infer` the seconds of a short video, a sixth as long, are subtracted, so that
neither loading nor opening counts; what is left is compared with the slower of decoding alone and the network alone. Takes
about five minutes on two cores without other work.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ppl_cli.api.predictor import Predictor, load
from ppl_cli.checkpoints.model_file import save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.loading import load_config
from ppl_cli.data.figures import figure
from ppl_cli.data.videos import index_video, open_video
from ppl_cli.drawing.video import writing_video
from ppl_cli.heap import keep_freed_memory
from ppl_cli.inference.estimate import DECODERS, Opened, decode_ahead, decode_square, half_of_the_cores
from ppl_cli.inference.films import drawing_video
from ppl_cli.inference.inputs import gather_inputs
from ppl_cli.results.files import FILES
from ppl_cli.runtime import Output, Runtime
from tests.conftest import measured

SIZES = ((192, 192), (640, 480))
RATE, DIFFERENT = 30, 150  # different frames of a video; then they come again
BATCH = 32
TRAIL = 10


def write_moving_figure(path: Path, size: tuple[int, int], frames: int) -> Path:
    width, height = size
    pictures = [figure(0, width, time=at / DIFFERENT)[0][:height] for at in range(min(DIFFERENT, frames))]
    with writing_video(path, size, Fraction(1, RATE), Fraction(RATE)) as add:
        for at in range(frames):
            add(pictures[at % len(pictures)], at)
    return path


def untrained(folder: Path) -> Path:
    """A model of folder_small's size that gives confidence, as trained ones do."""
    config = load_config("folder_small", {"data.kind": "figures", "data.figures": 64, "reference.kind": "mask"})
    model = build_model(config).eval()
    save_model(folder / "model.safetensors", model, config, 0, measured(model, config))
    return folder / "model.safetensors"


def time_one(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def median(function: Callable[[], float], rounds: int) -> float:
    function()  # threads and libraries take their memory first
    return statistics.median(function() for _ in range(rounds))


def decode(predictor: Predictor, clip: Path) -> None:
    """As `infer` does it, to the network's squares."""
    inputs, size = gather_inputs([clip], None), predictor.config.model.image_size
    with closing(inputs.fetch_all(range(len(inputs)))) as images:
        openers = (lambda fit, fetched=image: Opened(*fetched(fit)) for image in images)
        resize = predictor.config.data.resize
        for _ in decode_ahead(lambda opener: decode_square(opener, size, resize), openers, BATCH, DECODERS):
            pass


def look(predictor: Predictor, frames: int) -> None:
    size = predictor.config.model.image_size
    squares = np.full((BATCH, size, size, 3), 128, np.uint8)
    for _ in range(0, frames, BATCH):
        predictor.estimator.look(predictor.estimator.to_images(squares)).keypoints.cpu()


def infer(predictor: Predictor, clip: Path, out: Path, formats: tuple[str, ...]) -> None:
    index_video.cache_clear()
    predictor.infer_files([clip], Output(out, formats, overwrite=True))


def draw(predictor: Predictor, clip: Path, out: Path, trail: int) -> None:
    """Decoding, drawing and encoding; keypoints wander over the picture, and their links are the model's."""
    video, steps = open_video(clip), np.random.default_rng(0)
    pose = next(iter(predictor.stream(clip, stop="1f")))
    links = predictor.bare_prior.weights
    corner = np.array([video.width, video.height]) - 1
    places = steps.uniform(0, corner, pose.keypoints.shape)
    with drawing_video(out, video, links, trail) as add:
        for number in range(len(video)):
            places = np.clip(places + steps.normal(0, 3, places.shape), 0, corner)
            add(number, replace(pose, keypoints=places, confidence=np.full(len(places), 0.5)))


def report(size: tuple[int, int], predictor: Predictor, work: Path, frames: int, rounds: int) -> None:
    long, short, drawn = (
        write_moving_figure(work / f"{name}-{size[0]}.mp4", size, count)
        for name, count in (("long", frames), ("short", frames // 6), ("drawn", frames // 10))
    )

    def speed(formats: tuple[str, ...]) -> float:
        seconds = (time_one(lambda clip=clip: infer(predictor, clip, work / "out", formats)) for clip in (long, short))
        return (frames - frames // 6) / np.subtract(*seconds)

    alone = {}
    with half_of_the_cores():
        alone["decoding alone"] = median(lambda: frames / time_one(lambda: decode(predictor, long)), rounds)
        alone["network alone"] = median(lambda: frames / time_one(lambda: look(predictor, frames)), rounds)
    rows = alone | {
        "infer, csv": median(lambda: speed(("csv",)), rounds),
        "infer, all formats": median(lambda: speed(tuple(FILES)), rounds),
    }
    for name, rate in rows.items():
        share = "" if name in alone else f"{rate / min(alone.values()):.0%}"
        print(f"| {size[0]} x {size[1]} | {name} | {rate:.0f} | {share} |", flush=True)
    for trail in (0, TRAIL):
        name = f"overlay, trail {trail}: decoding, drawing, encoding"
        seconds = median(lambda trail=trail: time_one(lambda: draw(predictor, drawn, work / "o.mp4", trail)), rounds)
        print(f"| {size[0]} x {size[1]} | {name} | {frames // 10 / seconds:.0f} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a run folder; by default an untrained model of folder_small's size")
    parser.add_argument("--frames", type=int, default=3000, help="of the long video")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        predictor = load(given.model or untrained(work), Runtime("auto", "fp32"))
        print(f"{predictor.estimator.compute.reason}; {torch.get_num_threads()} threads; medians of {given.rounds} rounds\n")
        print("| pixels | what | frames/s | of the slower alone |\n|---|---|---|---|", flush=True)
        for size in SIZES:
            report(size, predictor, work, given.frames, given.rounds)


if __name__ == "__main__":
    main()
