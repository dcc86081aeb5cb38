"""Recipes: how to learn. A configuration says what to learn from and how large; its `recipe` fills in what it leaves out.

`ppl` is the default: what was measured to learn reliably from small sets (docs/experiments.md). `paper` and
`reference` are faithful to the publication and to its original implementation. What a file or --set says always comes
first. A run's config.yaml has every field, so a recipe that changes later does not change it.
"""

from pydantic import PositiveInt, TypeAdapter, ValidationError

Values = dict[str, object]
WHOLE = TypeAdapter(PositiveInt)

VIDEOS = ("video_frames", "h36m", "h36m_wobg", "taichi", "deeplabcut")
SMALL = 64  # pixels
LINE = 3.3  # thickness of a link in squared pixels: half as strong 1.5 pixels from its middle


def ppl(values: Values) -> Values:
    steps = whole(given(values, "train.steps"), 20_000)
    small = whole(given(values, "model.image_size"), 128) <= SMALL
    return {
        "model.encoder": "fine",  # of the paper's, a third of the keypoints comes to rest beside the object
        "model.links_start": 0.0,  # links are visible from the first step
        "model.thickness": "auto",
        "memory.revive": 0.1,
        "reference.kind": choose_reference(given(values, "data.kind")),
        "reference.cells": 8,  # with small cells the decoder fills in from visible ones, and no pose is learned
        "reference.missing": 0.9,
        "reference.near": "auto",  # or keypoints tell the decoder how the background of a moving camera has shifted
        # Measured at 48 and 64 pixels: it learns as well as VGG19, without a download and in half of the time.
        "loss.kind": "multiscale" if small and given(values, "loss.weights") is None else "perceptual",
        "loss.equivariance": 5.0,  # these two lead the way ...
        "loss.bend": 0.5,  # or keypoints move with parts that they lie beside
        "loss.separation": 0.3,
        "loss.anchor": 1.0,  # or keypoints keep beside the parts that they follow
        "loss.shortness": 0.15,  # or links go on beyond the object
        "loss.relevance": "auto",  # or keypoints hang in empty places beside the object
        "loss.ease_from": min(max(100, steps // 40), steps // 8),  # ... and then leave the pose to the reconstruction ...
        "loss.ease_to": min(max(300, steps // 10), steps * 2 // 5),
        "loss.eased": 0.2,  # ... but for a fifth
        "loss.shorten_from": steps // 2,  # not before limbs are followed to their ends
        "loss.turn_from": steps // 6,  # not before poses are found as images show them
        "loss.turn_to": steps * 3 // 10,
        "train.learning_rate": 5e-4,
        "train.link_rate": 0.1,  # or links fade before the keypoints are in place
        "train.jitter": 0.03,  # or poses hide in shifts too small to see
        "train.warp": 0.4,  # or small sets are memorised
        "train.rotate": "auto",  # or animals that head anywhere are found head for tail
        "train.light": True,  # or other sessions, with other lamps, are found less well
        "train.ghosts": 0.4,  # or keypoints leave the object before a background that is new
        "train.ghosts_mirrored": "auto",  # where the camera moves, new backgrounds stand upright as the object does
        "train.cover": 0.5,  # or what hides a part of an animal turns it head for tail
        "train.ema": min(max(1 - 20 / steps, 0.5), 0.999),  # a mean over a twentieth of the run
        "train.uncover": min(steps // 3, 1000),  # or refinement must be told what is hidden
    }


def paper(values: Values) -> Values:
    """What differs from the defaults of sections.py, which are the paper's."""
    return {
        "reference.kind": choose_reference(given(values, "data.kind")),
        "loss.network": "vgg19",
        "loss.links": 1.0,
        "train.learning_rate": 1e-3,
    }


def choose_reference(kind: object) -> str:
    """A folder may hold images, videos or both, which is known when it is listed."""
    return "video" if kind in VIDEOS else "auto" if kind in ("folder", None) else "mask"


def reference(values: Values) -> Values:
    return {"reference.kind": "mask", "loss.network": "vgg16", "loss.links": 0.0, "train.learning_rate": 1e-4}


RECIPES = {"ppl": ppl, "paper": paper, "reference": reference}  # and none: runs from before there were recipes


def fill_in(values: Values) -> None:
    """Set, in place, what the recipe of `values` says and they do not, and the fields that are derived from others.

    Wrong values are left for the validation that follows.
    """
    name = values.setdefault("recipe", "ppl")
    for key, value in RECIPES[name](values).items() if isinstance(name, str) and name in RECIPES else ():
        section, field = key.split(".")
        fields = values.setdefault(section, {})
        if fields is None:
            fields = values[section] = {}
        if isinstance(fields, dict):
            fields.setdefault(field, value)
    if given(values, "model.thickness") == "auto":
        values["model"]["thickness"] = line_thickness(whole(given(values, "model.image_size"), 128))


def is_filled_in(values: Values) -> bool:
    """Whether they leave nothing for a recipe to say, as what `ppl train --show` prints."""
    return all(given(values, key) is not None for key in ppl(values))


def line_thickness(size: int) -> float:
    """Thickness (squared normalised units) of links that look alike at every image size, to two digits."""
    return float(f"{LINE * (2 / max(size - 1, 1)) ** 2:.1e}")


def given(values: Values, key: str) -> object:
    """What the field `section.name` was set to, or None."""
    section, field = key.split(".")
    fields = values.get(section)
    return fields.get(field) if isinstance(fields, dict) else None


def whole(value: object, default: int) -> int:
    """`value` where the validation that follows will take it for a positive whole number: 1000, 1e3, "1000"."""
    try:
        return WHOLE.validate_python(value)
    except ValidationError:
        return default
