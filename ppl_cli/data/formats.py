"""Which files ppl opens, and a name for those it does not."""

from importlib.util import find_spec
from pathlib import Path

from PIL import features

from ppl_cli.data.tiff import describe_pixels, read_pages
from ppl_cli.data.videos import VIDEO_SUFFIXES

SUFFIXES = (".jpg", ".jpeg", ".png", ".apng", ".gif", ".bmp", ".webp", ".tif", ".tiff")
# What Pillow may open: more of its formats run other programs (EPS) or read rarely tested code.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")

if "avif" in features.modules and features.check("avif"):
    SUFFIXES, FORMATS = (*SUFFIXES, ".avif"), (*FORMATS, "AVIF")
if find_spec("pillow_heif"):
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    SUFFIXES, FORMATS = (*SUFFIXES, ".heic", ".heif", ".hif"), (*FORMATS, "HEIF")

READ = (*SUFFIXES, *VIDEO_SUFFIXES)
KINDS = " ".join(suffix[1:] for suffix in READ)
HEIF = ("heic", "heif", "hif", "avif")
INSTALL_HEIF = "pip install pillow-heif"

BRANDS = {
    **dict.fromkeys([b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"], f"a HEIC image: {INSTALL_HEIF}"),
    **dict.fromkeys([b"avif", b"avis"], f"an AVIF image: {INSTALL_HEIF}"),
}
BEGINNINGS = {
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"<svg": "an SVG drawing",
    **dict.fromkeys([b"<!DO", b"<!do", b"<htm"], "a web page; was the download refused?"),
    b"vers": "a pointer of Git LFS: run git lfs pull",
    b"\x1aE\xdf\xa3": "a video (Matroska)",
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a zip file",
}


def name_type(path: Path) -> str | None:
    """What a file is that no decoder knows, by its first bytes and not by its suffix; None if these say nothing."""
    with path.open("rb") as file:
        begin = file.read(12)
        file.seek(0)
        page = next(read_pages(file), None)
    if page is not None:
        return f"a TIFF with {describe_pixels(page)}; save it with 1, 3 or 4 channels of 8 bits, or 1 of 16 or float32"
    if begin[4:8] == b"ftyp":
        return BRANDS.get(begin[8:12], "a video (MP4)")
    return "a video (AVI)" if begin[8:12] == b"AVI " else BEGINNINGS.get(begin[:4])
