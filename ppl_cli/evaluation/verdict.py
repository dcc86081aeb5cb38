"""A report without labels in one line: how many keypoints are useful, what is wrong with the others, and what to try.

The limits lie between models that are good by their labelled errors and models that are not (docs/trust.md).
"""

from typing import TYPE_CHECKING

from ppl_cli.prior.useful import IDLE_BELOW

if TYPE_CHECKING:
    from ppl_cli.evaluation.unlabelled import UnlabelledReport

IGNORED = 1.02  # gain of the right pose: below it poses tell the decoder nothing
DEAD = 2.0  # vectors in use of a bank
RESTLESS = 5.0  # % of the image side that a keypoint moves against the image
OUTSIDE = 0.5  # share of images beyond whose edge a keypoint lies
FOREIGN = 0.5  # share of images like those of the training


def find_trouble(link: float, on: str | None, shift: float, beyond: float) -> str | None:
    """The worst that is wrong with a keypoint of such numbers (those of KeypointReport) that is a duplicate of the one called `on`."""
    if link < IDLE_BELOW:
        return "idle"
    if on is not None:
        return f"together with {on}"
    return "restless" if shift > RESTLESS else "beyond the edge" if beyond > OUTSIDE else None


def give_verdict(report: "UnlabelledReport") -> str:
    total, useful = len(report.keypoints), len(report.useful)
    said = f"all {total} keypoints useful" if useful == total else f"{useful} of {total} keypoints useful"
    surplus = name_keypoints(report, useful=False)
    if surplus:
        said = f"{'; '.join([said, *surplus])}: try model.keypoints={max(useful, 2)}"
    troubles = name_troubles(report)
    if not surplus and not troubles:
        return f"{said}, nothing looks wrong"
    return "; ".join([said, *troubles])


def name_keypoints(report: "UnlabelledReport", useful: bool) -> list[str]:
    """`k1, k6 idle`, one for each trouble of keypoints that are useful in spite of it, or are not."""
    names: dict[str, list[str]] = {}
    for keypoint in report.keypoints:
        if keypoint.trouble and keypoint.useful == useful:
            names.setdefault(keypoint.trouble, []).append(keypoint.name)
    return [f"{', '.join(those)} {trouble}" for trouble, those in names.items()]


def name_troubles(report: "UnlabelledReport") -> list[str]:
    """What is wrong with useful keypoints and with the model as a whole."""
    if report.familiar is not None and report.familiar < FOREIGN:  # then all other numbers are those of a stranger
        return [f"only {100 * report.familiar:.0f} % of the images are like those it was trained on"]
    troubles = name_keypoints(report, useful=True)
    if report.gain < IGNORED:
        troubles.append("an image is drawn as well with the pose of another")
    if report.bank_use < DEAD <= report.vectors / 2:
        troubles.append(f"the memory uses {report.bank_use:.1f} of {report.vectors} vectors a bank")
    return troubles
