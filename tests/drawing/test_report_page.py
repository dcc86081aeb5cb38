"""report.html: read by a parser it needs nothing else and says everything; in a browser it fits a phone, light and dark."""

from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ppl_cli.drawing.overlay import keypoint_colours
from ppl_cli.drawing.report_page import COLUMNS, CROPS, GAP, TILE, WHOLE, Shown, contact_sheet, save_report_page
from tests.drawing.conftest import assert_readable

VERDICT = "11 of 12 keypoints useful; k2 idle: try model.keypoints=11"


def example(count: int = 12, images: int = 30) -> tuple[dict, Shown]:
    rng = np.random.default_rng(0)
    numbers = {
        "useful": True,
        "trouble": None,
        "shift": 1.25,
        "shift_px": 0.8,
        "link": 0.9,
        "loss": 3.0,
        "relevance": 1.7,
        "beyond": 0.01,
        "confidence": 0.5,
    }
    keypoints = [{"name": f"k{k}", **numbers} for k in range(count)]
    keypoints[2] |= {"useful": False, "trouble": "idle"}
    content = {"verdict": VERDICT, "model": "runs/mine", "step": 1000, "images": images, "data": {"images": 500}, "notes": []}
    content |= {"gain": 1.5, "familiar": 0.99, "bank_use": 15.2, "vectors": 16, "keypoints": keypoints}
    pictures = [Image.fromarray(rng.integers(0, 255, (120, 200, 3), np.uint8)).resize((320, 192)) for _ in range(images)]
    points = [rng.uniform((-30, -30), (350, 220), (count, 2)) for _ in range(images)]
    links = np.triu(rng.random((count, count)), 1)
    return content, Shown([f"{i}.png" for i in range(images)], pictures, points, links + links.T)


class Elements(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


def parse(path, content, shown) -> Elements:
    save_report_page(path, content, shown)
    return Elements(path.read_text(encoding="utf-8"))


def test_it_needs_nothing_else_and_says_everything(tmp_path):
    page = parse(tmp_path / "report.html", *example())
    assert not page.all("script")
    assert not page.all("link")
    images = page.all("img")
    assert len(images) == 12 + WHOLE
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    assert [image["alt"] for image in images[:2]] == ["what lies under k0 in 24 images", "what lies under k1 in 24 images"]
    assert VERDICT in page.text
    assert "1.2 % (0.8 px)" in page.text
    assert page.text.count("idle") == 2  # in the verdict, and at the keypoint
    dots = [span["style"] for span in page.all("span") if span["class"] == "dot"]
    assert dots == [f"background: rgb({r},{g},{b})" for r, g, b in keypoint_colours(12)]
    assert (tmp_path / "report.html").stat().st_size < 1.5e6  # of noise, the largest that can be


def test_a_contact_sheet_shows_what_lies_around_the_keypoint():
    shown = example(3)[1]
    for picture, points in zip(shown.pictures, shown.points, strict=True):
        points[0] = [100, 90]
        picture.paste("lime", (70, 60, 131, 121))
    sheet = np.asarray(contact_sheet(shown, 0)).astype(int)
    assert sheet.shape == (3 * TILE + 2 * GAP, COLUMNS * TILE + 7 * GAP, 3)
    assert CROPS == 3 * COLUMNS
    middles = sheet[TILE // 2 :: TILE + GAP, TILE // 2 :: TILE + GAP]
    assert np.abs(middles - [0, 255, 0]).max() < 3  # within the ring, which hides nothing there
    shown.points[0][0] = [-500, -500]
    assert (np.asarray(contact_sheet(shown, 0))[2:20, 2:20] == 128).all()


def test_names_are_text_and_never_run(tmp_path):
    content, shown = example(5, 3)
    hostile = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "__BODY__", "&amp;", "'"]
    for keypoint, name in zip(content["keypoints"], hostile, strict=True):
        keypoint["name"] = name
    shown.names[0] = hostile[1]
    content["model"], content["notes"] = hostile[0], [hostile[1]]
    page = parse(tmp_path / "report.html", content, shown)
    assert not page.all("script")
    assert len(page.all("img")) == 5 + 3
    assert all("onerror" not in image for image in page.all("img"))
    assert all(name in page.text for name in hostile)


def test_what_is_not_known_is_said(tmp_path):
    content, shown = example(3, 1)
    page = parse(tmp_path / "report.html", content | {"gain": None, "familiar": None}, shown)
    assert page.text.count("not known") == 2


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_is_readable_on_a_phone_and_in_the_dark(open_file, tmp_path, dark, width):
    content, shown = example()
    content["keypoints"][4]["name"] = "a" * 200
    save_report_page(tmp_path / "report.html", content, shown)
    page = open_file(tmp_path / "report.html", width, dark)
    assert_readable(page, width, dark)
    assert all(page.execute_script("return [...document.images].map(i => i.naturalWidth > 0 && i.clientWidth > 100)"))
