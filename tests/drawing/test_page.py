"""prior.html in a real browser: no error, and the slider, the poses, the blend and hovering change what they should."""

import numpy as np
import pytest
from PIL import Image

from ppl_cli.drawing.page import save_page
from ppl_cli.prior.links import find_skeleton
from ppl_cli.prior.prior import Prior, Prototype
from tests.drawing.conftest import assert_readable


def example(prototypes: int = 3) -> Prior:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.7, 0.7, (5, 2))
    links = np.triu(rng.random((5, 5)), 1)
    links[:, 4] *= 0.4
    poses = [Prototype(frequency=1 / 3, keypoints=(points * (k + 1) / 4).tolist()) for k in range(prototypes)]
    return Prior.of(points, links + links.T, prototypes=poses)


@pytest.fixture
def open_page(open_file, tmp_path):
    def open_with(prior: Prior, images, width=1100, dark=False):
        save_page(tmp_path / "prior.html", prior, images)
        return open_file(tmp_path / "prior.html", width, dark)

    return open_with


def drawing(page) -> list:
    dots = "[...document.querySelectorAll('circle')].map(c => [+c.getAttribute('cx'), +c.getAttribute('cy')])"
    return page.execute_script(f"return {dots}")


def shown_links(page) -> int:
    lines = "[...document.querySelectorAll('line:not(.far)')]"
    return page.execute_script(f"return {lines}.filter(l => l.style.display !== 'none').length")


def slide(page, name: str, value: int) -> None:
    page.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('input'))",
        name,
        value,
    )


def test_the_page_shows_the_prior_and_answers(open_page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    prior = example()
    page = open_page(prior, [Image.new("RGB", (40, 40), "red"), None, None])
    assert np.allclose(drawing(page), prior.points)

    skeleton = find_skeleton(prior.weights)  # as in the pictures, where k4 has its own strongest link
    assert shown_links(page) == np.triu(skeleton).sum() > (np.triu(prior.weights) >= 0.5 * prior.weights.max()).sum()
    slide(page, "threshold", 0)
    assert shown_links(page) == 10
    slide(page, "threshold", 70)
    strong = (np.triu(prior.weights, 1) >= 0.7 * prior.weights.max()).sum()
    assert shown_links(page) == strong
    slide(page, "threshold", 100)
    assert shown_links(page) == 1

    buttons = page.find_elements(By.CSS_SELECTOR, "#prototypes button")
    assert len(buttons) == 4
    assert buttons[1].get_property("textContent") == "pose\u00a00: 33\u00a0%"
    assert len(page.find_elements(By.CSS_SELECTOR, "#prototypes img")) == 1
    buttons[2].click()
    assert np.allclose(drawing(page), prior.prototypes[1].keypoints)

    slide(page, "blend", 50)  # between poses 0 and 1
    between = (np.array(prior.prototypes[0].keypoints) + prior.prototypes[1].keypoints) / 2
    assert np.allclose(drawing(page), between)

    ActionChains(page).move_to_element(page.find_elements(By.CSS_SELECTOR, "circle")[3]).perform()
    assert "keypoint k3" in page.find_element(By.ID, "about").text


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_on_a_phone_and_in_the_dark(open_page, dark):
    assert_readable(open_page(example(), [None] * 3, width=360, dark=dark), 360, dark)


def test_idle_keypoints_are_hollow_and_say_so(open_page):
    prior = example()
    prior.keypoints[2].useful = False
    page = open_page(prior, [None] * 3)
    fills = "return [...document.querySelectorAll('circle')].map(c => getComputedStyle(c).fill)"
    ground = page.execute_script("return getComputedStyle(document.querySelector('section')).backgroundColor")
    assert [fill == ground for fill in page.execute_script(fills)] == [False, False, True, False, False]
    page.execute_script("document.querySelectorAll('circle')[2].dispatchEvent(new Event('focus'))")
    assert "keypoint k2 (idle) at" in page.find_element("id", "about").text


def test_without_prototypes_the_page_leaves_them_out(open_page):
    page = open_page(example(0), [])
    assert "5 keypoints" in page.find_element("id", "count").text
    assert not page.find_elements("id", "poses")


def test_names_are_text_and_never_run(open_page):
    hostile = ["</script><script>document.title='run'</script>", "<img src=x onerror=document.title='run'>", "<!--<script>"]
    names = [*hostile, "__PRIOR__", "${document.title='run'}"]
    prior = example()
    for keypoint, name in zip(prior.keypoints, names, strict=True):
        keypoint.name = name
    prior.prototypes[0].nearest_image = hostile[0]
    page = open_page(prior, [None] * 3)
    assert page.title == "Pose prior"
    assert np.allclose(drawing(page), prior.points)
    for number, name in enumerate(names):
        page.execute_script("document.querySelectorAll('circle')[arguments[0]].dispatchEvent(new Event('focus'))", number)
        assert f"keypoint {name} at" in page.find_element("id", "about").text
    assert page.title == "Pose prior"
    assert not page.find_elements("css selector", "#about *, svg img, script[src]")
