"""prior.html: the prior as one page that needs nothing else, opened from disk."""

import base64
import io
import json
from pathlib import Path

from PIL import Image

from ppl_cli.drawing.overlay import keypoint_colours
from ppl_cli.files import replace_text
from ppl_cli.prior.links import find_skeleton
from ppl_cli.prior.prior import Prior

TEMPLATE = Path(__file__).with_name("prior_page.html")
THUMBNAIL = 128  # pixels


def save_page(path: Path, prior: Prior, images: list[Image.Image | None]) -> None:
    """`images`: for each prototype the square of the image nearest to it, or None."""
    content = prior.model_dump(include={"keypoints", "links", "prototypes"})
    content["skeleton"] = find_skeleton(prior.weights).tolist()
    content["colours"] = [f"rgb{colour}" for colour in keypoint_colours(len(prior.names))]
    for prototype, image in zip(content["prototypes"], images, strict=True):
        prototype.pop("tokens")
        small = image and image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
        prototype["picture"] = small and data_url(small)
    # Within a script element only "<" could end it: names come from files of anyone.
    text = json.dumps(content).replace("<", "\\u003c")
    replace_text(path, TEMPLATE.read_text(encoding="utf-8").replace("__PRIOR__", text, 1))


def data_url(image: Image.Image) -> str:
    """The image itself, as the address of a picture in a page."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
