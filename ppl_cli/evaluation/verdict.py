"""A report without labels in one line: how many keypoints are useful, what is wrong with the others, and what to try.

The limits lie between models that are good by their labelled errors and models that are not (docs/trust.md).
"""

import math
from typing import TYPE_CHECKING

from ppl_cli.prior.links import IDLE_BELOW

if TYPE_CHECKING:
    from ppl_cli.evaluation.unlabelled import UnlabelledReport

IGNORED = 1.02  # error with wrong poses over error with the right ones: failed runs 1.00 to 1.01, good ones 1.06 to 3.0
HARDLY = 1.06  # between the two: runs that were stopped early
DEAD = 2.0  # vectors in use of 16 a bank: failed runs 1.0 to 2.0, good ones 11 to 16
# % of the image side that a keypoint moves against the image: failed runs 7 to 9, linked ones of good runs 1 to 4.
RESTLESS = 5.0
BESIDE = 0.35  # relevance of a keypoint: 0.08 to 0.31 in empty places, 0.4 to 4.5 on objects
OUTSIDE = 0.5  # share of images beyond whose edge a keypoint lies
FAMILIAR = 0.5  # share of images like those of the training


def find_trouble(link: float, on: str | None, relevance: float, shift: float, beyond: float) -> str | None:
    """The worst that is wrong with a keypoint of such numbers (as in KeypointReport), a duplicate of the one called `on`."""
    if link < IDLE_BELOW:
        return "idle"
    if on is not None:
        return f"together with {on}"
    if beyond > OUTSIDE:
        return "beyond the edge"
    if relevance < BESIDE:
        return "beside the object"
    return "restless" if shift > RESTLESS else None


def give_verdict(report: "UnlabelledReport") -> str:
    total, useful = len(report.keypoints), len(report.useful)
    useless = name_keypoints(report, useful=False)
    if report.familiar is not None and report.familiar < FAMILIAR:  # then the numbers are those of strangers
        return "; ".join([f"only {100 * report.familiar:.0f} % of the images are like those it was trained on", *useless])
    learned = report.gain >= HARDLY
    not_learned = "poses were not learned, an image is drawn as well with that of another"
    if math.isnan(report.gain):
        not_learned = "one image does not tell whether poses were learned: give more"
    elif report.gain >= IGNORED:
        not_learned = "poses were hardly learned, an image is drawn nearly as well with that of another: train longer"
    count = f"all {total} keypoints useful" if useful == total else f"{useful} of {total} keypoints useful"
    said = [count if learned else not_learned, *useless]
    if useful < total and learned:
        advice = f"try model.keypoints={max(useful, 2)}"
        if useful < total / 2:  # then more is wrong than their number
            advice = "train longer, or on images that show the object larger"
        said[-1] += f": {advice}"
    said += name_keypoints(report, useful=True)
    if report.bank_use < DEAD <= report.vectors / 2:
        said.append(f"the memory uses {report.bank_use:.1f} of {report.vectors} vectors a bank")
    return "; ".join(said) if len(said) > 1 or not learned else f"{count}, nothing looks wrong"


def name_keypoints(report: "UnlabelledReport", useful: bool) -> list[str]:
    """`k1, k6 idle`, one for each trouble of keypoints that are useful in spite of it, or are not."""
    names: dict[str, list[str]] = {}
    for keypoint in report.keypoints:
        if keypoint.trouble and keypoint.useful == useful:
            names.setdefault(keypoint.trouble, []).append(keypoint.name)
    return [f"{', '.join(those)} {trouble}" for trouble, those in names.items()]
