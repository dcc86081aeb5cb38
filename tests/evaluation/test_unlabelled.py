"""What is said of a model without labels: hand-made cases with a known answer, and what must not change an answer."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.checkpoints.model_file import Checkpoint, Known
from ppl_cli.config.sections import Config
from ppl_cli.data.datasets import list_part
from ppl_cli.data.images import UnreadableImageError
from ppl_cli.data.listing import Listing
from ppl_cli.device import choose_compute
from ppl_cli.errors import PPLError
from ppl_cli.evaluation.sampling import LARGEST, sample_images
from ppl_cli.evaluation.unlabelled import KeypointReport, UnlabelledReport, examine, find_duplicates, show_references
from ppl_cli.evaluation.verdict import find_trouble
from ppl_cli.inference.estimate import Estimator
from ppl_cli.model.calibration import calibrate, read_signs
from tests.conftest import TINY, lively_model

CPU = choose_compute("cpu", "fp32")
CONFIG = Config.model_validate(TINY)


def drawn(images: int = 12):
    return sample_images(list_part(CONFIG.data, "train", 0, 64), CONFIG, images)


def linked(pairs: dict[tuple[int, int], float], known: Known | None = None) -> Checkpoint:
    """A lively model in which only these pairs are linked."""
    model = lively_model(CONFIG)
    links = torch.zeros(5, 5)
    for (i, j), weight in pairs.items():
        links[i, j] = links[j, i] = weight
    model.start_from(None, links)
    return Checkpoint(model, CONFIG, 7, None, known)


def test_a_keypoint_without_links_is_idle_and_nothing_is_lost_without_it():
    checkpoint = linked({(0, 1): 1.0, (1, 2): 0.8, (2, 4): 0.5})
    report = examine(checkpoint, drawn(), CPU)
    assert [keypoint.trouble == "idle" for keypoint in report.keypoints] == [False, False, False, True, False]
    assert [keypoint.link for keypoint in report.keypoints] == pytest.approx([1, 1, 0.8, 0, 0.5], abs=1e-4)
    losses = [abs(keypoint.loss) for keypoint in report.keypoints]
    assert losses[3] < 1e-3 < min(losses[:2])
    assert len(report.useful) == 4
    assert "k3 idle" in report.verdict


def test_the_answer_is_always_the_same_whatever_the_batch():
    checkpoint, sampled = linked({(0, 1): 1.0, (2, 3): 0.8, (3, 4): 0.7}), drawn()
    first, second = examine(checkpoint, sampled, CPU), examine(checkpoint, sampled, CPU, batch=5)
    assert examine(checkpoint, sampled, CPU).to_dict() == first.to_dict()
    for one, other in zip(first.keypoints, second.keypoints, strict=True):
        assert (one.name, one.useful) == (other.name, other.useful)
        assert [one.shift, one.link, one.loss] == pytest.approx([other.shift, other.link, other.loss], rel=1e-3, abs=1e-3)
    assert first.gain == pytest.approx(second.gain, rel=1e-3)


def test_familiar_images_are_those_that_the_calibration_knows():
    checkpoint, sampled = linked({(0, 1): 1.0, (1, 2): 0.9}), drawn()
    assert examine(checkpoint, sampled, CPU).familiar is None
    estimator = Estimator(checkpoint.model, CPU)
    images = estimator.to_images(sampled.squares)
    signs = read_signs(estimator.estimate(images), estimator.look(images).recalled)
    known = calibrate(signs, torch.ones(5, dtype=torch.bool))
    reports = []
    for limit in (known.limit, known.limit * 0.01):
        remembered = Known(torch.zeros(1, 3, dtype=torch.int16), known._replace(limit=limit))
        reports.append(examine(linked({(0, 1): 1.0, (1, 2): 0.9}, remembered), sampled, CPU))
    assert [report.familiar for report in reports] == [pytest.approx(11 / 12), 0]
    sure = [keypoint.confidence for keypoint in reports[0].keypoints]
    assert max(sure[3:]) < 1e-3 < min(sure[:3])  # idle ones are not to be relied upon


def test_a_single_image_has_no_other_pose_to_compare_with():
    report = examine(linked({(0, 1): 1.0}), drawn(1), CPU)
    assert np.isnan(report.gain)
    assert report.to_dict()["gain"] is None


def test_a_model_that_finds_nothing_finite_is_said():
    checkpoint = linked({(0, 1): 1.0})
    with torch.no_grad():
        checkpoint.model.encoder.regress[2].bias += torch.nan
    with pytest.raises(PPLError, match="no finite keypoints"):
        examine(checkpoint, drawn(2), CPU)


def test_duplicates_lie_together_on_most_images():
    poses = np.zeros((10, 4, 2))
    poses[:, 1] = [40, 0]
    poses[:, 2] = [42.9, 0]  # % of the side
    poses[:6, 3] = [0, 2]  # near the first on six of ten
    poses[6:, 3] = [0, 30]
    strengths = np.array([1, 0.4, 0.9, 1])
    assert find_duplicates(poses, list("abcd"), strengths) == [("c", "b", 1.0), ("a", "d", 0.6)]
    chain = np.array([[[0, 0], [2.5, 0], [5, 0], [5, 5]]])  # the third is not with the first, which alone is kept of the two
    assert find_duplicates(chain, list("abcd"), np.array([3, 2, 1, 1])) == [("a", "b", 1.0)]
    poses[4:, 3] = [0, 30]
    assert find_duplicates(poses, list("abcd"), strengths) == [("c", "b", 1.0)]


def test_of_videos_the_reference_is_another_frame():
    config = CONFIG.model_copy(update={"reference": CONFIG.reference.model_copy(update={"kind": "video"})})
    images = torch.arange(5.0)[:, None, None, None].expand(-1, 3, 32, 32) / 5 + 0.1

    def numbers(groups: list[int] | None) -> list[int]:
        return [round(float(image.mean() * 5 - 0.5)) for image in show_references(images, config, groups)]

    assert numbers([0, 0, 1, 0, 2]) == [1, 3, 3, 0, 0]  # 2 and 4 alone in their videos: any other image, but a whole one
    assert numbers([0, 1, 2, 3, 4]) == numbers(None) == [1, 2, 3, 4, 0]
    assert (show_references(images[:1], config, [0]) == 0).float().mean() > 0.5  # there is no other
    assert (show_references(images, CONFIG, None) == 0).float().mean() > 0.5


def test_images_are_chosen_evenly_and_what_cannot_be_read_is_said():
    def open_image(index: int) -> Image.Image:
        if index == 40:
            raise UnreadableImageError("it is broken")
        return Image.new("RGB", (900, 300 + index), "red")

    listing = Listing([f"{i}.png" for i in range(81)], open_image)
    sampled = sample_images(listing, CONFIG, 5)
    assert sampled.names == ["0.png", "20.png", "60.png", "80.png"]
    assert (sampled.of, sampled.notes) == (81, ["1 unreadable image is left out: 40.png: it is broken"])
    assert [max(picture.size) for picture in sampled.pictures] == [LARGEST] * 4
    corners = np.stack([frame.to_normalised([[-0.5, -0.5], [899.5, 299.5]]) for frame in sampled.frames])
    assert sampled.place(corners)[0] == pytest.approx(np.array([[-0.5, -0.5], [319.5, 106.2]]), abs=0.5)
    with pytest.raises(PPLError, match=r"40.png: it is broken \(--strict"):
        sample_images(listing, CONFIG, 5, strict=True)
    with pytest.raises(PPLError, match=r"the only image cannot be read: 40.png"):
        sample_images(listing.take([40]), CONFIG)


def judged(*troubles: str | None, **numbers) -> str:
    """The verdict on keypoints with these troubles."""
    kept = [KeypointReport(f"k{k}", not t or t == "restless", t, 1, 1, 1, 1, 1, 0, 0.5) for k, t in enumerate(troubles)]
    good = UnlabelledReport("m", 1, 9, kept, [], 15, 16, 1.5, 0.99, np.zeros((9, len(kept), 2)))
    return replace(good, **numbers).verdict


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (judged(None, None), "all 2 keypoints useful, nothing looks wrong"),
        (judged(None, "idle", None, "idle"), "2 of 4 keypoints useful; k1, k3 idle: try model.keypoints=2"),
        (
            judged(None, "idle", "restless", "together with k0"),
            "2 of 4 keypoints useful; k1 idle; k3 together with k0: try model.keypoints=2; k2 restless",
        ),
        (judged(None, "beside the object"), "1 of 2 keypoints useful; k1 beside the object: try model.keypoints=2"),
        (judged(None, "idle"), "1 of 2 keypoints useful; k1 idle: try model.keypoints=2"),
        (
            judged(None, "idle", "idle"),
            "1 of 3 keypoints useful; k1, k2 idle: train longer, or on images that show the object larger",
        ),
        (judged(None, None, bank_use=1.5), "all 2 keypoints useful; the memory uses 1.5 of 16 vectors a bank"),
        (
            judged("restless", "idle", gain=1.01),
            "poses were not learned, an image is drawn as well with that of another; k1 idle; k0 restless",
        ),
        (
            judged(None, "idle", gain=1.03),
            "poses were hardly learned, an image is drawn nearly as well with that of another: train longer; k1 idle",
        ),
        (
            judged(None, None, gain=1.0),
            "poses were not learned, an image is drawn as well with that of another",
        ),
        (judged(None, "restless", familiar=0.125, gain=1.0), "only 12 % of the images are like those it was trained on"),
        (judged(None, "idle", familiar=0.0), "only 0 % of the images are like those it was trained on; k1 idle"),
        (
            judged(None, "idle", gain=float("nan"), familiar=None),
            "one image does not tell whether poses were learned: give more; k1 idle",
        ),
    ],
)
def test_the_verdict_is_one_line(verdict, line):
    assert verdict == line


def test_the_worst_trouble_of_a_keypoint_counts():
    assert find_trouble(0.1, "k3", 0.1, 20, 1) == "idle"
    assert find_trouble(0.9, "k3", 0.1, 20, 1) == "together with k3"
    assert find_trouble(0.9, None, 0.1, 20, 0.9) == "beyond the edge"
    assert find_trouble(0.9, None, 0.1, 20, 0.1) == "beside the object"
    assert find_trouble(0.9, None, 0.9, 20, 0.1) == "restless"
    assert find_trouble(0.9, None, 0.9, 1, 0.1) is None
    assert find_trouble(0.9, None, math.nan, 1, 0.1) is None  # a single image
