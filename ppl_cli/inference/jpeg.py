"""JPEG files decoded and resized by torchvision, on a GPU where it can (nvJPEG): the processor is then free for the rest.

Only plain files take this way. Whatever is turned, has another colour space, or is damaged is left to Pillow, which decides
what it is and says what is wrong with it.
"""

import warnings
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from ppl_cli.data.frame import PADDING, Frame
from ppl_cli.inference.estimate import Decoded

ORIENTATION = 0x0112  # EXIF


@cache
def has_gpu_decoder(device: torch.device) -> bool:
    """Whether torchvision was built with nvJPEG and the GPU runs it: tried out on a picture of 16 x 16 pixels."""
    if device.type != "cuda":
        return False
    # torchvision announces that this will move elsewhere; where it is gone, Pillow decodes.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="torchvision.io")
    try:
        from torchvision.io import decode_jpeg, encode_jpeg

        decode_jpeg(encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8)), device=device)
    except Exception:  # no nvJPEG, no driver for it, ...
        return False
    return True


def decode_jpeg_square(path: Path, size: int, resize: str, device: torch.device) -> Decoded | None:
    """The image as (size, size, 3) uint8 on the device; None: read it with Pillow."""
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        if not path.is_file():
            return None
        with Image.open(path, formats=("JPEG",)) as image:  # reads the header alone
            plain = image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1
            width, height = image.size
        if not plain:
            return None
        content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        pixels = decode_jpeg(content, ImageReadMode.RGB, device)
    except Exception:  # whatever is wrong, Pillow has the word for it
        return None
    frame = Frame(width, height, size, resize)
    if pixels.shape != (3, height, width):
        return None
    inner = F.interpolate(pixels[None].float(), size=frame.inner[::-1], mode="bilinear", antialias=True)[0]
    square = torch.tensor(PADDING, dtype=torch.uint8, device=device).expand(size, size, 3).clone()
    square[frame.picture] = inner.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    return Decoded(square, frame, None)
