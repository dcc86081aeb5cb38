"""A report without labels in one line: how many keypoints are useful, what is wrong with the others, and what to try.

The limits lie between models that are good by their labelled errors and models that are not (docs/trust.md).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppl_cli.evaluation.unlabelled import UnlabelledReport

IGNORED = 1.02  # gain of the right pose: below it poses tell the decoder nothing
DEAD = 2.0  # vectors in use of a bank
RESTLESS = 5.0  # % of the image side that a keypoint moves against the image
OUTSIDE = 0.5  # share of images beyond whose edge a keypoint lies
FOREIGN = 0.5  # share of images like those of the training


def give_verdict(report: "UnlabelledReport") -> str:
    total, useful = len(report.keypoints), len(report.useful)
    if useful == total:
        line = [f"all {total} keypoints useful"]
    else:
        line = [f"{useful} of {total} keypoints useful", *name_surplus(report)]
        line[-1] += f": try model.keypoints={max(useful, 2)}"
    troubles = name_troubles(report)
    return "; ".join([*line, *troubles]) if troubles or useful < total else f"{line[0]}, nothing looks wrong"


def name_surplus(report: "UnlabelledReport") -> list[str]:
    """Which keypoints are not useful, and why."""
    idle = [keypoint.name for keypoint in report.keypoints if not keypoint.useful]
    twins = [f"{second} lies on {first}" for first, second, _ in report.together if second not in idle]
    return [f"{', '.join(idle)} idle"] * bool(idle) + twins


def name_troubles(report: "UnlabelledReport") -> list[str]:
    """What else is wrong."""
    if report.familiar is not None and report.familiar < FOREIGN:  # then all other numbers are those of a stranger
        return [f"only {100 * report.familiar:.0f} % of the images are like those it was trained on"]
    kept = [keypoint for keypoint in report.keypoints if keypoint.name in report.useful]
    restless = [keypoint.name for keypoint in kept if keypoint.shift > RESTLESS]
    outside = [keypoint.name for keypoint in kept if keypoint.beyond > OUTSIDE]
    troubles = [f"{', '.join(names)} {what}" for names, what in ((restless, "restless"), (outside, "beyond the edge")) if names]
    if report.gain < IGNORED:
        troubles.append("an image is drawn as well with the pose of another")
    if report.bank_use < DEAD <= report.vectors / 2:
        troubles.append(f"the memory uses {report.bank_use:.1f} of {report.vectors} vectors a bank")
    return troubles
