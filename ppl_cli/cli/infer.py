"""`ppl infer`: poses of images and folders, as files."""

from ppl_cli.cli.options import (
    Batch,
    Device,
    Formats,
    Inputs,
    Model,
    Overlay,
    Overwrite,
    Precision,
    Results,
    Resume,
    Strict,
    parse_formats,
    say,
)


def infer(
    model: Model,
    inputs: Inputs,
    out: Results,
    format_: Formats = "csv,coco,npz",
    overlay: Overlay = False,
    batch: Batch = 32,
    overwrite: Overwrite = False,
    resume: Resume = False,
    strict: Strict = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Find the keypoints of every image.

    Coordinates are (x, y) in pixels of the image as displayed, origin at the centre of the top left pixel. The
    confidence of a keypoint, 0 to 1, says how concentrated the network's attention was when it placed it.

    Images that cannot be read are listed in skipped.csv with the reason, and the rest goes on. The same command with
    --resume goes on with a run that was stopped or killed. Another --batch will do; with the same one the files are the same
    byte for byte.

    Examples:

      ppl infer runs/quickstart-1 photos --out poses --overlay

      ppl infer runs/mine/model.safetensors a.jpg b.png --out poses --format csv
    """
    formats = parse_formats(format_)

    from ppl_cli.api.predictor import Details, load
    from ppl_cli.runtime import Output, Runtime

    predictor = load(model, Runtime(device, precision, say))
    details = Details(batch, strict, overlay)
    print(predictor.infer_files(inputs, Output(out, formats, overwrite, resume), details))
