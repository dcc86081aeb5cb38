"""Models on images without annotations: the numbers, and a page that shows what each keypoint lies on."""

import json
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path

from ppl_cli.checkpoints.model_file import Checkpoint, load_model
from ppl_cli.data.datasets import WITHOUT_FILES, training_images
from ppl_cli.data.listing import Listing
from ppl_cli.drawing.report_page import Shown, save_report_page
from ppl_cli.evaluation.sampling import LARGEST, Sampled, sample_images
from ppl_cli.evaluation.unlabelled import FILES, UnlabelledReport, examine
from ppl_cli.files import replace_text
from ppl_cli.text import in_one_line, in_utf8
from ppl_cli.training.loop import Run


def save_report(folder: Path, report: UnlabelledReport, sampled: Sampled, checkpoint: Checkpoint) -> None:
    """report.json and report.html. PPLError if one cannot be written."""
    content = report.to_dict()
    replace_text(folder / FILES[0], json.dumps(content, indent=1))
    links = checkpoint.model.link_weights().detach().cpu().numpy()
    names = [in_utf8(name) for name in sampled.names]
    save_report_page(folder / FILES[1], content, Shown(names, sampled.pictures, sampled.place(report.poses), links))
    report.folder = folder


def rename_model(folder: Path, name: str) -> None:
    """Let the report in `folder` call its model by another name, as when that moves."""
    report, page = (folder / file for file in FILES)
    content = json.loads(report.read_text(encoding="utf-8"))
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        replace_text(page, text.replace(f"<h1>{escape(content['model'])},", f"<h1>{escape(name)},", 1))
    replace_text(report, json.dumps(content | {"model": name}, indent=1))


def report_training(run: Run, listing: Listing, say: Callable[[str], None]) -> Run:
    """Writes a report on the run's own images and returns the run with it. If that fails, says why; the run stays as it is."""
    try:
        checkpoint = load_model(run.model)  # with what the memory knows of training images
        if run.config.data.kind in WITHOUT_FILES:
            listing = training_images(run.config, LARGEST)
        sampled = sample_images(listing, run.config)
        report = examine(checkpoint, sampled, run.compute.in_float32(), str(run.folder))
        report.data |= run.config.data.origin
        save_report(run.folder, report, sampled, checkpoint)
    except Exception as error:  # the training is complete, whatever it is
        say(f"note: no report without labels: {in_one_line(error)}")
        return run
    return replace(run, report=report)
