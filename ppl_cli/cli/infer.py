"""`ppl infer`: poses of images, videos and folders, as files."""

from ppl_cli.cli import options
from ppl_cli.runtime import Output, Runtime


def infer(
    model: options.Model,
    inputs: options.Inputs,
    out: options.Results,
    format_: options.Formats = "csv,coco,npz",
    overlay: options.Overlay = False,
    useful: options.Useful = False,
    trail: options.Trail = 0,
    start: options.Start = None,
    stop: options.Stop = None,
    every: options.Every = 1,
    batch: options.Batch = 32,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    strict: options.Strict = False,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
) -> None:
    """Find the keypoints of every image, and of every frame of videos.

    Coordinates are (x, y) in pixels of the image as displayed, origin at the centre of the top left pixel. The
    confidence of a keypoint is the share of training images in which it gave more cause for doubt.

    Images that cannot be read are listed in skipped.csv with the reason, and the rest goes on. The same command with
    --resume goes on with a run that was stopped or killed. --batch may then be another; with the same one the files are the
    same byte for byte, but for the dates within .h5 tables.

    Examples:

      ppl infer runs/quickstart-1 photos --out poses --overlay

      ppl infer runs/mine/model.safetensors a.jpg b.png --out poses --format csv

      ppl infer runs/mine clip.mp4 --out poses --start 1:30 --stop 2:00
    """
    formats = options.parse_formats(format_)

    from ppl_cli.api.details import Details
    from ppl_cli.api.predictor import load
    from ppl_cli.data.excerpt import Excerpt

    details = Details(batch, strict, overlay, trail, excerpt=Excerpt(start, stop, every), useful=useful)
    predictor = load(model, Runtime(device, precision, options.say))
    print(predictor.infer_files(inputs, Output(out, formats, overwrite, resume), details))
