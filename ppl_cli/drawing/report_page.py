"""report.html: a report without labels as one page that needs nothing else. What each keypoint lies on, in many images, shows
at once whether it is always the same part."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.frame import PADDING
from ppl_cli.drawing.overlay import keypoint_colours, overlay
from ppl_cli.drawing.page import data_url
from ppl_cli.drawing.shapes import paint
from ppl_cli.drawing.sheets import grid
from ppl_cli.files import replace_text

TEMPLATE = Path(__file__).with_name("report_page.html")
CROPS, COLUMNS, TILE, GAP = 24, 8, 64, 2  # of a contact sheet; tiles in pixels
WINDOW = 0.2  # side of a crop, as a share of the longer side of its image
SELDOM = 0.01  # share of images beyond whose edge a keypoint lies: less is not worth a word
WHOLE, SIDE = 8, 260  # whole images, and pixels of their longer side


@dataclass(frozen=True)
class Shown:
    """Images with what was found in them."""

    names: list[str]
    pictures: list[Image.Image]  # RGB
    points: list[np.ndarray]  # (N, 2) each, in pixels of the pictures
    links: np.ndarray  # (N, N)

    def rows(self, count: int) -> list[int]:
        """Numbers of so many of them, evenly chosen."""
        return choose_evenly(range(len(self.names)), count)


def save_report_page(path: Path, content: dict, shown: Shown) -> None:
    """`content` is that of report.json. PPLError if it cannot be written."""
    body = "\n".join([*head(content), *keypoints(content, shown), *whole_images(content, shown)])
    replace_text(path, TEMPLATE.read_text(encoding="utf-8").replace("__BODY__", body, 1))


def head(content: dict) -> Iterator[str]:
    wrong = "" if content["verdict"].endswith("nothing looks wrong") else " wrong"
    yield f"<h1>{escape(content['model'])}, judged without labels</h1>"
    yield f'<p class="verdict{wrong}">{escape(content["verdict"])}</p>'
    gain, familiar = content["gain"], content["familiar"]
    numbers = {
        "images looked at": f"{content['images']} of {content['data']['images']}",
        "like those of the training": "not known" if familiar is None else f"{100 * familiar:.0f} %",
        "error with the pose of another image": "not known" if gain is None else f"&times; {gain:.2f}",
        "memory in use": f"{content['bank_use']:.1f} of {content['vectors']} vectors a bank",
        "trained for": f"{content['step']:,} steps",
    }
    yield list_numbers(numbers)
    yield from (f"<p>{escape(note)}</p>" for note in content["notes"])


def keypoints(content: dict, shown: Shown) -> Iterator[str]:
    yield "<h2>Is it always the same part?</h2>"
    yield (
        "<p>Each sheet shows what lies under one keypoint (the ring) in images from all over the set. A good keypoint shows "
        "the same part in nearly all of them. Movement: against the image, when that is turned and shrunk a little, in % of "
        "its side (and pixels of the network). Link: the strongest, of the strongest of all. Missed: how much worse the "
        "reconstruction gets without its links. Relevance: how much the pose matters where it lies; 1 is the image's mean.</p>"
    )
    yield '<div class="cards">'
    for number, keypoint in enumerate(content["keypoints"]):
        red, green, blue = keypoint_colours(len(content["keypoints"]))[number]
        dot = f'<span class="dot" style="background: rgb({red},{green},{blue})"></span>'
        trouble = f'<span class="trouble">{escape(keypoint["trouble"])}</span>' if keypoint["trouble"] else ""
        name = escape(keypoint["name"])
        title = name if keypoint["name"] == f"k{number}" else f"{number}: {name}"
        numbers = {
            "movement": f"{keypoint['shift']:.1f} % ({keypoint['shift_px']:.1f} px)",
            "link": f"{100 * keypoint['link']:.0f} %",
            "missed": f"{max(keypoint['loss'], 0):.1f} %",
        }
        if keypoint["relevance"] is not None:
            numbers["relevance"] = f"{keypoint['relevance']:.2f}"
        if keypoint["confidence"] is not None:
            numbers["confidence"] = f"{keypoint['confidence']:.2f}"
        if keypoint["beyond"] >= SELDOM:
            numbers["beyond the edge"] = f"{100 * keypoint['beyond']:.0f} % of images"
        sheet = embed(contact_sheet(shown, number), f"what lies under {name} in {len(shown.rows(CROPS))} images")
        yield f'<section class="card"><h3>{dot}{title}{trouble}</h3>{sheet}{list_numbers(numbers)}</section>'
    yield "</div>"


def whole_images(content: dict, shown: Shown) -> Iterator[str]:
    hollow = np.array([not keypoint["useful"] for keypoint in content["keypoints"]])
    yield "<h2>Whole images</h2>"
    yield "<p>Keypoints with their numbers and links; those that are not useful are hollow.</p>"
    yield '<div class="images">'
    for row in shown.rows(WHOLE):
        drawn = overlay(shown.pictures[row], shown.points[row], shown.links, hollow=hollow)
        drawn.thumbnail((SIDE, SIDE))
        yield embed(drawn, f"the pose found in {escape(shown.names[row])}")
    yield "</div>"


def contact_sheet(shown: Shown, keypoint: int) -> Image.Image:
    """What lies around the keypoint in many images, side by side; beyond the edge of one it is grey."""
    colour, tiles = keypoint_colours(len(shown.links))[keypoint], []
    for row in shown.rows(CROPS):
        picture, (x, y) = shown.pictures[row], shown.points[row][keypoint] + 0.5
        half = WINDOW * max(picture.size) / 2
        box = [round(edge) for edge in (x - half, y - half, x + half, y + half)]
        piece = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), PADDING)
        piece.paste(picture, (-box[0], -box[1]))
        tile = np.array(piece.resize((TILE, TILE), Image.Resampling.BICUBIC))
        centre, ring = [TILE / 2 - 0.5] * 2, [(6, (20, 20, 20), 0.8), (5, colour, 1), (3.5, colour, 0)]
        paint(tile, [(centre, centre, ring)])
        tiles.append(Image.fromarray(tile))
    return grid(tiles, COLUMNS, GAP)


def embed(picture: Image.Image, text: str) -> str:
    """An image element; `text` is what it shows, as HTML."""
    return f'<img src="{data_url(picture)}" width="{picture.width}" height="{picture.height}" alt="{text}">'


def list_numbers(numbers: dict[str, str]) -> str:
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in numbers.items()) + "</dl>"
